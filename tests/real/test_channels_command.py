"""`subclaw channels doctor`, with a running gateway and a Telegram on loopback."""

import asyncio
import io
import json
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from rich.console import Console

from subclaw.channels.registry import KINDS, read_channels
from subclaw.commands.channels import examine_channels
from subclaw.config import Settings, load_settings
from subclaw.core.errors import Unavailable
from subclaw.home import Home
from subclaw.testing.channels.telegram import fake_telegram
from subclaw.testing.egress import run, running_gateway

ALL = {
    "TWILIO_ACCOUNT_SID": "AC1",
    "TWILIO_NUMBER": "+15550001111",
    "TELEGRAM_BOT": "agents_bot",
    "WHATSAPP_PHONE_NUMBER_ID": "106540352242922",
    "WHATSAPP_NUMBER": "+15550783881",
    "WHATSAPP_COUNTRIES": "+1",
    "BLUEBUBBLES_URL": "http://127.0.0.1:1234",
    "IMESSAGE_ACCOUNT": "ada@example.org",
    "SLACK_TEAM_ID": "T0HOME",
    "SLACK_APP_ID": "A0AGENTS",
}
PASTED = {
    "sms": ("twilio/sms", "Twilio, the number's page"),
    "telegram": ("telegram", "nowhere: Telegram is told at the start"),
    "whatsapp": ("whatsapp", "Meta"),
    "imessage": ("imessage/…", "nowhere: BlueBubbles is told at the start"),
    "slack": ("slack", "https://api.slack.com/apps/A0AGENTS/event-subscriptions"),
}
"""What is pasted where, by the name of each kind that providers call."""

TOKEN = "123456789:AAF-_canary0123456789abcdefghijklm"


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="subclaw-") as name:  # short: sockets are below it
        yield Path(name)


def settings_of(home: Path, **environ: str) -> Settings:
    given = {"SUBCLAW_HOME": str(home), "SUBCLAW_PORT": "8080", "SUBCLAW_PUBLIC_URL": "https://agents.example"}
    return load_settings(given | environ)


async def told(settings: Settings, *, as_json: bool = False) -> str:
    console = Console(file=io.StringIO(), width=300)
    await examine_channels(settings, console, as_json=as_json)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_is_not_set_up_is_told_with_its_variables(home: Path) -> None:
    text = asyncio.run(told(settings_of(home)))
    assert "web chat: https://agents.example" in text
    assert "SMS: not set up\n      set TWILIO_ACCOUNT_SID, TWILIO_NUMBER, TWILIO_AUTH_TOKEN\n" in text
    assert "Telegram: not set up\n      set TELEGRAM_BOT, TELEGRAM_BOT_TOKEN\n" in text


def test_what_is_set_up_is_told_with_what_to_paste_where(home: Path) -> None:
    settings = settings_of(home, TWILIO_ACCOUNT_SID="AC1", TWILIO_NUMBER="+15550001111")
    text = asyncio.run(told(settings))
    assert "SMS: +15550001111\n      start subclaw" in text
    assert "https://agents.example/webhooks/twilio/sms\n        goes to: Twilio, the number's page" in text


def test_each_kind_says_what_is_missing_and_what_goes_where(home: Path) -> None:
    bare = json.loads(asyncio.run(told(settings_of(home), as_json=True)))
    assert [report["name"] for report in bare] == [kind.name for kind in KINDS]
    for kind, report in zip(KINDS, bare, strict=True):
        assert report["is_set_up"] is (kind.name in ("web", "api"))
        assert all(variable in report["words"] for variable in kind.secrets), kind.name
    reports = {
        report["name"]: report for report in json.loads(asyncio.run(told(settings_of(home, **ALL), as_json=True)))
    }
    for name, (path, where) in PASTED.items():
        ((address, place),) = reports[name]["webhooks"]
        assert address == f"https://agents.example/webhooks/{path}"
        assert where in place
        assert reports[name]["works"] is None


def test_providers_are_asked_through_the_gateway(home: Path, tmp_path: Path) -> None:
    import_module("subclaw.channels.telegram.bot")  # which takes seconds, not to be taken for the provider's

    async def scenario() -> None:
        async with fake_telegram(token=TOKEN, bot="agents_bot") as fake:
            settings = settings_of(home, TELEGRAM_BOT="agents_bot", TELEGRAM_BASE_URL=fake.base_url)
            (set_up,) = [one for one in read_channels(settings.environment) if one.kind.name == "telegram"]
            place = Home(settings.home).egress_socket
            place.parent.mkdir(parents=True, exist_ok=True)
            async with running_gateway(tmp_path, set_up.upstreams, {"telegram.token": TOKEN}) as socket:
                place.symlink_to(socket)
                reports = {report["name"]: report for report in json.loads(await told(settings, as_json=True))}
                telegram = reports["telegram"]
                assert (telegram["works"], telegram["place"]) == (True, "https://t.me/agents_bot")
                assert telegram["words"].startswith("@agents_bot answers; Telegram is asked for messages")
                assert reports["sms"]["is_set_up"] is False
                fake.bot = "another"
                with pytest.raises(Unavailable, match=r"."):
                    await told(settings)

    run(scenario)

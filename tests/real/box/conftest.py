"""The boxes that several modules share: one with the demo model, one whose model is scripted and that takes SMS."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from anyio.from_thread import start_blocking_portal
from tests.real.box.running import HOMES, RunningBox, processes_of, running_box, state_folder

from subclaw.testing.channels.twilio import FakeTwilio, fake_twilio
from subclaw.testing.openai import FakeOpenAi, running_openai

ACCOUNT = "AC" + "0123456789abcdef" * 2
NUMBER = "+15550100002"
TOKEN = "only-the-gateway-opens-this-token"
KEY = "only-the-gateway-opens-this-key"


@dataclass(frozen=True, kw_only=True)
class ScriptedBox:
    """A box, and what is outside of it."""

    box: RunningBox
    model: FakeOpenAi
    twilio: FakeTwilio


@pytest.fixture(scope="package", autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Show at the end of the run that no process of any of its boxes lives."""
    yield
    left = [(process.name(), process.cmdline()) for process in processes_of(HOMES)]
    assert left == []


@pytest.fixture(scope="package")
def demo_box() -> Iterator[RunningBox]:
    with state_folder() as home, running_box(home) as box:
        yield box


@pytest.fixture(scope="package")
def scripted_box() -> Iterator[ScriptedBox]:
    with running_scripted_box() as scripted:
        yield scripted


@contextmanager
def running_scripted_box() -> Iterator[ScriptedBox]:
    """Run a box whose model is scripted and that takes SMS, and what is outside of it."""
    with (
        running_openai() as model,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(fake_twilio(account_sid=ACCOUNT, auth_token=TOKEN)) as twilio,
        state_folder() as home,
        running_box(home, **model_settings(model), **twilio_settings(twilio)) as box,
    ):
        try:
            yield ScriptedBox(box=box, model=model, twilio=twilio)
        finally:
            model.let_go()


def model_settings(model: FakeOpenAi) -> dict[str, str]:
    """Return the settings that lead a box's model calls to the fake provider."""
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": model.base_url, "SUBCLAW_MODEL": "openai:scripted"}


def twilio_settings(twilio: FakeTwilio) -> dict[str, str]:
    """Return the settings that make the fake Twilio the operator's."""
    return {
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_NUMBER": NUMBER,
        "TWILIO_BASE_URL": twilio.base_url,
    }

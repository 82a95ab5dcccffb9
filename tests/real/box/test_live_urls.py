"""A stranger's first message in each channel, to a live address: a real box, its router, and providers on loopback."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.name_server import NameServer, name_server
from tests.real.box.conftest import ACCOUNT, NUMBER, twilio_settings
from tests.real.box.conftest import TOKEN as TWILIO_TOKEN
from tests.real.box.running import RunningBox, Somebody, exchange, running_box, state_folder, visit, write_agent_file
from tests.real.matrix_people import Person, person
from tests.real.synapse import Account, Synapse, running_synapse

from subclaw.channels.slack.settings import WEBHOOK_PATH as SLACK_PATH
from subclaw.channels.sms.paths import WEBHOOK_PATH as TWILIO_PATH
from subclaw.channels.whatsapp.settings import WEBHOOK_PATH as WHATSAPP_PATH
from subclaw.testing.channels import bluebubbles, discord, slack, smtp, telegram, twilio, whatsapp
from subclaw.testing.serving import free_port

SAID_S = 60
PERSON, ANN = "+15550100001", "16505551234"
NAMES = {
    "sms": "tulip",
    "telegram": "crocus",
    "slack": "dahlia",
    "imessage": "peony",
    "whatsapp": "lilac",
    "discord": "lavender",
    "matrix": "hyacinth",
    "email": "snowdrop",
}
DISCORD_TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.G0ffff.0123456789abcdefghijklmnopqrstuvwxyz01"
MAILBOX, WRITER, SIGNER = "agent@agents.example", "ann@example.org", smtp.make_signer("example.org")
URL = re.compile(r"http://[a-z0-9-]+\.localhost:[0-9]+/?")


@dataclass(frozen=True, kw_only=True)
class Way:
    """A channel from its other end: how a person says something there, and all that was said to them."""

    say: Callable[[str], Awaitable[object]]
    heard: Callable[[], list[str]]


def test_in_each_channel_a_first_message_leads_to_a_live_address_of_the_name_that_is_chosen(tmp_path: Path) -> None:
    with running_synapse(tmp_path) as synapse:
        asyncio.run(meet_everywhere(synapse, tmp_path))


async def meet_everywhere(synapse: Synapse, folder: Path) -> None:
    async with AsyncExitStack() as stack:
        phone = await stack.enter_async_context(twilio.fake_twilio(account_sid=ACCOUNT, auth_token=TWILIO_TOKEN))
        chat = await stack.enter_async_context(telegram.fake_telegram(token="123456789:AAF-_0123456789abcdefghijklm"))
        work = await stack.enter_async_context(slack.fake_slack(token="xoxb-1", signing_secret="signs"))
        mac = await stack.enter_async_context(bluebubbles.fake_bluebubbles(password="opens"))
        meta = await stack.enter_async_context(
            whatsapp.fake_whatsapp(token="t", app_secret="s", phone_number_id="106540352242922", number="+15550783881")
        )
        server = await stack.enter_async_context(discord.fake_discord(token=DISCORD_TOKEN))
        post = await stack.enter_async_context(smtp.fake_relay(folder, user=MAILBOX, password="signs in"))
        names = await stack.enter_async_context(name_server())
        names.tell(SIGNER.key_name, SIGNER.record)
        agent, ada = synapse.register("agent"), await stack.enter_async_context(person(synapse, "ada"))
        home = stack.enter_context(state_folder())
        write_agent_file(home, "")
        settings = {
            **twilio_settings(phone),
            **telegram_settings(chat),
            **slack_settings(work),
            **imessage_settings(mac),
            **whatsapp_settings(meta),
            **discord_settings(server),
            **matrix_settings(synapse, agent),
            **email_settings(post, free_port(), names),
        }
        box = await asyncio.to_thread(stack.enter_context, running_box(home, **settings))
        work.events_to, meta.webhooks_to = box.url + SLACK_PATH, box.url + WHATSAPP_PATH
        await discord.until_connected(server)
        listening = asyncio.create_task(keep_hearing(ada))
        stack.callback(listening.cancel)
        room = await ada.room(agent.user)
        ways = {
            "sms": Way(say=partial(text, box), heard=lambda: [one.text for one in phone.messages]),
            "telegram": Way(say=partial(wait_to_be_asked, chat), heard=lambda: [one.text for one in chat.messages]),
            "slack": Way(
                say=lambda words: slack.say(work, slack.written(work, words)),
                heard=lambda: [one.text for one in work.messages],
            ),
            "imessage": Way(
                say=partial(written_on_mac, mac), heard=lambda: [str(message["text"]) for message in mac.sent]
            ),
            "whatsapp": Way(
                say=lambda words: whatsapp.say(meta, whatsapp.written(meta, words, person=ANN)),
                heard=lambda: [one.text for one in meta.messages],
            ),
            "discord": Way(
                say=lambda words: discord.say(server, discord.written(server, words)),
                heard=lambda: [str(one["content"]) for one in server.sent],
            ),
            "matrix": Way(
                say=partial(ada.say, room), heard=lambda: [str(event["content"]["body"]) for event in ada.heard]
            ),
            "email": Way(
                say=partial(mailed, int(settings["EMAIL_LISTEN"].rpartition(":")[2])),
                heard=lambda: [one.text() for one in post.mails],
            ),
        }
        for name, way in ways.items():
            await meet(box, name, way)
        await meet_in_the_web_chat(box)
        await asyncio.to_thread(box.stop)


async def meet(box: RunningBox, channel: str, way: Way) -> None:
    """Say hello, choose the name that is asked for, and visit what both answers name."""
    name = NAMES[channel]
    await way.say("hello")
    first = await address_in(way, 1)
    assert "site will be here" in await shown(box, first), channel
    await way.say(name)
    chosen = await address_in(way, 2)
    assert chosen.startswith(f"http://{name}."), channel
    assert "site will be here" in await shown(box, chosen), channel


async def meet_in_the_web_chat(box: RunningBox) -> None:
    async with Somebody().at(box) as person:
        found = URL.search(await exchange(person, "hello"))
        assert found
        assert "site will be here" in await shown(box, found[0])


async def address_in(way: Way, count: int) -> str:
    """Wait for so many answers, and return the address in the last."""
    async with asyncio.timeout(SAID_S):
        while len(way.heard()) < count:
            await asyncio.sleep(0.05)
    found = URL.search(way.heard()[count - 1])
    assert found, way.heard()
    return found[0]


async def shown(box: RunningBox, url: str) -> str:
    answer = await asyncio.to_thread(visit, box, url)
    assert answer.status_code == 200
    return answer.text


async def text(box: RunningBox, words: str) -> None:
    params = twilio.inbound_sms(account_sid=ACCOUNT, sender=PERSON, to=NUMBER, text=words)
    signed_url = f"http://localhost:{box.port}{TWILIO_PATH}"
    to_url = box.url + TWILIO_PATH
    ((status, _),) = await twilio.deliver(to_url=to_url, signed_url=signed_url, auth_token=TWILIO_TOKEN, params=params)
    assert status == 200


async def wait_to_be_asked(fake: telegram.FakeTelegram, words: str) -> None:
    """Have somebody write; where Telegram cannot call, it is asked."""
    fake.pending.append(telegram.written(fake, words))


async def written_on_mac(fake: bluebubbles.FakeBlueBubbles, words: str) -> None:
    bluebubbles.written(fake, words, person=PERSON)


async def mailed(port: int, words: str) -> None:
    mail = smtp.write(words, sender=WRITER, to=MAILBOX, subject="")
    code, said = await smtp.deliver(port, SIGNER.sign(mail), to=MAILBOX)
    assert code == 250, said


async def keep_hearing(listener: Person) -> None:
    """Ask a homeserver what is new, until cancelled."""
    while True:
        await listener.hear(1_000)


def discord_settings(fake: discord.FakeDiscord) -> Mapping[str, str]:
    return {
        "DISCORD_APPLICATION_ID": "900000000000000002",
        "DISCORD_BOT_TOKEN": DISCORD_TOKEN,
        "DISCORD_BASE_URL": fake.base_url,
        "DISCORD_GATEWAY_URL": fake.gateway_url,
        "DISCORD_FILES_URL": fake.files_url,
    }


def matrix_settings(synapse: Synapse, agent: Account) -> Mapping[str, str]:
    return {"MATRIX_HOMESERVER": synapse.url, "MATRIX_USER": agent.user, "MATRIX_ACCESS_TOKEN": agent.token}


def email_settings(fake: smtp.FakeRelay, port: int, names: NameServer) -> Mapping[str, str]:
    fake.authority.chmod(0o600)  # as an operator may have it
    return {
        "EMAIL_ADDRESS": MAILBOX,
        "EMAIL_RELAY": fake.url,
        "EMAIL_RELAY_CA": str(fake.authority),
        "EMAIL_PASSWORD": fake.password,
        "EMAIL_LISTEN": f"127.0.0.1:{port}",
        "SUBCLAW_NAME_SERVERS": names.address,
    }


def telegram_settings(fake: telegram.FakeTelegram) -> Mapping[str, str]:
    return {"TELEGRAM_BOT": fake.bot, "TELEGRAM_BOT_TOKEN": fake.token, "TELEGRAM_BASE_URL": fake.base_url}


def slack_settings(fake: slack.FakeSlack) -> Mapping[str, str]:
    return {
        "SLACK_TEAM_ID": slack.TEAM,
        "SLACK_APP_ID": slack.APP,
        "SLACK_BOT_TOKEN": fake.token,
        "SLACK_SIGNING_SECRET": fake.signing_secret,
        "SLACK_BASE_URL": f"{fake.base_url}/api",
        "SLACK_FILES_URL": fake.base_url,
    }


def imessage_settings(fake: bluebubbles.FakeBlueBubbles) -> Mapping[str, str]:
    return {
        "BLUEBUBBLES_URL": fake.base_url,
        "BLUEBUBBLES_PASSWORD": fake.password,
        "IMESSAGE_ACCOUNT": "ada@example.org",
    }


def whatsapp_settings(fake: whatsapp.FakeWhatsApp) -> Mapping[str, str]:
    return {
        "WHATSAPP_PHONE_NUMBER_ID": fake.phone_number_id,
        "WHATSAPP_NUMBER": fake.number,
        "WHATSAPP_COUNTRIES": "+1",
        "WHATSAPP_ACCESS_TOKEN": fake.token,
        "WHATSAPP_APP_SECRET": fake.app_secret,
        "WHATSAPP_BASE_URL": fake.base_url,
        "WHATSAPP_FILES_BASE_URL": fake.base_url,
    }

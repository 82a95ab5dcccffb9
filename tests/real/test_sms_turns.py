"""Text messages from Twilio's webhook to replies, with the gateway: a burst, and a Twilio that is down for a while."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.real.channel_scene import PUBLIC_URL, Scene, channel_scene, said

from subclaw.channels.sms.paths import WEBHOOK_PATH
from subclaw.store.database import DatabaseAddress
from subclaw.testing.channels.twilio import FakeTwilio, deliver, fake_twilio, inbound_sms
from subclaw.testing.egress import run

ACCOUNT, TOKEN, NUMBER, PERSON = "AC" + "0" * 32, "canary", "+15550100002", "+15550100001"


def environ(base_url: str) -> dict[str, str]:
    return {
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_NUMBER": NUMBER,
        "TWILIO_BASE_URL": base_url,
    }


async def text(scene: Scene, words: str) -> None:
    params = inbound_sms(account_sid=ACCOUNT, sender=PERSON, to=NUMBER, text=words)
    to_url, signed_url = scene.url + WEBHOOK_PATH, PUBLIC_URL + WEBHOOK_PATH
    assert (await deliver(to_url=to_url, signed_url=signed_url, auth_token=TOKEN, params=params))[0][0] == 200


async def until(fake: FakeTwilio, count: int) -> list[str]:
    async with asyncio.timeout(30):
        while len(fake.messages) < count:
            await asyncio.sleep(0.02)
    return [message.text for message in fake.messages]


def play(address: DatabaseAddress, folder: Path, steps: Callable[[Scene, FakeTwilio], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with (
            fake_twilio(account_sid=ACCOUNT, auth_token=TOKEN) as fake,
            channel_scene(address, folder, environ(fake.base_url)) as scene,
        ):
            await steps(scene, fake)

    run(scenario)


def test_ten_messages_in_a_burst_are_told_in_order(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTwilio) -> None:
        texts = [f"message {number}" for number in range(10)]
        for words in texts:
            await text(scene, words)
        await scene.until("SELECT 1 FROM conversation WHERE drained_seq = 10 AND NOT turn_open AND owner IS NULL")
        assert said(scene.model.prompts[-1]) == texts
        assert (await until(fake, 1))[-1].startswith("You said: message")

    play(address, tmp_path, steps)


def test_a_reply_waits_for_a_twilio_that_is_down(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with fake_twilio(account_sid=ACCOUNT, auth_token=TOKEN) as gone:
            base_url = gone.base_url
        async with channel_scene(address, tmp_path, environ(base_url)) as scene:
            await text(scene, "are you there?")
            await scene.until("SELECT 1 FROM outbox WHERE attempts > 0 AND state = 'queued'")
            port = int(base_url.rpartition(":")[2])
            async with fake_twilio(account_sid=ACCOUNT, auth_token=TOKEN, port=port) as fake:
                assert await until(fake, 1) == ["You said: are you there?"]
                await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
                assert len(fake.messages) == 1

    run(scenario)

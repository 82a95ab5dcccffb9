"""Telegram in both directions, by its library and through the gateway, against a Telegram on loopback."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from fastapi import FastAPI
from tests.real.channel_scene import PUBLIC_URL, Answer, Scene, channel_scene, echo, said

from subclaw.channels.registry import read_channels
from subclaw.channels.telegram.inbound import BODY_LIMIT_BYTES, telegram_router
from subclaw.channels.telegram.settings import WEBHOOK_PATH
from subclaw.core.channel import Address, Delivery, Fetches, OutboundMessage, SendResult, Trouble
from subclaw.core.errors import Invalid, NotFound, Unavailable
from subclaw.core.model import ModelReply, Prompt
from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress
from subclaw.testing.channels.telegram import Behaviour, FakeTelegram, fake_telegram, mention, say, until, written
from subclaw.testing.chat import MemoryChat
from subclaw.testing.egress import run
from subclaw.testing.models import words
from subclaw.testing.serving import serving

TOKEN = "123456789:AAF-_canary0123456789abcdefghijklm"
BOT = "agents_bot"
GROUP = -100_200
SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"

Steps = Callable[[Scene, FakeTelegram], Awaitable[None]]


@asynccontextmanager
async def telegram(
    address: DatabaseAddress, folder: Path, answer: Answer = echo, *, public_url: str | None = PUBLIC_URL
) -> AsyncIterator[tuple[Scene, FakeTelegram]]:
    async with fake_telegram(token=TOKEN, bot=BOT) as fake:
        environ = {"TELEGRAM_BOT": f"@{BOT}", "TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_BASE_URL": fake.base_url}
        async with channel_scene(address, folder, environ, answer, public_url=public_url) as scene:
            fake.webhooks_to = scene.url + WEBHOOK_PATH
            async with asyncio.timeout(40):
                while public_url and not fake.webhook:
                    await asyncio.sleep(0.01)
            yield scene, fake


def play(
    address: DatabaseAddress, folder: Path, steps: Steps, answer: Answer = echo, *, public_url: str | None = PUBLIC_URL
) -> None:
    async def scenario() -> None:
        async with telegram(address, folder, answer, public_url=public_url) as (scene, fake):
            await steps(scene, fake)

    run(scenario)


def to_person(text: str, chat_id: int = 1001) -> OutboundMessage:
    to = Address(channel="telegram", address=str(chat_id))
    return OutboundMessage(tenant_id=TenantId(1), reply_id=1, part=0, to=to, text=text)


async def text_out(scene: Scene, text: str) -> SendResult:
    return await scene.channels["telegram"].send(to_person(text))


def test_a_strangers_first_message_is_answered(
    address: DatabaseAddress, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        assert fake.webhook["url"] == PUBLIC_URL + WEBHOOK_PATH
        assert len(fake.webhook["secret_token"]) == 64
        assert await say(fake, written(fake, "Build me an invoice generator & more 🎉 שלום")) == 0
        texts = await until(fake, 1)
        assert texts == ["You said: Build me an invoice generator & more 🎉 שלום"]
        assert (fake.messages[0].chat_id, fake.messages[0].formatted) == (1001, True)
        assert scene.rows("SELECT channel, address FROM identity") == [("telegram", "1001")]
        assert await scene.until("SELECT provider_id FROM outbox_part WHERE state = 'sent'") == [("2",)]

    play(address, tmp_path, steps)
    assert "sendMessage" not in caplog.text or TOKEN not in caplog.text
    assert TOKEN not in caplog.text
    assert "123456789:" not in caplog.text


def test_what_is_delivered_again_is_stored_once(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        await say(fake, written(fake, "once"), deliveries=4)
        await say(fake, written(fake, "and then"))
        assert sorted(await until(fake, 2)) == ["You said: and then", "You said: once"]
        assert scene.rows("SELECT count(*) FROM inbox") == [(2,)]
        assert fake.answers == [200] * 5

    play(address, tmp_path, steps)


@pytest.mark.parametrize("secret", [None, "", "forged", "f" * 64, "ä" * 64, "f" * 10_000])
def test_whoever_does_not_know_the_secret_is_refused(
    address: DatabaseAddress, tmp_path: Path, secret: str | None
) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        headers = {} if secret is None else {SECRET_HEADER: secret}
        update = written(fake, "let me in")
        async with (
            aiohttp.ClientSession() as session,
            session.post(fake.webhooks_to, json=update, headers=headers) as response,
        ):
            assert response.status == 403
        assert scene.rows("SELECT count(*) FROM tenant") == [(0,)]

    play(address, tmp_path, steps)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"update_id": "1"}', "application/json", 400),
        (b'{"update_id": 1}', "application/json", 200),
        (b'{"update_id": 1, "edited_message": {"text": "x"}}', "application/json", 200),
        (b'{"update_id": 1, "message": {"chat": 5, "from": []}}', "application/json", 200),
        (b"{}", "text/plain", 415),
    ],
)
def test_what_is_no_update(
    address: DatabaseAddress, tmp_path: Path, body: bytes, content_type: str, status: int
) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        headers = {SECRET_HEADER: fake.webhook["secret_token"], "Content-Type": content_type}
        async with (
            aiohttp.ClientSession() as session,
            session.post(fake.webhooks_to, data=body, headers=headers) as response,
        ):
            assert response.status == status
        assert scene.rows("SELECT count(*) FROM inbox") == [(0,)]

    play(address, tmp_path, steps)


def test_what_is_too_long_is_refused() -> None:
    async def known(secret: str) -> bool:
        return secret == "known"

    async def scenario() -> None:
        app, chat = FastAPI(), MemoryChat()
        app.include_router(telegram_router(intake=chat, check_secret=known, bot=BOT))
        headers = {SECRET_HEADER: "known", "Content-Type": "application/json"}
        async with serving(app) as port, aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{port}{WEBHOOK_PATH}"
            async with session.post(url, data=b" " * (BODY_LIMIT_BYTES + 1), headers=headers) as response:
                assert response.status == 413
        assert chat.received == []

    asyncio.run(scenario())


def test_ten_messages_at_once_are_told_in_order(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        updates = [written(fake, f"message {number}") for number in range(10)]
        await asyncio.gather(*(say(fake, update) for update in updates))
        await scene.until("SELECT 1 FROM conversation WHERE drained_seq = 10 AND NOT turn_open AND owner IS NULL")
        assert said(scene.model.prompts[-1]) == [f"message {number}" for number in range(10)]
        replied = [(int(one.text.rpartition(" ")[2])) for one in fake.messages]
        assert replied == sorted(replied)

    play(address, tmp_path, steps)


LONG = "# A report\n\n" + "\n\n".join(
    f"Paragraph **{number}** has words, `code` & <tags>.\n\n```python\n" + "print('🎉')\n" * 40 + "```"
    for number in range(20)
)


def test_a_long_reply_is_cut_into_messages_that_telegram_takes(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        await say(fake, written(fake, "report"))
        await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
        texts = [message.text for message in fake.messages]
        assert len(texts) >= 3
        assert all(message.formatted for message in fake.messages)
        whole = "".join(texts)
        assert whole.count("print('🎉')") == 20 * 40
        assert all(f"Paragraph {number} has words, code & <tags>." in whole for number in range(20))
        assert "```" not in whole

    play(address, tmp_path, steps, lambda _: words(LONG))


def test_a_format_that_telegram_does_not_take_is_left_out(
    address: DatabaseAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subclaw.channels.telegram.channel.telegram_html", lambda text: f"<table>{text}")

    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        assert (await text_out(scene, "a **bold** <b> word")).delivery is Delivery.SENT
        (message,) = fake.messages
        assert (message.text, message.formatted) == ("a **bold** <b> word", False)

    play(address, tmp_path, steps)


@pytest.mark.parametrize(
    ("behaviour", "delivery", "trouble", "detail"),
    [
        (Behaviour.SLOW_DOWN, Delivery.FAILED, Trouble.BUSY, "slow down"),
        (Behaviour.BLOCKED, Delivery.FAILED, Trouble.REFUSED, "blocked the bot"),
        (Behaviour.NO_CHAT, Delivery.FAILED, Trouble.REFUSED, "no such chat"),
        (Behaviour.FAIL, Delivery.UNKNOWN, Trouble.REFUSED, "failed while"),
        (Behaviour.FAIL_TAKEN, Delivery.UNKNOWN, Trouble.REFUSED, "failed while"),
        (Behaviour.DROP, Delivery.UNKNOWN, Trouble.REFUSED, ""),
        (Behaviour.BABBLE, Delivery.UNKNOWN, Trouble.REFUSED, "not understood"),
    ],
)
def test_what_is_known_of_a_message_that_went_wrong(
    address: DatabaseAddress, tmp_path: Path, behaviour: Behaviour, delivery: Delivery, trouble: Trouble, detail: str
) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        fake.behaviours.append(behaviour)
        result = await text_out(scene, "private words")
        assert (result.delivery, result.trouble) == (delivery, trouble)
        assert detail in result.detail
        assert "private" not in result.detail
        assert "1001" not in result.detail
        assert result.retry_after_s == (1.0 if behaviour is Behaviour.SLOW_DOWN else None)

    play(address, tmp_path, steps)


def test_a_group_that_got_another_id_is_written_to_there(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        fake.behaviours.append(Behaviour.MIGRATED)
        assert (await scene.channels["telegram"].send(to_person("hello", GROUP))).delivery is Delivery.SENT
        assert [message.chat_id for message in fake.messages] == [GROUP - 1_000_000]

    play(address, tmp_path, steps)


def test_a_token_that_is_not_the_bots_is_the_operators_to_mend(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        fake.token = "1:other"
        result = await text_out(scene, "hello")
        assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.ACCOUNT)

    play(address, tmp_path, steps)


def test_telegrams_pace_is_kept(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        fake.behaviours += [Behaviour.SLOW_DOWN]
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await say(fake, written(fake, "hello"))
        assert await until(fake, 1) == ["You said: hello"]
        assert loop.time() - began_s >= fake.retry_after_s
        assert fake.requests.count("sendMessage") == 2

    play(address, tmp_path, steps)


def test_a_reply_waits_for_a_telegram_that_is_down(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with fake_telegram(token=TOKEN, bot=BOT) as first:
            port = int(first.base_url.rpartition(":")[2])
        environ = {"TELEGRAM_BOT": BOT, "TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_BASE_URL": first.base_url}
        async with channel_scene(address, tmp_path, environ) as scene:
            assert (await text_out(scene, "hello")).trouble is Trouble.NETWORK
            first.webhooks_to = scene.url + WEBHOOK_PATH
            async with fake_telegram(token=TOKEN, bot=BOT, port=port) as again:
                await _webhook_set(again)
                first.webhook = again.webhook
            await say(first, written(first, "are you there?"))
            await scene.until("SELECT 1 FROM outbox WHERE state = 'queued' AND attempts >= 1 AND detail <> ''")
            async with fake_telegram(token=TOKEN, bot=BOT, port=port) as back:
                assert await until(back, 1) == ["You said: are you there?"]
                await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")

    run(scenario)


async def _webhook_set(fake: FakeTelegram) -> None:
    async with asyncio.timeout(30):
        while not fake.webhook:
            await asyncio.sleep(0.01)


def test_when_messages_cannot_be_stored_telegram_brings_them_again(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        scene.rows("ALTER TABLE inbox ADD CONSTRAINT full_up CHECK (false) NOT VALID")
        saying = asyncio.create_task(say(fake, written(fake, "hello")))
        async with asyncio.timeout(30):
            while len(fake.answers) < 3:
                await asyncio.sleep(0.01)
        scene.rows("ALTER TABLE inbox DROP CONSTRAINT full_up")
        assert await saying == len(fake.answers) - 1
        assert await until(fake, 1) == ["You said: hello"]
        assert fake.answers[-1] == 200
        assert min(fake.answers[:-1]) >= 500

    play(address, tmp_path, steps)


def test_typing_is_shown_while_a_turn_runs(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        thinking = asyncio.Event()
        async with telegram(address, tmp_path) as (scene, fake):
            ask = scene.model.ask

            async def slowly(prompt: Prompt) -> ModelReply:
                await thinking.wait()
                return await ask(prompt)

            scene.model.ask = slowly  # type: ignore[method-assign]
            await say(fake, written(fake, "think"))
            async with fake.news:
                await fake.news.wait_for(lambda: bool(fake.actions))
            assert fake.actions == [(1001, "typing")]
            thinking.set()
            assert await until(fake, 1) == ["You said: think"]

    run(scenario)


def test_in_a_group_it_answers_when_addressed_and_is_told_who_speaks(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        await say(fake, written(fake, "just between us", chat_id=GROUP))
        other = "@other_bot hello"
        await say(fake, written(fake, other, chat_id=GROUP, entities=[mention(other, "@other_bot")]))
        text = "🎉 @Agents_Bot what is new?"
        await say(fake, written(fake, text, chat_id=GROUP, entities=[mention(text, "@Agents_Bot")]))
        assert await until(fake, 1) == ["You said: [Ann Lee:] 🎉 @Agents_Bot what is new?"]
        bot = {"id": 9, "is_bot": True, "first_name": "Agents", "username": BOT}
        await say(fake, written(fake, "and you?", chat_id=GROUP, reply_to_message={"message_id": 1, "from": bot}))
        assert (await until(fake, 2))[1] == "You said: [Ann Lee:] and you?"
        await say(fake, written(fake, "hello from me"))
        assert (await until(fake, 3))[2] == "You said: hello from me"
        assert scene.rows("SELECT count(*) FROM inbox") == [(3,)]
        places = scene.rows("SELECT address, tenant_id FROM identity ORDER BY address")
        assert [place for place, _ in places] == [str(GROUP), "1001"]
        assert len({tenant for _, tenant in places}) == 2

    play(address, tmp_path, steps)


def test_where_telegram_cannot_call_it_is_asked(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        text = "/start@agents_bot"
        fake.pending += [written(fake, f"message {number}") for number in range(3)]
        fake.pending.append(written(fake, text))
        await scene.until("SELECT 1 FROM conversation WHERE drained_seq = 4 AND NOT turn_open AND owner IS NULL")
        assert said(scene.model.prompts[-1]) == ["message 0", "message 1", "message 2", "/start"]
        async with asyncio.timeout(20):
            while fake.pending:
                await asyncio.sleep(0.01)

    play(address, tmp_path, steps, public_url=None)


def test_what_it_cannot_read_is_answered_in_words(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        await say(fake, written(fake, dice={"emoji": "🎲", "value": 3}))
        assert "can't read" in (await until(fake, 1))[0]
        await say(fake, written(fake, " \x00 "))
        assert "empty" in (await until(fake, 2))[1]
        await say(fake, written(fake, location={"latitude": 52.5, "longitude": 13.4}))
        assert "52.5" in (await until(fake, 3))[2]

    play(address, tmp_path, steps)


def test_files_are_fetched_within_bounds(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        channel = scene.channels["telegram"]
        assert isinstance(channel, Fetches)
        fake.files |= {"small": b"\x00\xffGIF", "large": b"x" * 1_001, "huge": b"x" * (20 * 1024 * 1024 + 1)}
        assert await channel.fetch("small", 1_000) == b"\x00\xffGIF"
        for handle in ("large", "huge"):
            with pytest.raises(Invalid):
                await channel.fetch(handle, 1_000)
        with pytest.raises(NotFound):
            await channel.fetch("gone", 1_000)
        fake.token = "1:other"
        with pytest.raises(Unavailable):
            await channel.fetch("small", 1_000)

    play(address, tmp_path, steps)


def test_files_are_put_into_the_machine_and_told_of(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        fake.files |= {"p1": b"small", "p2": b"\xff\xd8\xff\xe0 a picture", "d1": b"%PDF-1.7 words"}
        sizes = [{"file_id": "p1", "file_size": 5, "width": 1}, {"file_id": "p2", "file_size": 14, "width": 2}]
        await say(fake, written(fake, photo=sizes, caption="what is this?"))
        (told,) = await until(fake, 1)
        ((tenant, path),) = scene.files.written
        assert path.startswith("/home/agent/inbox/")
        assert path.endswith("-1-photo-1.jpg")
        assert told == f"You said: what is this?\n[A file came with this: {path} (image/jpeg, 14 bytes)]"
        assert scene.files.written[tenant, path] == fake.files["p2"]
        document = {"file_id": "d1", "file_name": "../../etc/rm -rf [x]\n.exe", "mime_type": "image/png"}
        await say(fake, written(fake, document=document))
        told = (await until(fake, 2))[1]
        assert told.startswith("You said: [A file came with this: /home/agent/inbox/")
        assert told.endswith("-1-rm_-rf_x_.exe (application/pdf, 14 bytes)]")
        await say(fake, written(fake, document={"file_id": "gone", "file_name": "a.txt"}))
        told = (await until(fake, 3))[2]
        assert told == (
            "You said: [A file came with this, a.txt, and could not be had: Telegram does not have it any more.]"
        )
        await scene.until("SELECT 1 FROM conversation WHERE NOT turn_open AND owner IS NULL")
        assert scene.rows("SELECT count(*) FROM attachment") == [(0,)]

    play(address, tmp_path, steps)


def test_the_doctor_makes_a_real_call(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTelegram) -> None:
        (set_up,) = [one for one in read_channels({"TELEGRAM_BOT": BOT}) if one.kind.name == "telegram"]
        assert set_up.check is not None
        assert await set_up.check(scene.outside) == (
            f"@{BOT} answers; Telegram calls {PUBLIC_URL}{WEBHOOK_PATH}; 0 messages wait"
        )
        fake.bot = "another_bot"
        with pytest.raises(Unavailable) as caught:
            await set_up.check(scene.outside)
        assert caught.value.public == "The token is that of @another_bot, and TELEGRAM_BOT says @agents_bot."
        fake.token = "1:other"
        with pytest.raises(Unavailable) as caught:
            await set_up.check(scene.outside)
        assert caught.value.public == "Telegram: Telegram does not accept the bot's token."

    play(address, tmp_path, steps)

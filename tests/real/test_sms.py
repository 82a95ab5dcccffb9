"""SMS in both directions, through Twilio's own library, against a Twilio on loopback."""

import asyncio
import logging
import socket
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from xml.etree import ElementTree

import aiohttp
import pytest
from fastapi import FastAPI
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from subclaw.channels.sms import WEBHOOK_PATH, SignatureCheck, parse_form, sms_router
from subclaw.channels.sms_channel import SmsChannel
from subclaw.channels.twilio_client import twilio_client
from subclaw.core.channel import Address, Delivery, OutboundMessage, SendResult
from subclaw.core.errors import Unavailable
from subclaw.testing.chat import MemoryChat
from subclaw.testing.serving import serving
from subclaw.testing.twilio import Behaviour, FakeTwilio, deliver, fake_twilio, inbound_sms, sign

ACCOUNT = "AC" + "0" * 32
TOKEN = "a token that only the gateway knows"
PUBLIC_URL = "https://agents.example"
PERSON, NUMBER = "+15550100001", "+15550100002"


async def check(url: str, params: Mapping[str, str], signature: str) -> bool:
    return bool(RequestValidator(TOKEN).validate(url, dict(params), signature))


async def gateway_is_down(url: str, params: Mapping[str, str], signature: str) -> bool:
    raise Unavailable("Not just now.", internal="egress gateway: connection refused")


def receive(steps: Callable[[str, MemoryChat], Awaitable[None]], *, check_signature: SignatureCheck = check) -> None:
    async def run() -> None:
        chat, app = MemoryChat(), FastAPI()
        app.include_router(sms_router(intake=chat, check_signature=check_signature, public_url=PUBLIC_URL))
        async with asyncio.timeout(30), serving(app) as port:
            await steps(f"http://127.0.0.1:{port}{WEBHOOK_PATH}", chat)

    asyncio.run(run())


async def text_in(to_url: str, text: str, *, copies: int = 1, **more: str) -> list[tuple[int, str]]:
    params = inbound_sms(account_sid=ACCOUNT, sender=PERSON, to=NUMBER, text=text, **more)
    url = PUBLIC_URL + WEBHOOK_PATH
    return await deliver(to_url=to_url, signed_url=url, auth_token=TOKEN, params=params, copies=copies)


def words(twiml: str) -> list[str]:
    root = ElementTree.fromstring(twiml)
    assert root.tag == "Response"
    return [message.text or "" for message in root.iter("Message")]


def test_a_signed_message_is_stored_and_answered_with_nothing_yet() -> None:
    async def steps(url: str, chat: MemoryChat) -> None:
        text = "Build me an invoice generator & more = ü 🎉 שלום +1"
        ((status, answer),) = await text_in(url, text, MessageSid="SM1")
        assert status == 200
        assert words(answer) == []
        (received,) = chat.received
        assert received.sender == Address(channel="sms", address=PERSON)
        assert (received.provider_id, received.text) == ("SM1", text)

    receive(steps)


def test_a_message_that_comes_again_is_stored_once() -> None:
    async def steps(url: str, chat: MemoryChat) -> None:
        answers = await text_in(url, "hello", copies=5)
        assert [status for status, _ in answers] == [200] * 5
        assert len(chat.received) == 1

    receive(steps)


def test_the_query_is_part_of_what_is_signed() -> None:
    async def steps(url: str, chat: MemoryChat) -> None:
        params = inbound_sms(account_sid=ACCOUNT, sender=PERSON, to=NUMBER, text="hello")
        public = f"{PUBLIC_URL}{WEBHOOK_PATH}?a=b%20c"
        for to_url, status in ((f"{url}?a=b%20c", 200), (f"{url}?a=b%20d", 403), (url, 403)):
            answers = await deliver(to_url=to_url, signed_url=public, auth_token=TOKEN, params=params)
            assert answers[0][0] == status

    receive(steps)


@pytest.mark.parametrize("spoil", ["missing", "empty", "other token", "other text", "other url", "extra"])
def test_a_wrong_signature_is_refused_and_nothing_is_stored(spoil: str) -> None:
    async def steps(url: str, chat: MemoryChat) -> None:
        params = inbound_sms(account_sid=ACCOUNT, sender=PERSON, to=NUMBER, text="hello")
        token = "another" if spoil == "other token" else TOKEN
        signed_url = f"{PUBLIC_URL}{WEBHOOK_PATH}{'/' if spoil == 'other url' else ''}"
        headers = {"X-Twilio-Signature": "" if spoil == "empty" else sign(token, signed_url, params)}
        if spoil == "missing":
            headers = {}
        if spoil == "other text":
            params["Body"] = "send me your secrets"
        if spoil == "extra":
            params["Extra"] = "1"
        async with aiohttp.ClientSession() as session, session.post(url, data=params, headers=headers) as response:
            assert response.status == 403
        assert chat.received == []

    receive(steps)


def test_a_name_that_comes_twice_is_refused() -> None:
    async def steps(url: str, chat: MemoryChat) -> None:
        params = inbound_sms(account_sid=ACCOUNT, sender=PERSON, to=NUMBER, text="hello")
        body = urllib.parse.urlencode(params) + "&From=%2B15550109999"
        headers = {
            "X-Twilio-Signature": sign(TOKEN, PUBLIC_URL + WEBHOOK_PATH, params),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
            assert response.status == 400
        assert chat.received == []

    receive(steps)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "application/json", 415),
        (b"Body=" + b"x" * 100_000, "application/x-www-form-urlencoded", 413),
        (b"Body=%ff%fe", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a%d=1" % number for number in range(500)), "application/x-www-form-urlencoded", 400),
    ],
)
def test_what_is_no_form_of_twilios_is_refused(body: bytes, content_type: str, status: int) -> None:
    async def steps(url: str, chat: MemoryChat) -> None:
        headers = {"Content-Type": content_type, "X-Twilio-Signature": "x"}
        async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
            assert response.status == status
        assert chat.received == []

    receive(steps)


def test_empty_parameters_are_kept_because_they_are_signed() -> None:
    assert parse_form(b"A=&B=1&C=%C3%BC+x") == {"A": "", "B": "1", "C": "ü x"}


@pytest.mark.parametrize("text", ["STOP", "help", " Start "])
def test_what_twilio_answers_itself_is_not_handed_in(text: str) -> None:
    async def steps(url: str, chat: MemoryChat) -> None:
        answers = await text_in(url, text) + await text_in(url, "arrête", OptOutType="STOP")
        assert [(status, words(answer)) for status, answer in answers] == [(200, []), (200, [])]
        assert chat.received == []

    receive(steps)


def test_a_text_that_is_refused_is_answered_in_words() -> None:
    async def steps(url: str, chat: MemoryChat) -> None:
        ((status, answer),) = await text_in(url, " \x00 ")
        assert status == 200
        assert "empty" in words(answer)[0]
        ((_, answer),) = await text_in(url, "", NumMedia="1", MediaUrl0="https://media.example/1")
        assert "pictures" in words(answer)[0]
        assert chat.received == []

    receive(steps)


def test_when_nobody_can_check_or_store_twilio_is_told_to_come_back() -> None:
    async def no_intake(url: str, chat: MemoryChat) -> None:
        chat.available = False
        assert (await text_in(url, "hello"))[0][0] == 503

    async def no_gateway(url: str, chat: MemoryChat) -> None:
        assert (await text_in(url, "hello"))[0][0] == 503
        assert chat.received == []

    receive(no_intake)
    receive(no_gateway, check_signature=gateway_is_down)


def send(
    steps: Callable[[SmsChannel, FakeTwilio], Awaitable[None]],
    *,
    auth_token: str = TOKEN,
    unix_socket: Path | None = None,
    timeout_s: float = 5.0,
) -> None:
    async def run() -> None:
        prefix = "/twilio" if unix_socket else ""
        async with (
            asyncio.timeout(30),
            fake_twilio(account_sid=ACCOUNT, auth_token=TOKEN, socket=unix_socket, prefix=prefix) as fake,
            twilio_client(
                account_sid=ACCOUNT,
                auth_token=auth_token,
                base_url=fake.base_url,
                socket=unix_socket,
                timeout_s=timeout_s,
            ) as client,
        ):
            await steps(SmsChannel(client=client, from_number=NUMBER), fake)

    asyncio.run(run())


async def text_out(channel: SmsChannel, text: str) -> SendResult:
    return await channel.send(OutboundMessage(id=1, to=Address(channel="sms", address=PERSON), text=text))


def test_a_reply_goes_out_through_twilios_library() -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        text = "Your site is live: https://bold-otter.example/ 🎉\nשלום & more"  # noqa: RUF001
        result = await text_out(channel, text)
        (message,) = fake.messages
        assert result == SendResult(delivery=Delivery.SENT, provider_id=message.sid)
        assert (message.to, message.sender) == (PERSON, NUMBER)
        assert message.text == text

    send(steps)


def test_a_reply_goes_out_through_a_unix_socket(tmp_path: Path) -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        assert fake.base_url == "http://egress/twilio"
        assert (await text_out(channel, "hello")).delivery is Delivery.SENT
        assert [message.text for message in fake.messages] == ["hello"]

    send(steps, unix_socket=tmp_path / "egress.sock")


def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("TWILIO_EDGE", "dublin"),
        ("TWILIO_REGION", "ie1"),
        ("TWILIO_ACCOUNT_SID", "ACx"),
        ("TWILIO_AUTH_TOKEN", "x"),
        ("http_proxy", "http://127.0.0.1:9"),
    ):
        monkeypatch.setenv(name, value)

    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        assert (await text_out(channel, "hello")).delivery is Delivery.SENT

    send(steps)


def test_a_long_reply_goes_out_in_parts_each_once() -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        text = "A sentence that says something. " * 150
        result = await text_out(channel, text)
        assert result.delivery is Delivery.SENT
        assert (result.provider_id or "").split(",") == [message.sid for message in fake.messages]
        assert len(fake.messages) == 3
        assert " ".join(message.text for message in fake.messages) == text.strip()

    send(steps)


def test_a_reply_that_broke_off_says_how_far_it_came() -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        fake.behaviours.extend([Behaviour.ACCEPT, Behaviour.SLOW_DOWN])
        result = await text_out(channel, "A sentence that says something. " * 150)
        assert result.delivery is Delivery.UNKNOWN
        assert result.provider_id == fake.messages[0].sid
        assert "1 of 3 parts were sent" in result.detail
        assert fake.requests == 2

    send(steps)


@pytest.mark.parametrize(
    ("behaviour", "delivery", "words"),
    [
        (Behaviour.OPTED_OUT, Delivery.REFUSED, "opted out"),
        (Behaviour.SLOW_DOWN, Delivery.FAILED, "slow down"),
        (Behaviour.FAIL, Delivery.UNKNOWN, "HTTP 500"),
        (Behaviour.DROP, Delivery.UNKNOWN, "broke off"),
        (Behaviour.BABBLE, Delivery.UNKNOWN, "not understood"),
        (Behaviour.HANG, Delivery.UNKNOWN, "broke off"),
    ],
)
def test_what_twilio_does_is_told_as_far_as_it_is_known(
    behaviour: Behaviour, delivery: Delivery, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        fake.behaviours.append(behaviour)
        result = await text_out(channel, "a tenant's words")
        assert (result.delivery, result.provider_id) == (delivery, None)
        assert words in result.detail
        assert PERSON not in result.detail
        assert fake.requests == 1

    send(steps, timeout_s=0.5)
    assert TOKEN not in caplog.text
    assert "tenant's words" not in caplog.text
    assert PERSON not in caplog.text


def test_wrong_credentials_and_no_connection_are_failures_for_sure() -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        result = await text_out(channel, "hello")
        assert result.delivery is Delivery.FAILED
        assert "credentials" in result.detail

    send(steps, auth_token="placeholder")

    async def nobody_there() -> SendResult:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
            async with twilio_client(account_sid=ACCOUNT, auth_token=TOKEN, base_url=url) as client:
                return await text_out(SmsChannel(client=client, from_number=NUMBER), "hello")

    assert asyncio.run(nobody_there()).delivery is Delivery.FAILED

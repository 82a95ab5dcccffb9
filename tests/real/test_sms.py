"""SMS in both directions, through Twilio's own library, against a Twilio on loopback."""

import asyncio
import logging
import socket
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import aiohttp
import pytest
from fastapi import FastAPI
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from subclaw.channels.sms.channel import SmsChannel
from subclaw.channels.sms.inbound import SignatureCheck, parse_form, sms_router
from subclaw.channels.sms.paths import STATUS_PATH, WEBHOOK_PATH
from subclaw.channels.sms.twilio_client import twilio_client
from subclaw.core.channel import (
    Address,
    Delivery,
    DeliveryReport,
    NotSeen,
    NotTold,
    OutboundMessage,
    Seen,
    SendResult,
    Sighting,
    Trouble,
)
from subclaw.core.errors import Unavailable
from subclaw.core.tenant import TenantId
from subclaw.testing.channels.twilio import (
    Behaviour,
    FakeTwilio,
    deliver,
    fake_twilio,
    inbound_sms,
    send_receipt,
    sign,
)
from subclaw.testing.chat import MemoryChat
from subclaw.testing.serving import serving

ACCOUNT = "AC" + "0" * 32
TOKEN = "a token that only the gateway knows"
PUBLIC_URL = "https://agents.example"
SMART = "It\u2019s\u00a0live \u2013 \u201cnow\u201d\u2026"
PERSON, NUMBER = "+15550100001", "+15550100002"


async def check(url: str, params: Mapping[str, str], signature: str) -> bool:
    return bool(RequestValidator(TOKEN).validate(url, dict(params), signature))


async def gateway_is_down(url: str, params: Mapping[str, str], signature: str) -> bool:
    raise Unavailable("Not just now.", internal="egress gateway: connection refused")


class Reports:
    """Receipts as they are handed in, while `available`."""

    def __init__(self) -> None:
        self.available = True
        self.given: list[DeliveryReport] = []

    async def report(self, report: DeliveryReport) -> None:
        if not self.available:
            raise Unavailable("Not just now.")
        self.given.append(report)


def receive(steps: Callable[[str, MemoryChat], Awaitable[None]], *, check_signature: SignatureCheck = check) -> None:
    async def run() -> None:
        chat, app = MemoryChat(), FastAPI()
        router = sms_router(intake=chat, reports=Reports(), check_signature=check_signature, public_url=PUBLIC_URL)
        app.include_router(router)
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


def test_what_twilio_answers_itself_is_handed_in_by_what_it_means_and_not_answered() -> None:
    async def steps(url: str, chat: MemoryChat) -> None:
        answers = await text_in(url, "STOP") + await text_in(url, "arrête", OptOutType="STOP")
        assert [(status, words(answer)) for status, answer in answers] == [(200, []), (200, [])]
        assert [received.text for received in chat.received] == ["STOP", "STOP"]

    receive(steps)


def test_a_text_that_is_refused_is_answered_in_words() -> None:
    async def steps(url: str, chat: MemoryChat) -> None:
        ((status, answer),) = await text_in(url, " \x00 ")
        assert status == 200
        assert "empty" in words(answer)[0]
        ((_, answer),) = await text_in(url, "", NumMedia="1", MediaUrl0="https://media.example/1")
        assert "could not get what you sent" in words(answer)[0]
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
    status_url: str | None = PUBLIC_URL + STATUS_PATH,
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
            await steps(SmsChannel(client=client, from_number=NUMBER, status_url=status_url), fake)

    asyncio.run(run())


def outbound(text: str, part: int = 0) -> OutboundMessage:
    to = Address(channel="sms", address=PERSON)
    return OutboundMessage(tenant_id=TenantId(7), reply_id=41, part=part, to=to, text=text)


async def text_out(channel: SmsChannel, text: str) -> SendResult:
    return await channel.send(outbound(text))


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


def test_a_long_reply_is_cut_into_what_twilio_takes() -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        text = "A sentence that says something. " * 150
        for number, part in enumerate(channel.parts(text)):
            assert (await channel.send(outbound(part, number))).delivery is Delivery.SENT
        assert len(fake.messages) == 3
        assert " ".join(message.text for message in fake.messages) == text.strip()
        assert fake.messages[2].status_callback == f"{PUBLIC_URL}{STATUS_PATH}/7/41/2"

    send(steps)


def test_receipts_are_asked_for_only_where_twilio_can_bring_them() -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        assert (await text_out(channel, "hello")).delivery is Delivery.SENT
        assert fake.messages[0].status_callback == ""

    async def at_localhost(channel: SmsChannel, fake: FakeTwilio) -> None:
        assert (await text_out(channel, "hello")).delivery is Delivery.FAILED, "the reason for it"

    send(steps, status_url=None)
    send(at_localhost, status_url="http://localhost:8080/receipts")


@pytest.mark.parametrize(
    ("behaviour", "delivery", "words"),
    [
        (Behaviour.OPTED_OUT, Delivery.FAILED, "opted out"),
        (Behaviour.SLOW_DOWN, Delivery.FAILED, "slow down"),
        (Behaviour.FAIL, Delivery.UNKNOWN, "HTTP 500"),
        (Behaviour.FAIL_TAKEN, Delivery.UNKNOWN, "HTTP 500"),
        (Behaviour.DROP, Delivery.UNKNOWN, "broke off"),
        (Behaviour.BABBLE, Delivery.UNKNOWN, "not understood"),
        (Behaviour.HANG, Delivery.UNKNOWN, "broke off"),
        (Behaviour.HANG_TAKEN, Delivery.UNKNOWN, "broke off"),
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
        if behaviour is Behaviour.OPTED_OUT:
            assert result.trouble is Trouble.REFUSED
        if behaviour is Behaviour.SLOW_DOWN:
            assert (result.trouble, result.retry_after_s) == (Trouble.BUSY, 3)
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
        assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.ACCOUNT)
        assert "credentials" in result.detail

    send(steps, auth_token="placeholder")

    async def nobody_there() -> SendResult:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
            async with twilio_client(account_sid=ACCOUNT, auth_token=TOKEN, base_url=url) as client:
                return await text_out(SmsChannel(client=client, from_number=NUMBER), "hello")

    result = asyncio.run(nobody_there())
    assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.NETWORK)


async def look_for(channel: SmsChannel, text: str, *, known: tuple[str, ...] = (), minutes: int = 0) -> Sighting:
    since = datetime.now(UTC) + timedelta(minutes=minutes)
    return await channel.find(outbound(text), since=since, known=known)


def test_what_twilio_took_is_found_by_its_words() -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        fake.behaviours.extend([Behaviour.DROP, Behaviour.FAIL_TAKEN])
        for text in (SMART, "🎉🎉", "Yes."):
            await text_out(channel, text)
        quoted, party, yes = fake.messages
        quoted.text = 'It\'s live - "now"...'  # as smart encoding leaves it
        yes.text = f"Sent from your Twilio trial account - {yes.text}"
        for text, message in ((SMART, quoted), ("🎉🎉", party), ("Yes.", yes)):
            assert await look_for(channel, text) == Seen(provider_id=message.sid, delivery=Delivery.SENT)
        assert await look_for(channel, "🎉") == NotSeen()
        assert await look_for(channel, "Yes, and more.") == NotSeen()

    send(steps)


def test_what_is_known_or_old_or_anothers_is_not_taken_for_it() -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        for _ in range(2):
            await text_out(channel, "OK")
        first, second = fake.messages
        assert await look_for(channel, "OK") == Seen(provider_id=first.sid, delivery=Delivery.SENT)
        assert await look_for(channel, "OK", known=(first.sid,)) == Seen(provider_id=second.sid, delivery=Delivery.SENT)
        assert await look_for(channel, "OK", known=(first.sid, second.sid)) == NotSeen()
        assert await look_for(channel, "OK", minutes=6) == NotSeen(), "it is older than the try"
        first.to, second.sender = "+15550100077", "+15550100088"
        assert await look_for(channel, "OK") == NotSeen()

    send(steps)


def test_what_failed_on_its_way_is_found_with_the_reason() -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        await text_out(channel, "hello")
        fake.messages[0].status, fake.messages[0].error_code = "undelivered", 30005
        sighting = await look_for(channel, "hello")
        assert isinstance(sighting, Seen)
        assert sighting.delivery is Delivery.FAILED
        assert sighting.detail == "the number is unknown, or no longer in use (error 30005)"

    send(steps)


def test_a_list_of_several_pages_is_read_and_one_without_end_leaves_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subclaw.channels.sms.channel._PAGE", 2)
    monkeypatch.setattr("subclaw.channels.sms.channel.LIST_LIMIT", 6)

    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        for number in range(5):
            await text_out(channel, f"text {number}")
        assert isinstance(await look_for(channel, "text 0"), Seen)
        assert fake.lists == 3
        assert await look_for(channel, "text 9") == NotSeen()
        await text_out(channel, "text 5")
        assert isinstance(await look_for(channel, "text 9"), NotTold)

    send(steps)


@pytest.mark.parametrize("behaviour", [Behaviour.SLOW_DOWN, Behaviour.FAIL, Behaviour.HANG, Behaviour.BABBLE])
def test_a_twilio_that_does_not_list_tells_nothing(behaviour: Behaviour) -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        await text_out(channel, "hello")
        fake.list_behaviours.append(behaviour)
        assert isinstance(await look_for(channel, "hello"), NotTold)

    send(steps, timeout_s=0.5)


def report(steps: Callable[[SmsChannel, FakeTwilio, Reports], Awaitable[None]]) -> None:
    """Run a channel that sends, and the routes that take the receipts."""

    async def with_routes(channel: SmsChannel, fake: FakeTwilio) -> None:
        reports, app = Reports(), FastAPI()
        app.include_router(
            sms_router(intake=MemoryChat(), reports=reports, check_signature=check, public_url=PUBLIC_URL)
        )
        async with serving(app) as port:
            fake.receipts_to = f"http://127.0.0.1:{port}"
            await text_out(channel, "hello")
            await steps(channel, fake, reports)

    send(with_routes)


def test_a_signed_receipt_is_handed_in_with_what_it_is_about() -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio, reports: Reports) -> None:
        (message,) = fake.messages
        assert await send_receipt(fake, message, "delivered", copies=2) == [204, 204]
        assert await send_receipt(fake, message, "undelivered", 30007) == [204]
        assert await send_receipt(fake, message, "failed", 99999) == [204]
        assert await send_receipt(fake, message, "brand-new") == [204], "Twilio adds states without notice"
        first, copy, *failed = reports.given
        assert first == copy
        assert (first.tenant_id, first.reply_id, first.part) == (7, 41, 0)
        assert (first.provider_id, first.delivery, first.detail) == (message.sid, Delivery.DELIVERED, "")
        assert [one.delivery for one in failed] == [Delivery.FAILED] * 2
        assert failed[0].detail == "Twilio or the carrier filtered the message as unwanted (error 30007)"
        assert failed[1].detail == "it did not arrive (error 99999)"

    report(steps)


def test_a_receipt_for_another_reply_than_was_signed_is_refused() -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio, reports: Reports) -> None:
        (message,) = fake.messages
        signed = message.status_callback
        for wrong in (signed.replace("/7/", "/8/"), f"{signed}?a=b", signed + "0"):
            params = {"MessageSid": message.sid, "MessageStatus": "failed"}
            to_url = wrong.replace(PUBLIC_URL, fake.receipts_to)
            ((status, _),) = await deliver(to_url=to_url, signed_url=signed, auth_token=TOKEN, params=params)
            assert status == 403
        message.status_callback = f"{PUBLIC_URL}{STATUS_PATH}/7/{2**63}/0"
        assert await send_receipt(fake, message, "failed") == [404]
        assert reports.given == []

    report(steps)


def test_a_receipt_that_cannot_be_stored_is_to_come_again() -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio, reports: Reports) -> None:
        reports.available = False
        assert await send_receipt(fake, fake.messages[0], "delivered") == [503]

    report(steps)


def test_twilio_is_asked_whose_the_number_is() -> None:
    async def steps(channel: SmsChannel, fake: FakeTwilio) -> None:
        with pytest.raises(Unavailable) as caught:
            await channel.check()
        assert caught.value.public == f"Twilio's account has no number {NUMBER}."
        fake.numbers[NUMBER] = PUBLIC_URL + WEBHOOK_PATH
        assert (await channel.check()).endswith(f"its messages go to {PUBLIC_URL}{WEBHOOK_PATH}")
        fake.auth_token = "another"
        with pytest.raises(Unavailable) as caught:
            await channel.check()
        assert "credentials" in caught.value.public

    send(steps)

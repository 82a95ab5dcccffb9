"""E-mail in both directions, through the gateway, with a relay, writers and name servers on loopback."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import dns.rcode
import pytest
from tests.name_server import NameServer, name_server
from tests.real.channel_scene import Answer, Scene, channel_scene, echo, said

from subclaw.channels.registry import read_channels
from subclaw.core.channel import Address, Delivery, OutboundMessage, SendResult, Trouble
from subclaw.core.consent import OPTED_IN, OPTED_OUT
from subclaw.core.errors import Unavailable
from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress
from subclaw.testing.channels.smtp import (
    Behaviour,
    FakeRelay,
    Signer,
    certify,
    deliver,
    fake_relay,
    make_signer,
    write,
)
from subclaw.testing.egress import run
from subclaw.testing.models import words
from subclaw.testing.serving import free_port

US, ANN, BOB = "agent@agents.example", "ann@example.org", "bob@example.org"
USER, PASSWORD = "agent@agents.example", "a canary & password"
QUIET = """
    SELECT 1 WHERE NOT EXISTS (SELECT FROM outbox WHERE state IN ('queued', 'sending'))
        AND NOT EXISTS (SELECT FROM conversation WHERE inbox_seq > drained_seq OR turn_open OR owner IS NOT NULL)
"""


@cache
def signer(domain: str = "example.org", flags: str = "") -> Signer:
    return make_signer(domain, flags=flags)


class Post:
    """The mail of a scene: ours at a port, the relay, the world's name servers."""

    def __init__(self, scene: Scene, relay: FakeRelay, names: NameServer, port: int) -> None:
        self.scene, self.relay, self.names, self.port = scene, relay, names, port

    async def bring(self, content: bytes, *, mail_from: str = ANN, to: str | list[str] = US) -> int:
        code, self.words = await deliver(self.port, content, to=to, mail_from=mail_from)
        return code

    async def say(self, text: str, *, sender: str = ANN, **headers: str) -> int:
        mail = write(text, sender=sender, **({"to": US} | headers))
        return await self.bring(signer().sign(mail), mail_from=sender)


Steps = Callable[[Post], Awaitable[None]]


def environment(relay_url: str, port: int, names: str, authority: Path | None = None) -> dict[str, str]:
    return {
        "EMAIL_RELAY_CA": str(authority or ""),
        "EMAIL_ADDRESS": US,
        "EMAIL_NAME": "Ada, of agents",
        "EMAIL_RELAY": relay_url,
        "EMAIL_PASSWORD": PASSWORD,
        "EMAIL_LISTEN": f"127.0.0.1:{port}",
        "SUBCLAW_NAME_SERVERS": names,
    }


async def served(port: int) -> None:
    async with asyncio.timeout(15):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            return


@asynccontextmanager
async def email(
    address: DatabaseAddress, folder: Path, answer: Answer = echo, more: Mapping[str, str] | None = None
) -> AsyncIterator[Post]:
    port = free_port()
    async with name_server() as names, fake_relay(folder, user=USER, password=PASSWORD) as relay:
        names.tell(signer().key_name, signer().record)
        given = environment(relay.url, port, names.address, relay.authority) | dict(more or {})
        async with channel_scene(address, folder, given, answer) as scene:
            await served(port)
            yield Post(scene, relay, names, port)


def play(address: DatabaseAddress, folder: Path, steps: Steps, answer: Answer = echo, **more: str) -> None:
    async def scenario() -> None:
        async with email(address, folder, answer, more) as post:
            await steps(post)
            await post.scene.until(QUIET)

    run(scenario)


def outbound(text: str) -> OutboundMessage:
    to = Address(channel="email", address=ANN)
    return OutboundMessage(tenant_id=TenantId(1), reply_id=1, part=0, to=to, text=text)


async def send(post: Post, text: str = "hi") -> SendResult:
    return await post.scene.channels["email"].send(outbound(text))


def test_a_strangers_first_mail_is_answered_in_its_thread(
    address: DatabaseAddress, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def steps(post: Post) -> None:
        mail = write(
            "Build me an **invoice** generator, café 🎉", sender=f'"Ann, B." <{ANN}>', to=US, subject="A site, שלום"
        )
        assert await post.bring(signer().sign(mail)) == 250
        (taken,) = await post.relay.until(1)
        assert taken.text() == "You said: A site, שלום\n\nBuild me an invoice generator, café 🎉"
        assert "<strong>invoice</strong>" in taken.text("html")
        assert taken.recipients == (ANN,)
        message = taken.message
        assert message["to"] == ANN
        assert message["from"] == f'"Ada, of agents" <{US}>'
        assert message["subject"] == "Re: A site, שלום"
        assert message["in-reply-to"] == message["references"]
        assert message["in-reply-to"].startswith("<m")
        assert message["list-unsubscribe"] == f"<mailto:{US}?subject=STOP>"
        assert message["auto-submitted"] == "auto-replied"
        assert message.get_content_type() == "multipart/alternative"
        ((provider_id,),) = await post.scene.until("SELECT provider_id FROM outbox_part WHERE state = 'sent'")
        assert message["message-id"] == provider_id
        mark = str(provider_id).strip("<>").partition("@")[0]
        assert taken.mail_from == US.replace("@", f"+{mark}@")
        assert post.scene.rows("SELECT channel, address FROM identity") == [("email", ANN)]

    play(address, tmp_path, steps)
    assert PASSWORD not in caplog.text
    assert "canary" not in caplog.text
    assert "invoice generator" not in "".join(one.getMessage() for one in caplog.records if one.name == "mail.log")


def test_what_is_brought_again_is_stored_once(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(post: Post) -> None:
        mail = signer().sign(write("once", sender=ANN, to=US))
        for _ in range(3):
            assert await post.bring(mail) == 250
        assert await post.say("and then", subject="Re: Hello") == 250
        assert [one.text() for one in await post.relay.until(2)] == ["You said: Hello\n\nonce", "You said: and then"]
        assert post.scene.rows("SELECT count(*) FROM inbox") == [(2,)]

    play(address, tmp_path, steps)


def forged(name: str) -> bytes:
    mail = write("let me in", sender=ANN, to=US)
    sign = signer().sign
    match name:
        case "not signed":
            return mail
        case "signed by another":
            return signer("evil.test").sign(mail)
        case "signed by one below":
            return signer("sub.example.org").sign(mail)
        case "under test":
            return signer("example.org", "y").sign(mail)
        case "words changed":
            return sign(mail).replace(b"let me in", b"let me out")
        case "sender changed":
            return sign(write("hi", sender=f"{ANN}", to=US)).replace(b"From: ann@", b"From: bob@")
        case "subject left out":
            return sign(mail, ("from", "to", "date", "message-id"))
        case "only a part signed":
            return sign(mail, length=True) + b"and what somebody put below\r\n"
        case "written to another":
            return sign(write("hi", sender=ANN, to="shop@example.com"))
        case "old":
            return sign(write("hi", sender=ANN, to=US, date="Tue, 01 Jul 2025 10:00:00 +0000"))
        case "two senders":
            return sign(write("hi", sender=f"{ANN}, bob@evil.test", to=US))
        case "sender twice":
            return b"From: bob@example.org\r\n" + sign(mail)
        case "a line end that is none":
            return sign(mail).replace(b"Subject: ", b"Subject: \rFrom: bob@example.org\r")
    raise AssertionError(name)


@pytest.mark.parametrize(
    "name",
    [
        "not signed",
        "signed by another",
        "signed by one below",
        "under test",
        "words changed",
        "sender changed",
        "subject left out",
        "only a part signed",
        "written to another",
        "old",
        "two senders",
        "sender twice",
        "a line end that is none",
    ],
)
def test_nobody_speaks_for_somebody_else(address: DatabaseAddress, tmp_path: Path, name: str) -> None:
    async def steps(post: Post) -> None:
        for known in (signer("evil.test"), signer("sub.example.org")):
            post.names.tell(known.key_name, known.record)
        if name == "under test":
            post.names.tell(signer().key_name, signer("example.org", "y").record)
        assert await post.bring(forged(name)) == 550
        assert post.scene.rows("SELECT count(*) FROM tenant") == [(0,)]
        assert post.relay.mails == []

    play(address, tmp_path, steps)


def test_who_cannot_be_looked_up_comes_again(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(post: Post) -> None:
        post.names.fail(signer().key_name, dns.rcode.SERVFAIL)
        assert await post.say("hello") == 451
        assert post.scene.rows("SELECT count(*) FROM tenant") == [(0,)]

    play(address, tmp_path, steps)


def test_the_word_of_a_front_is_believed_and_nobody_elses(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(post: Post) -> None:
        said_by = "Authentication-Results: mx.agents.example; dmarc=pass (p=none) header.from=example.org\r\n"
        tricked = (
            'Authentication-Results: mx.agents.example; spf=none smtp.mailfrom="x; dmarc=pass header.from=example.org"'
            "@e.test (; dmarc=pass header.from=example.org); dmarc=fail header.from=example.org\r\n"
        )
        elsewhere = "Authentication-Results: evil.test; dmarc=pass header.from=example.org\r\n"
        mail = write("hello", sender=ANN, to=US, subject="")
        for header in (tricked, elsewhere + said_by, "", said_by.replace("example.org", "example.com")):
            assert await post.bring(header.encode() + mail) == 550
        assert await post.bring(said_by.encode() + mail) == 250
        assert [one.text() for one in await post.relay.until(1)] == ["You said: hello"]

    play(address, tmp_path, steps, EMAIL_FRONT="mx.agents.example 127.0.0.1")


def test_only_the_front_may_connect(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(post: Post) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", post.port)
        assert (await reader.read()).startswith(b"554 5.7.1")
        writer.close()

    play(address, tmp_path, steps, EMAIL_FRONT="mx.agents.example 10.0.0.0/8")


@pytest.mark.parametrize(
    "to", ["root@agents.example", "agent@elsewhere.test", "agent@agents.example.evil.test", "agent"]
)
def test_it_relays_for_nobody(address: DatabaseAddress, tmp_path: Path, to: str) -> None:
    async def steps(post: Post) -> None:
        assert await post.bring(signer().sign(write("hi", sender=ANN, to=to)), to=to) in (550, 501, 553)
        assert await post.bring(signer().sign(write("hi", sender=ANN, to=US)), to=[US, to]) in (550, 501, 553)
        assert post.scene.rows("SELECT count(*) FROM tenant") == [(0,)]

    play(address, tmp_path, steps)


def test_too_much_is_refused_and_the_next_is_taken(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(post: Post) -> None:
        line = "x" * 900 + "\r\n"
        assert await post.bring(write(line * 28_000, sender=ANN, to=US)) == 552
        lines = [await asyncio.open_connection("127.0.0.1", post.port) for _ in range(10)]
        for reader, _ in lines:
            assert (await reader.readline()).startswith(b"220 agents.example")
        reader, writer = await asyncio.open_connection("127.0.0.1", post.port)
        assert (await reader.read()).startswith(b"421 4.7.0")
        for _, one in [*lines, (reader, writer)]:
            one.close()
            await one.wait_closed()
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await post.say("still there?") == 250
                except OSError:
                    continue
                break
        await post.relay.until(1)

    play(address, tmp_path, steps)


def test_ten_mails_at_once_are_told_in_order(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(post: Post) -> None:
        for number in range(10):
            assert await post.say(f"message {number}", subject="Re: Hello") == 250
        await post.scene.until("SELECT 1 FROM conversation WHERE drained_seq = 10 AND NOT turn_open AND owner IS NULL")
        assert said(post.scene.model.prompts[-1]) == [f"message {number}" for number in range(10)]

    play(address, tmp_path, steps)


@pytest.mark.parametrize(("paragraphs", "count"), [(400, 1), (2_000, 3)])
def test_a_long_reply_is_whole(address: DatabaseAddress, tmp_path: Path, paragraphs: int, count: int) -> None:
    long = "# A report\n\n" + "\n\n".join(f"Paragraph **{n}** has words. " + "word " * 20 for n in range(paragraphs))

    async def steps(post: Post) -> None:
        await post.say("report")
        mails = await post.relay.until(count)
        assert "".join(one.text() for one in mails).count("Paragraph ") == paragraphs
        assert len({one.message["message-id"] for one in mails}) == count
        assert len({one.message["in-reply-to"] for one in mails}) == 1

    play(address, tmp_path, steps, lambda _: words(long))


def test_a_reply_waits_for_a_relay_that_is_down(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        port, down = free_port(), free_port()
        (tmp_path / "relay").mkdir()
        async with fake_relay(tmp_path / "relay", user=USER, password=PASSWORD) as first:
            authority = first.authority
        async with name_server() as names:
            names.tell(signer().key_name, signer().record)
            given = environment(first.url.replace(str(first.port), str(down)), port, names.address, authority)
            async with channel_scene(address, tmp_path, given) as scene:
                await served(port)
                mail = signer().sign(write("are you there?", sender=ANN, to=US, subject=""))
                assert (await deliver(port, mail, to=US))[0] == 250
                await scene.until(
                    "SELECT 1 FROM outbox WHERE state = 'queued' AND strpos(detail, 'cannot be reached') > 0"
                )
                async with fake_relay(tmp_path / "relay", user=USER, password=PASSWORD, port=down) as relay:
                    (taken,) = await relay.until(1)
                    assert taken.text() == "You said: are you there?"
                    await scene.until(QUIET)
                    assert len(relay.mails) == 1

    run(scenario)


@pytest.mark.parametrize(
    ("behaviour", "delivery", "trouble"),
    [
        (Behaviour.GO_AWAY, Delivery.FAILED, Trouble.BUSY),
        (Behaviour.DEFER, Delivery.FAILED, Trouble.BUSY),
        (Behaviour.NO_MAILBOX, Delivery.FAILED, Trouble.REFUSED),
        (Behaviour.REFUSE_CONTENT, Delivery.FAILED, Trouble.REFUSED),
        (Behaviour.DROP, Delivery.UNKNOWN, Trouble.REFUSED),
    ],
)
def test_what_the_relay_answers_is_understood(
    address: DatabaseAddress, tmp_path: Path, behaviour: Behaviour, delivery: Delivery, trouble: Trouble
) -> None:
    async def steps(post: Post) -> None:
        post.relay.behaviours.append(behaviour)
        result = await send(post)
        assert (result.delivery, result.trouble) == (delivery, trouble)
        assert ANN not in result.detail
        first = await send(post)
        again = await send(post)
        assert first.delivery is Delivery.SENT
        assert first.provider_id == again.provider_id == post.relay.mails[-1].message["message-id"]

    play(address, tmp_path, steps)


def test_a_password_that_is_wrong_is_the_operators_trouble(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(post: Post) -> None:
        result = await send(post)
        assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.ACCOUNT)
        assert post.relay.users == ["somebody"] * len(post.relay.users)
        assert post.relay.mails == []

    play(address, tmp_path, steps, EMAIL_PASSWORD="another")


@pytest.mark.parametrize("has_authority", [False, True], ids=["believed by nobody", "of another authority"])
def test_a_relay_whose_certificate_does_not_hold_is_not_told_the_password(
    address: DatabaseAddress, tmp_path: Path, has_authority: bool
) -> None:
    async def scenario() -> None:
        (tmp_path / "another").mkdir()
        _, another = certify(tmp_path / "another")
        async with fake_relay(tmp_path, user=USER, password=PASSWORD) as relay:
            given = environment(relay.url, free_port(), "", another if has_authority else None)
            async with channel_scene(address, tmp_path, given) as scene:
                result = await scene.channels["email"].send(outbound("hi"))
                assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.NETWORK)
                assert "EMAIL_RELAY_CA" in result.detail
                assert relay.users == []

    run(scenario)


@pytest.mark.parametrize(
    "headers",
    [
        {"auto_submitted": "auto-replied (vacation)"},
        {"precedence": "bulk"},
        {"list_id": "<a.list.example.org>"},
        {"x_loop": "yes"},
    ],
)
def test_what_a_program_wrote_is_never_answered(
    address: DatabaseAddress, tmp_path: Path, headers: Mapping[str, str]
) -> None:
    async def steps(post: Post) -> None:
        assert await post.say("I am away", **headers) == 250
        mail = signer().sign(write("I am away, too", sender=ANN, to=US))
        assert await post.bring(mail, mail_from="") == 250
        ours = write("a loop", sender=US, to=US)
        assert await post.bring(ours, mail_from=US) == 250
        assert post.scene.rows("SELECT count(*) FROM tenant") == [(0,)]

    play(address, tmp_path, steps)


def bounce(original: str, *, action: str, status: str) -> bytes:
    return write(
        "--b\nContent-Type: text/plain\n\nSorry.\n--b\nContent-Type: message/delivery-status\n\n"
        f"Reporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822; {ANN}\nAction: {action}\nStatus: {status}\n"
        f"--b\nContent-Type: text/rfc822-headers\n\nMessage-ID: {original}\n--b--",
        sender="mailer-daemon@example.org",
        to=US,
        content_type='multipart/report; report-type=delivery-status; boundary="b"',
    )


def test_a_bounce_is_a_failed_delivery(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(post: Post) -> None:
        await post.say("hello")
        (taken,) = await post.relay.until(1)
        await post.scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
        forged = bounce(f"<1.1.0.{'0' * 20}@agents.example>", action="failed", status="5.1.1")
        assert await post.bring(forged, mail_from="") == 250
        late = bounce("", action="delayed", status="4.4.1")
        assert await post.bring(late, mail_from="", to=taken.mail_from) == 250
        assert post.scene.rows("SELECT state FROM outbox") == [("sent",)]
        bounced = bounce("", action="failed", status="5.1.1")
        assert await post.bring(bounced, mail_from="", to=taken.mail_from) == 250
        assert post.scene.rows("SELECT state, detail FROM outbox_part") == [
            ("failed", "there is no such address (5.1.1)")
        ]

    play(address, tmp_path, steps)


def test_a_complaint_opts_out(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(post: Post) -> None:
        await post.say("hello")
        (taken,) = await post.relay.until(1)
        await post.scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
        complaint = write(
            "--b\nContent-Type: text/plain\n\nAbuse.\n--b\nContent-Type: message/feedback-report\n\n"
            "Feedback-Type: abuse\nVersion: 1\n"
            f"--b\nContent-Type: message/rfc822\n\nMessage-ID: {taken.message['message-id']}\n\nhi\n--b--",
            sender="complaints@example.org",
            to=US,
            content_type='multipart/report; report-type=feedback-report; boundary="b"',
        )
        assert await post.bring(complaint, mail_from="complaints@example.org") == 250
        assert post.scene.rows("SELECT state FROM consent WHERE address = %s ORDER BY id DESC LIMIT 1", ANN) == [
            ("out",)
        ]

    play(address, tmp_path, steps)


def test_stop_by_mail_opts_out(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(post: Post) -> None:
        await post.say("hello")
        await post.relay.until(1)
        assert await post.say("", subject="STOP") == 250
        taken = (await post.relay.until(2))[-1]
        assert taken.text() == OPTED_OUT
        assert taken.message["subject"] == "Re: Hello"
        assert post.scene.rows("SELECT state FROM consent WHERE address = %s ORDER BY id DESC LIMIT 1", ANN) == [
            ("out",)
        ]
        # As in other channels: what is written is read, and nothing goes out until START.
        assert await post.say("are you there?") == 250
        await post.scene.until("SELECT 1 FROM outbox WHERE state = 'failed' AND detail = 'opted out'")
        assert said(post.scene.model.prompts[-1])[-1].endswith("are you there?")
        assert await post.say("", subject="START") == 250
        await post.relay.until(3)
        assert await post.say("and now?") == 250
        texts = [one.text() for one in await post.relay.until(4)]
        assert texts[2] == OPTED_IN
        assert texts[3].endswith("and now?")

    play(address, tmp_path, steps)


def test_others_whom_a_mail_went_to_are_not_answered(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(post: Post) -> None:
        assert await post.say("for all of us", to=f"{US}, {BOB}", cc="carl@example.org", reply_to=BOB) == 250
        (taken,) = await post.relay.until(1)
        assert taken.recipients == (ANN,)
        assert taken.message["to"] == ANN
        assert "cc" not in taken.message
        assert await post.say("I am Bob", sender=BOB) == 250
        await post.relay.until(2)
        assert post.scene.rows("SELECT count(DISTINCT tenant_id) FROM conversation") == [(2,)]
        assert said(post.scene.model.prompts[-1]) == ["Hello\n\nI am Bob"]

    play(address, tmp_path, steps)


def test_files_come_along(address: DatabaseAddress, tmp_path: Path) -> None:
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

    async def steps(post: Post) -> None:
        body = (
            "--b\nContent-Type: text/plain\n\nmy logo\n--b\nContent-Type: application/octet-stream\n"
            'Content-Disposition: attachment; filename="../lo go.png"\nContent-Transfer-Encoding: base64\n\n'
            f"{png}\n--b--"
        )
        assert await post.say(body, subject="", content_type='multipart/mixed; boundary="b"') == 250
        (taken,) = await post.relay.until(1)
        assert taken.text().startswith("You said: my logo")
        ((_, path),) = post.scene.files.written
        assert path.endswith("-1-lo_go.png")
        assert "image/png" in taken.text()

    play(address, tmp_path, steps)


def test_mail_comes_by_tls_where_there_is_a_certificate(address: DatabaseAddress, tmp_path: Path) -> None:
    pem = str(tmp_path / "mail.pem")

    async def steps(post: Post) -> None:
        tls = ssl.create_default_context(cafile=str(post.relay.authority))
        mail = signer().sign(write("hidden", sender=ANN, to=US, subject=""))
        assert (await deliver(post.port, mail, to=US, tls=tls))[0] == 250
        assert [one.text() for one in await post.relay.until(1)] == ["You said: hidden"]

    play(address, tmp_path, steps, EMAIL_CERTIFICATE=pem, EMAIL_CERTIFICATE_KEY=pem)


def test_the_doctor_says_what_the_dns_lacks(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with email(address, tmp_path) as post:
            given = environment(post.relay.url, post.port, post.names.address)
            (set_up,) = [one for one in read_channels(given) if one.kind.name == "email"]
            assert set_up.check is not None
            told = await set_up.check(post.scene.outside)
            assert "the relay lets us in; MX of agents.example: none" in told
            assert 'no SPF: add the TXT "v=spf1' in told
            assert 'no DMARC: add the TXT "v=DMARC1; p=quarantine" to _dmarc.agents.example' in told
            post.names.tell("_dmarc.agents.example", '"v=DMARC1; p=reject"')
            assert "DMARC is there" in await set_up.check(post.scene.outside)
            post.relay.password = ""
            assert post.relay.mails == []

    run(scenario)


def test_the_doctor_says_that_the_password_is_wrong(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with email(address, tmp_path, more={"EMAIL_PASSWORD": "another"}) as post:
            given = environment(post.relay.url, post.port, post.names.address)
            (set_up,) = [one for one in read_channels(given) if one.kind.name == "email"]
            assert set_up.check is not None
            with pytest.raises(Unavailable, match=r"does not accept the user and the password \(535"):
                await set_up.check(post.scene.outside)

    run(scenario)

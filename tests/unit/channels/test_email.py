"""E-mail's pure parts: settings, heads, what is new in a text, HTML as text, files, marks, what a relay says."""

from email import message_from_bytes, message_from_string
from email.message import Message
from pathlib import Path

import pytest

from subclaw.channels.email.body import attachments_of, text_of
from subclaw.channels.email.errors import result_of
from subclaw.channels.email.head import check_form, is_automatic, read_head, same_domain
from subclaw.channels.email.history import strip_history
from subclaw.channels.email.html_text import html_text
from subclaw.channels.email.kind import read_email
from subclaw.channels.email.marks import Marked, make_mark, marks_in, read_mark
from subclaw.core.channel import Delivery, Trouble
from subclaw.core.errors import Invalid
from subclaw.core.mail_relay import Handed, Step
from subclaw.core.tenant import TenantId

US = "agent@agents.example"
GIVEN = {"EMAIL_ADDRESS": US, "EMAIL_RELAY": "smtp://agent%40agents.example@mail.example.com"}


def test_a_relay_is_read_from_its_address() -> None:
    set_up = read_email(GIVEN | {"EMAIL_LISTEN": "[::1]:25"})
    assert set_up is not None
    (relay,) = set_up.relays
    assert (relay.host, relay.port, relay.implicit_tls, relay.user) == ("mail.example.com", 587, False, US)
    implicit = read_email(GIVEN | {"EMAIL_RELAY": "smtps://u@mail.example.com"})
    assert implicit is not None
    assert (implicit.relays[0].port, implicit.relays[0].implicit_tls) == (465, True)
    assert relay.authorities is None
    own = read_email(GIVEN | {"EMAIL_RELAY_CA": "/etc/mail/authority.pem"})
    assert own is not None
    assert own.relays[0].authorities == Path("/etc/mail/authority.pem")
    assert read_email({}) is None


@pytest.mark.parametrize(
    "given",
    [
        {"EMAIL_RELAY": ""},
        {"EMAIL_RELAY": "https://u@mail.example.com"},
        {"EMAIL_RELAY": "smtp://mail.example.com"},
        {"EMAIL_RELAY": "smtp://u:canary@mail.example.com"},
        {"EMAIL_RELAY": "smtp://u@mail.example.com:99999"},
        {"EMAIL_ADDRESS": "agent"},
        {"EMAIL_ADDRESS": f"{'a' * 31}@example.com"},
        {"EMAIL_LISTEN": "2525"},
        {"EMAIL_LISTEN": "localhost:25"},
        {"EMAIL_CERTIFICATE": "/a.pem"},
        {"EMAIL_FRONT": "mx.example.com"},
        {"EMAIL_FRONT": "mx.example.com here"},
    ],
)
def test_what_is_set_wrongly_is_said_in_words(given: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="EMAIL_") as raised:
        read_email(GIVEN | given)
    assert "canary" not in str(raised.value) or "EMAIL_RELAY must not hold" in str(raised.value)


def mail(**headers: str) -> Message:
    given = {"From": "ann@example.org", "Message-ID": "<1@example.org>"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return message_from_string("".join(f"{name}: {value}\n" for name, value in given.items()) + "\nhi\n")


@pytest.mark.parametrize(
    ("written", "sender"),
    [
        ("Ann@Example.ORG", "ann@example.org"),
        ("Ann B <ann@example.org>", "ann@example.org"),
        ('"B, Ann <x@y.z>" <ann@example.org>', "ann@example.org"),
        ("=?utf-8?q?Ann=3Cx=40y=2Ez=3E?= <ann@example.org>", "ann@example.org"),
    ],
)
def test_who_writes_is_one_plain_address(written: str, sender: str) -> None:
    assert read_head(mail(From=written)).sender == sender


@pytest.mark.parametrize(
    "written",
    [
        "",
        "ann",
        "a@b.c, d@e.f",
        "a@b.c <d@e.f>, g@h.i",
        "x: ann@example.org;",
        "<a@b.c> <d@e.f>",
        "ann@exämple.org",
        "a b@c.d",
    ],
)
def test_who_cannot_be_told_for_sure_is_nobody(written: str) -> None:
    with pytest.raises(Invalid, match="one plain address"):
        read_head(mail(From=written))


@pytest.mark.parametrize("name", ["From", "Subject", "Date", "Message-ID", "To", "Content-Type"])
def test_what_is_said_twice_is_refused(name: str) -> None:
    message = mail(Subject="a", Date="b", To=US, Content_Type="text/plain")
    message[name] = "again"
    with pytest.raises(Invalid, match="twice"):
        read_head(message)


@pytest.mark.parametrize(
    "head",
    [b"A: 1\rFrom: x@y.z\r\n\r\n", b"A: 1\nB: 2\r\n\r\n", b"A: \0\r\n\r\n", b"A: " + b"x" * 200_000 + b"\r\n\r\n"],
)
def test_a_head_that_two_programs_read_differently_is_refused(head: bytes) -> None:
    with pytest.raises(Invalid, match="head of this mail"):
        check_form(head)


@pytest.mark.parametrize(
    ("subject", "plain", "is_reply"),
    [("Re: A site", "A site", True), ("AW: Re[2]: A site", "A site", True), ("Rest", "Rest", False), ("", "", False)],
)
def test_marks_of_replies_are_no_subject(subject: str, plain: str, is_reply: bool) -> None:
    head = read_head(mail(Subject=subject))
    assert (head.subject, head.is_reply) == (plain, is_reply)


def test_a_domain_vouches_for_those_below_it_only() -> None:
    assert same_domain("example.org", "example.org")
    assert same_domain("a.example.org", "example.org")
    assert not same_domain("example.org", "a.example.org")
    assert not same_domain("badexample.org", "example.org")


def test_people_are_no_programs() -> None:
    assert not is_automatic(mail(Auto_Submitted="no"), "ann@example.org")
    assert is_automatic(mail(), "")
    assert is_automatic(mail(Content_Type="multipart/report"), "ann@example.org")


@pytest.mark.parametrize(
    ("written", "new"),
    [
        ("yes\n\nOn Mon, 3 Nov 2025 at 10:00, Ada <agent@agents.example> wrote:\n> shall I?\n", "yes"),
        ("ja\n\nAm Mo., 3. Nov. 2025 um 10:00 Uhr schrieb Ada <\nagent@agents.example>:\n\n> soll ich?\n>\n> ?", "ja"),
        ("oui\n\nLe lun. 3 nov. 2025 à 10:00, Ada <agent@agents.example> a écrit :\n> je peux ?", "oui"),
        ("はい\n\n2025年11月3日 Ada <agent@agents.example>:\n> ok?", "はい"),
        (
            "ok\n\n________________________________\nVon: Ada <agent@agents.example>\nAn: Ann\n\nsoll ich?",
            "ok",
        ),
        ("ok\n\n-----Original Message-----\nFrom: agent@agents.example\nSent: now\n\nshall I?", "ok"),
        ("STOP\n\n-- \nAnn B\nDirector of all", "STOP"),
        ("go on\n\nSent from my iPhone", "go on"),
        ("> shall I make it blue?\nyes\n> and green?\nno", "> shall I make it blue?\nyes\n> and green?\nno"),
        ("see what he wrote:\n\n---------- Forwarded message ---------\nFrom: Carl <c@d.e>\n\nhi", None),
        ("my address is agent@agents.example: that is wrong\nplease mend it", None),
        ("> only what was said", None),
        ("two\n\nparagraphs", None),
    ],
)
def test_what_is_new_is_kept(written: str, new: str | None) -> None:
    assert strip_history(written, US) == (written.strip() if new is None else new)


def test_html_is_read_as_text() -> None:
    html = (
        "<html><head><style>p {}</style><title>no</title></head><body><p>Hello&nbsp;<b>you</b>,<br>see "
        '<a href="https://a.test/x">this</a> &amp; <a href="https://b.test">https://b.test</a>.</p>'
        "<ul><li>one<li>two</ul><script>evil()</script><blockquote>quoted<br>twice</blockquote></body></html>"
    )
    assert html_text(html) == (
        "Hello you,\nsee this (https://a.test/x) & https://b.test.\n\n- one\n- two\n\n> quoted\n> twice"
    )


def parsed(body: str, **headers: str) -> Message:
    given = {"From": "ann@example.org", "Message-ID": "<1@example.org>"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = "".join(f"{name}: {value}\n" for name, value in given.items())
    return message_from_bytes(f"{head}\n{body}".encode("latin-1"))


@pytest.mark.parametrize(
    ("body", "headers", "text"),
    [
        ("mach es", {"Subject": "Seite"}, "Seite\n\nmach es"),
        ("mach es", {"Subject": "Re: Seite"}, "mach es"),
        ("", {"Subject": "STOP"}, "STOP"),
        ("Stop\n", {"Subject": "please"}, "Stop"),
        ("caf\xe9", {"Content-Type": "text/plain; charset=iso-8859-1"}, "café"),
        ("caf\xe9", {"Content-Type": "text/plain; charset=nonsense"}, "caf\ufffd"),
        ("<p>hi <b>you</b></p>", {"Content-Type": "text/html"}, "hi you"),
        (
            "--b\nContent-Type: text/plain\n\nplain\n--b\nContent-Type: text/html\n\n<p>html</p>\n--b--",
            {"Content-Type": "multipart/alternative; boundary=b"},
            "plain",
        ),
    ],
)
def test_a_mails_words(body: str, headers: dict[str, str], text: str) -> None:
    message = parsed(body, **headers)
    assert text_of(message, read_head(message), US).strip() == text


def test_a_mails_files() -> None:
    body = (
        "--b\nContent-Type: text/plain\n\nhi\n--b\nContent-Type: text/plain; name=a.txt\n\nfile\n--b\n"
        'Content-Type: image/png\nContent-Disposition: attachment; filename="=?utf-8?q?caf=C3=A9.png?="\n'
        "Content-Transfer-Encoding: base64\n\nAAEC\n--b\nContent-Type: message/rfc822\n\nSubject: old\n\nwords\n--b--"
    )
    files = attachments_of(parsed(body, Content_Type="multipart/mixed; boundary=b"))
    assert [(one.name, one.content) for one in files] == [
        ("a.txt", b"file"),
        ("café.png", b"\0\1\2"),
        ("old.eml", b"Subject: old\n\nwords"),
    ]


def test_parts_without_end_are_refused() -> None:
    body = "".join(f"--b\nContent-Type: text/plain\n\n{number}\n" for number in range(300)) + "--b--"
    with pytest.raises(Invalid, match="parts"):
        attachments_of(parsed(body, Content_Type="multipart/mixed; boundary=b"))


def test_a_mark_names_its_reply_and_nobody_makes_one() -> None:
    marked = Marked(tenant_id=TenantId(7), reply_id=12, part=1)
    mark = make_mark("secret", marked)
    assert read_mark("secret", mark) == marked
    assert read_mark("another", mark) is None
    assert read_mark("secret", mark.replace("7.", "8.", 1)) is None
    assert read_mark("secret", "") is None
    assert marks_in(f"Message-ID: <{mark}@agents.example>\n<1@x.y>".encode(), "agents.example") == [mark]


@pytest.mark.parametrize(
    ("handed", "delivery", "trouble"),
    [
        (Handed(step=Step.TAKEN, code=250), Delivery.SENT, Trouble.REFUSED),
        (Handed(step=Step.LOST), Delivery.UNKNOWN, Trouble.REFUSED),
        (Handed(step=Step.REACH), Delivery.FAILED, Trouble.NETWORK),
        (Handed(step=Step.RECIPIENT), Delivery.FAILED, Trouble.NETWORK),
        (Handed(step=Step.REACH, code=554), Delivery.FAILED, Trouble.BUSY),
        (Handed(step=Step.SIGN_IN, code=535, status="5.7.8"), Delivery.FAILED, Trouble.ACCOUNT),
        (Handed(step=Step.SIGN_IN, code=454, status="4.7.0"), Delivery.FAILED, Trouble.BUSY),
        (Handed(step=Step.SENDER, code=550, status="5.7.1"), Delivery.FAILED, Trouble.ACCOUNT),
        (Handed(step=Step.SENDER, code=552, status="5.3.4"), Delivery.FAILED, Trouble.REFUSED),
        (Handed(step=Step.RECIPIENT, code=450), Delivery.FAILED, Trouble.BUSY),
        (Handed(step=Step.RECIPIENT, code=550, status="5.1.1"), Delivery.FAILED, Trouble.REFUSED),
        (Handed(step=Step.CONTENT, code=421), Delivery.FAILED, Trouble.BUSY),
        (Handed(step=Step.CONTENT, code=554), Delivery.FAILED, Trouble.REFUSED),
    ],
)
def test_what_a_relay_says_is_understood(handed: Handed, delivery: Delivery, trouble: Trouble) -> None:
    result = result_of(handed, "<1@agents.example>")
    assert (result.delivery, result.trouble) == (delivery, trouble)

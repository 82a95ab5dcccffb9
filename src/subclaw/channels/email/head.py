"""The head of a mail, read strictly: what is said once, by whom it is, and whether a program wrote it.

Source: RFC 5322; RFC 3834 and RFC 2919 for what must not be answered.
"""

import re
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message

from subclaw.core.errors import Invalid

HEAD_LIMIT_BYTES = 128 * 1024
HEADERS_LIMIT = 300
SUBJECT_LIMIT_CHARACTERS = 200

_ONCE = ("from", "sender", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references", "content-type")
_ADDR = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_ADDRESS = re.compile(_ADDR)
_PHRASE = r'(?:"(?:[^"\\]|\\.)*"|[^"<>,;:])*'
_MAILBOX = re.compile(rf"\s*(?:{_PHRASE}<\s*({_ADDR})\s*>|({_ADDR}))\s*")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{3,250}>")
_LIST_HEADERS = ("list-id", "list-post", "list-unsubscribe", "x-loop", "x-autoreply", "x-autorespond", "feedback-id")
_REPLY_MARKS = re.compile(r"\s*(?:(?:re|aw|antw|sv|vs|ref|rif|odp|res)\s*(?:\[\d+\])?\s*:\s*)+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a head says. `sender` is the address in `From`, in small letters; `named` are those in `To` and `Cc`."""

    sender: str
    message_id: str
    subject: str
    named: frozenset[str]
    is_reply: bool

    @property
    def domain(self) -> str:
        """Return the sender's domain."""
        return self.sender.partition("@")[2]


def check_form(content: bytes) -> None:
    """Refuse what two programs could read differently, or never end to read. Errors: `Invalid`."""
    head, _, _ = content.partition(b"\r\n\r\n")
    if len(head) > HEAD_LIMIT_BYTES or head.count(b"\n") > 20 * HEADERS_LIMIT:
        raise Invalid("The head of this mail is too long.")
    lines = head.replace(b"\r\n", b"\n")
    if b"\r" in lines or b"\0" in lines or head.count(b"\n") != head.count(b"\r\n"):
        raise Invalid("The head of this mail has line ends that are none.")


def read_head(message: Message) -> Head:
    """Read what is needed. Errors: `Invalid`, in words for the sender's server."""
    if len(message.keys()) > HEADERS_LIMIT:
        raise Invalid("This mail has too many headers.")
    for name in _ONCE:
        if len(message.get_all(name, [])) > 1:
            raise Invalid(f"This mail has the header {name} twice.")
    sender = _MAILBOX.fullmatch(_unfolded(message, "from"))
    if sender is None:
        raise Invalid("This mail must be from one plain address.")
    message_id = _MESSAGE_ID.fullmatch(_unfolded(message, "message-id").strip())
    if message_id is None:
        raise Invalid("This mail has no proper Message-ID.")
    named = (_ADDRESS.findall(_unfolded(message, name)) for name in ("to", "cc"))
    subject = words_of(message, "subject")
    return Head(
        sender=(sender[1] or sender[2]).lower(),
        message_id=message_id[0],
        subject=_REPLY_MARKS.sub("", subject, count=1).strip()[:SUBJECT_LIMIT_CHARACTERS],
        named=frozenset(address.lower() for found in named for address in found),
        is_reply=bool(_REPLY_MARKS.match(subject)) or "in-reply-to" in message,
    )


def is_automatic(message: Message, mail_from: str) -> bool:
    """Say whether a program wrote a mail, or a list passed it on: an answer might go round for ever."""
    said = _unfolded(message, "auto-submitted").partition(";")[0].strip().lower()
    precedence = _unfolded(message, "precedence").strip().lower()
    return (
        not mail_from
        or said not in ("", "no")
        or precedence in ("bulk", "junk", "list", "auto_reply")
        or any(name in message for name in _LIST_HEADERS)
        or _unfolded(message, "return-path").strip() == "<>"
        or message.get_content_type() in ("multipart/report", "message/delivery-status")
    )


def words_of(message: Message, name: str) -> str:
    """Return a header's words in one line, decoded as far as that goes."""
    raw = _unfolded(message, name)
    try:
        return " ".join(str(make_header(decode_header(raw))).split())
    except (HeaderParseError, LookupError, ValueError):
        return " ".join(raw.split())


def same_domain(domain: str, above: str) -> bool:
    """Say whether a domain is another, or below it: whoever has that one's DNS has this one's."""
    return domain == above or domain.endswith(f".{above}")


def _unfolded(message: Message, name: str) -> str:
    """Return a header in one line; what is no ASCII is taken for UTF-8 (RFC 6532)."""
    raw = next((str(value) for key, value in message.raw_items() if key.lower() == name), "")
    return re.sub(r"\r?\n[ \t]", " ", raw.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))

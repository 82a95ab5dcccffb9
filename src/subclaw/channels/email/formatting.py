"""Replies as mail: a text, and the same as HTML, from Markdown; a file beside them."""

import re
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.utils import format_datetime

from markdown_it import MarkdownIt

from subclaw.channels.markdown import plain
from subclaw.core.channel import OutboundFile

_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["strikethrough", "table"])
_MARKDOWN.disable("image")  # fetched, it would tell when the mail is read, and wake the machine behind it
_POLICY = policy.SMTP.clone(cte_type="7bit", utf8=False)
_ATTACHED = frozenset({"application", "audio", "font", "image", "text", "video"})
_IN_HEADERS = re.compile(r"[\x00-\x1f\x7f]+")


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A mail before it is one. `answers` is the Message-ID of what it answers, or empty; `file` comes with it."""

    sender: str
    sender_name: str
    to: str
    subject: str
    text: str
    mail_id: str
    answers: str
    at: datetime
    file: OutboundFile | None = None


def write_mail(draft: Draft) -> str:
    """Return a mail, in ASCII, as it is sent."""
    mail = EmailMessage(policy=_POLICY)
    name, _, domain = draft.sender.partition("@")
    mail["From"] = Mailbox(display_name=_line(draft.sender_name), username=name, domain=domain)
    mail["To"] = draft.to
    mail["Subject"] = _line(draft.subject)
    mail["Date"] = format_datetime(draft.at)
    mail["Message-ID"] = draft.mail_id
    if draft.answers:
        mail["In-Reply-To"] = mail["References"] = draft.answers
    # So no program answers it (RFC 3834), and whoever wants no more of it finds the way (RFC 2369).
    mail["Auto-Submitted"] = "auto-replied" if draft.answers else "auto-generated"
    mail["List-Unsubscribe"] = f"<mailto:{draft.sender}?subject=STOP>"
    mail.set_content(plain(draft.text).strip() or draft.text, cte="quoted-printable")
    mail.add_alternative(_html(draft.text), subtype="html", cte="quoted-printable")
    if draft.file is not None:
        main, _, sub = draft.file.media_type.partition("/")
        kind = (main, sub) if main in _ATTACHED else ("application", "octet-stream")
        mail.add_attachment(draft.file.content, *kind, filename=_line(draft.file.name) or "file")
    return mail.as_bytes().decode("ascii")


def _html(text: str) -> str:
    return f'<!doctype html>\n<html><head><meta charset="utf-8"></head><body>\n{_MARKDOWN.render(text)}</body></html>\n'


def _line(words: str) -> str:
    return " ".join(_IN_HEADERS.sub(" ", words).split())

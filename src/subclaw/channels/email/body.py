"""The body of a mail: what was said, and the files that came with it.

Source: RFC 2045 to 2049, RFC 2183, RFC 2231.
"""

import re
from collections.abc import Iterator
from email.message import Message

from subclaw.channels.email.head import Head, words_of
from subclaw.channels.email.history import strip_history
from subclaw.channels.email.html_text import html_text
from subclaw.channels.email.settings import CHANNEL
from subclaw.core.channel import Attachment
from subclaw.core.control import read_control
from subclaw.core.errors import Invalid

PARTS_LIMIT = 200
HTML_LIMIT_CHARACTERS = 2_000_000


def text_of(message: Message, head: Head, our_address: str) -> str:
    """Return what a person says: what is new in the body; the subject too, where it is said with a mail of its own.

    A control word counts as such whatever the subject is, and as a subject alone.
    """
    body = strip_history(_body(message), our_address)
    if not body or head.is_reply or not head.subject or read_control(CHANNEL, body):
        return body or head.subject
    return f"{head.subject}\n\n{body}"


def attachments_of(message: Message) -> tuple[Attachment, ...]:
    """Return the files. Errors: `Invalid` if there is no end of parts."""
    return tuple(_attachment(part) for part in _leaves(message) if _is_file(part))


def _body(message: Message) -> str:
    texts = [part for part in _leaves(message) if not _is_file(part)]
    said = "\n\n".join(filter(str.strip, (_decoded(one) for one in texts if one.get_content_type() == "text/plain")))
    if said.strip():
        return said
    html = "".join(_decoded(one) for one in texts if one.get_content_type() == "text/html")
    return html_text(html[:HTML_LIMIT_CHARACTERS])


def _leaves(message: Message) -> Iterator[Message]:
    """Go through the parts that hold something; a mail that is passed on is one of them, and is not looked into."""
    waiting, count = [message], 0
    while waiting:
        part, count = waiting.pop(), count + 1
        if count > PARTS_LIMIT:
            raise Invalid(f"This mail has more than {PARTS_LIMIT} parts.")
        payload = part.get_payload()
        if isinstance(payload, list) and part.get_content_maintype() == "multipart":
            waiting.extend(one for one in reversed(payload) if isinstance(one, Message))
        else:
            yield part


def _is_file(part: Message) -> bool:
    if part.get_content_disposition() == "attachment" or part.get_filename():
        return True
    return part.get_content_type() not in ("text/plain", "text/html")


def _attachment(part: Message) -> Attachment:
    payload = part.get_payload()
    if isinstance(payload, list):
        passed_on = next((one for one in payload if isinstance(one, Message)), Message())
        content, name = passed_on.as_bytes(), f"{words_of(passed_on, 'subject') or 'mail'}.eml"
    else:
        content, name = _bytes_of(part), _name_of(part)
    return Attachment(name=name, media_type=part.get_content_type(), size_bytes=len(content), content=content)


def _name_of(part: Message) -> str:
    name = part.get_filename() or ""
    if "=?" not in name:
        return name or "file"
    holder = Message()  # some programs encode names as they do words, which RFC 2047 forbids
    holder["name"] = name
    return words_of(holder, "name")


def _bytes_of(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _decoded(part: Message) -> str:
    """Return a text in whatever characters it is written; what is wrong in it is replaced."""
    content, charset = _bytes_of(part), part.get_content_charset("utf-8")
    if re.fullmatch(r"(us-)?ascii", charset):
        charset = "utf-8"
    try:
        return content.decode(charset, "replace")
    except (LookupError, ValueError):
        return content.decode("utf-8", "replace")

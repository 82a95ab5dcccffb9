"""E-mail in: what becomes of a mail that a server hands over. It is answered only once all is stored."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message

from subclaw.channels.email.body import attachments_of, text_of
from subclaw.channels.email.head import Head, check_form, is_automatic, read_head
from subclaw.channels.email.marks import Secret, marks_in, read_mark
from subclaw.channels.email.proof import Texts, Unproven, believe_front, prove
from subclaw.channels.email.reports import is_report, read_report
from subclaw.channels.email.settings import CHANNEL, EmailSettings
from subclaw.core.channel import Address, DeliveryReports, InboundMessage, Intake
from subclaw.core.errors import Invalid, Unavailable
from subclaw.core.key_shapes import redact

log = logging.getLogger(__name__)

TAKEN, NOT_ANSWERED = "250 2.0.0 Taken", "250 2.0.0 Taken, and not answered: a program wrote it"
LATER = "451 4.3.0 Not just now, please try again"
WORDS_LIMIT_CHARACTERS = 400
REPORT_LIMIT_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Inbound:
    """What taking mail needs."""

    settings: EmailSettings
    intake: Intake
    reports: DeliveryReports
    secret: Secret
    texts: Texts


def tag_of(settings: EmailSettings, recipient: str) -> str | None:
    """Return the tag of an address of ours, empty if it has none; None if the address is not ours."""
    local, _, domain = recipient.lower().rpartition("@")
    name, _, tag = local.partition("+")
    return tag if (name, domain) == (settings.local_part, settings.domain) else None


async def take(inbound: Inbound, mail_from: str, recipients: Sequence[str], content: bytes) -> str:
    """Take a mail, and return what its server is answered (RFC 5321): it has it, or comes again, or gives it back."""
    try:
        check_form(content)
        message = await asyncio.to_thread(message_from_bytes, content)
        if is_report(message):
            return await _take_report(inbound, recipients, message, content)
        if is_automatic(message, mail_from):
            return NOT_ANSWERED
        head = read_head(message)
        if head.sender == inbound.settings.address:
            return NOT_ANSWERED
        if unproven := await _problem(inbound, content, message, head):
            log.info("email: a mail by %s is not believed: %s", head.domain, unproven.reason)
            return _answer(f"550 5.7.26 This mail may be forged: {unproven.reason}")
        await inbound.intake.receive(await asyncio.to_thread(_message, inbound.settings, message, head))
    except Invalid as error:
        return _answer(f"550 5.6.0 {error.public}")
    except Unavailable as error:
        log.warning("email: not taken now: %s", error.internal)
        return LATER
    except RecursionError:
        return "550 5.6.0 This mail has parts within parts without end"
    return TAKEN


async def _problem(inbound: Inbound, content: bytes, message: Message, head: Head) -> Unproven | None:
    settings = inbound.settings
    if settings.front is not None:
        return believe_front(message, head, settings.front)
    return await prove(content, message, head, settings.address, inbound.texts)


def _message(settings: EmailSettings, message: Message, head: Head) -> InboundMessage:
    """Return what is handed in. Others whom the mail went to are not answered, and are nobody here.

    A mail is known by its Message-ID; its subject is kept beside that, since an answer needs both.
    """
    subject, _ = redact(head.subject)
    reference = f"{head.message_id} {subject}".strip()
    return InboundMessage(
        sender=Address(channel=CHANNEL, address=head.sender, thread=reference),
        provider_id=reference,
        text=text_of(message, head, settings.address),
        received_at=datetime.now(UTC),
        attachments=attachments_of(message),
    )


async def _take_report(inbound: Inbound, recipients: Sequence[str], message: Message, content: bytes) -> str:
    """Note what a report says, if it has a mark of ours: in its recipient, or in the mail that it is about."""
    settings, secret = inbound.settings, await inbound.secret()
    tags = [tag for one in recipients if (tag := tag_of(settings, one))]
    for mark in [*tags, *marks_in(content[:REPORT_LIMIT_BYTES], settings.domain)]:
        marked = read_mark(secret, mark)
        report = marked and read_report(message, marked, f"<{mark}@{settings.domain}>")
        if report:
            await inbound.reports.report(report)
            break
    return NOT_ANSWERED


def _answer(words: str) -> str:
    return " ".join(words.encode("ascii", "replace").decode().split())[:WORDS_LIMIT_CHARACTERS]

"""What other servers report of mail that went out: that it did not arrive, or that its reader complains.

Source: RFC 3461 and 3464 (delivery status), RFC 5965 (complaints).
"""

import re
from collections.abc import Sequence
from email import message_from_string
from email.message import Message

from subclaw.channels.email.marks import Marked
from subclaw.core.channel import Delivery, DeliveryReport

_REPORTED_LIMIT = 50
_REASONS = {
    "5.1.1": "there is no such address",
    "5.1.2": "there is no such domain",
    "5.1.10": "this address takes no mail",
    "5.2.2": "the mailbox is full",
    "5.4.7": "it was tried for days",
    "5.7.1": "their server refuses mail from here",
}


def is_report(message: Message) -> bool:
    """Say whether a mail is a report."""
    return message.get_content_type() == "multipart/report"


def read_report(message: Message, marked: Marked, mail_id: str) -> DeliveryReport | None:
    """Return what a report says of a part of a reply; None if it settles nothing, such as that it takes longer."""
    fields = _fields(message)
    if fields.get("feedback-type"):
        abuse = fields["feedback-type"].lower() in ("abuse", "fraud")
        return _report(marked, mail_id, Delivery.DELIVERED, "", opted_out=True) if abuse else None
    status = re.match(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", fields.get("status", ""))
    match fields.get("action", "").lower():
        case "failed":
            code = status[0] if status else "5.0.0"
            return _report(marked, mail_id, Delivery.FAILED, f"{_REASONS.get(code, 'it came back')} ({code})")
        case "delivered":
            return _report(marked, mail_id, Delivery.DELIVERED, "")
    return None


def _report(
    marked: Marked, mail_id: str, delivery: Delivery, detail: str, *, opted_out: bool = False
) -> DeliveryReport:
    return DeliveryReport(
        tenant_id=marked.tenant_id,
        reply_id=marked.reply_id,
        part=marked.part,
        provider_id=mail_id,
        delivery=delivery,
        detail=detail,
        opted_out=opted_out,
    )


def _fields(message: Message) -> dict[str, str]:
    """Return what the part for programs says, the last of several persons' first: ours went to one."""
    payload = message.get_payload()
    for part in payload if isinstance(payload, list) else ():
        if isinstance(part, Message) and part.get_content_type() == "message/delivery-status":
            return _merged(part.get_payload())
        if isinstance(part, Message) and part.get_content_type() == "message/feedback-report":
            inner = part.get_payload()
            return _merged(inner if isinstance(inner, list) else [message_from_string(str(inner))])
    return {}


def _merged(blocks: object) -> dict[str, str]:
    found: Sequence[object] = blocks[:_REPORTED_LIMIT] if isinstance(blocks, list) else ()
    return {
        name.lower(): str(value).strip() for one in found if isinstance(one, Message) for name, value in one.items()
    }

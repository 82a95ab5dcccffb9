"""WhatsApp's window: who has not written for 24 hours is sent nothing but templates.

Facts: https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages#customer-service-windows.
"""

import re
from datetime import datetime, timedelta

from subclaw.channels.text import split_text

WINDOW = timedelta(hours=24)
TEMPLATE_LIMIT = 900
"""Most of a text that is put into a template, in UTF-16 units: its body may have 1,024 with the operator's words."""

_GAP = re.compile(r"\s+")


def is_closed(last_said_at: datetime, now: datetime) -> bool:
    """Say whether the window of a person is closed, who wrote last at that time."""
    return now - last_said_at >= WINDOW


def template_words(text: str) -> str:
    """Return what a template's variable may hold of a text: its beginning, in one line without gaps."""
    line = _GAP.sub(" ", text).strip()
    first, *rest = split_text(line, TEMPLATE_LIMIT)
    return f"{first} …" if rest else first

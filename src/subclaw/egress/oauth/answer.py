"""What a provider's token endpoint answers: tokens, a refusal, or nothing that can be understood. Pure.

Sources: RFC 6749, sections 5.1 and 5.2. Some providers refuse with status 200, some answer with a form, and one puts a
person's token below `authed_user`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from subclaw.egress.seal import VALUE_LIMIT_CHARACTERS
from subclaw.egress.secrets.opened import Opened

FIELDS_LIMIT = 100
LONGEST_LIFE_S = 366 * 24 * 3600.0
_TOKEN = re.compile(rf"[\x21-\x7e]{{1,{VALUE_LIMIT_CHARACTERS}}}")
_CODE = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens that a provider gave. `renewal` is None if it gave none; `lives_s` is None if it did not say."""

    access: Opened
    renewal: Opened | None
    lives_s: float | None


@dataclass(frozen=True, kw_only=True)
class Declined:
    """A provider's no. `code` is one of RFC 6749's, such as `invalid_grant`, or empty."""

    code: str


def read_tokens(status: int, media_type: str, body: bytes) -> Tokens | Declined | None:
    """Return what an answer says; None if it cannot be understood, or is the server's own failure."""
    if status >= 500 or status in (408, 429):
        return None
    fields = _fields(media_type, body)
    code = fields.get("error")
    if status >= 400 or code or fields.get("ok") is False:
        known = isinstance(code, str) and _CODE.fullmatch(code)
        return Declined(code=str(code) if known else "") if status >= 400 or code else None
    if not 200 <= status < 300:
        return None
    nested = fields.get("authed_user")
    if "access_token" not in fields and isinstance(nested, dict):
        fields = nested
    access, renewal = fields.get("access_token"), fields.get("refresh_token")
    if not isinstance(access, str) or not _TOKEN.fullmatch(access):
        return None
    if renewal is not None and not (isinstance(renewal, str) and _TOKEN.fullmatch(renewal)):
        return None
    return Tokens(
        access=Opened(access),
        renewal=Opened(renewal) if renewal else None,
        lives_s=_seconds(fields.get("expires_in")),
    )


def _fields(media_type: str, body: bytes) -> Mapping[str, Any]:
    try:
        if media_type == "application/x-www-form-urlencoded":
            return dict(parse_qsl(body.decode("ascii"), max_num_fields=FIELDS_LIMIT))
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(given: object) -> float | None:
    if not isinstance(given, int | float | str) or isinstance(given, bool):
        return None
    try:
        seconds = float(given)
    except (ValueError, OverflowError):
        return None
    return min(seconds, LONGEST_LIFE_S) if seconds > 0 else None

"""Slack's signature of a request. It is checked in the gateway, which has the secret that is its key.

Source: https://docs.slack.dev/authentication/verifying-requests-from-slack. Slack's library has the same check, and
brings its whole client along, for which the gateway has no use.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Mapping

from subclaw.core.errors import Invalid

WINDOW_S = 300
"""How old a request may be, and how far ahead: an older one may be somebody else's who kept it."""

_TIMESTAMP = re.compile(r"[0-9]{1,12}")


def check_slack(key: str, claim: Mapping[str, object]) -> bool:
    """Check Slack's signature. `claim`: body (text, as it came), timestamp (text), signature (text)."""
    body, timestamp, signature = claim.get("body"), claim.get("timestamp"), claim.get("signature")
    if not isinstance(body, str) or not isinstance(timestamp, str) or not isinstance(signature, str):
        raise Invalid("body, timestamp and signature are needed")
    if not _TIMESTAMP.fullmatch(timestamp) or abs(time.time() - int(timestamp)) > WINDOW_S:
        return False
    signed = f"v0:{timestamp}:{body}".encode("utf-8", "surrogatepass")
    expected = "v0=" + hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))

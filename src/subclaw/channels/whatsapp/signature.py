"""Meta's signature of a webhook. It is checked in the gateway, which has the app's secret that is its key.

Facts: https://developers.facebook.com/docs/graph-api/webhooks/getting-started#validate-payloads.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from subclaw.core.errors import Invalid


def check_meta(key: str, claim: Mapping[str, object]) -> bool:
    """Check `X-Hub-Signature-256`. `claim`: body (the raw bytes, in Base64), signature (the header's text)."""
    body, signature = claim.get("body"), claim.get("signature")
    if not isinstance(body, str) or not isinstance(signature, str):
        raise Invalid("body and signature are needed")
    try:
        raw = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("body must be in Base64") from None
    expected = f"sha256={hmac.new(key.encode(), raw, hashlib.sha256).hexdigest()}"
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))

"""Twilio's signature of a webhook. It is checked in the gateway, which has the token that is its key.

Facts: https://www.twilio.com/docs/usage/security.
"""

from collections.abc import Mapping

from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from subclaw.core.errors import Invalid


def check_twilio(key: str, claim: Mapping[str, object]) -> bool:
    """Check Twilio's signature. `claim`: url (text), params (object of texts), signature (text)."""
    url, params, signature = claim.get("url"), claim.get("params"), claim.get("signature")
    if not isinstance(url, str) or not isinstance(signature, str) or not isinstance(params, dict):
        raise Invalid("url, params and signature are needed")
    if not all(isinstance(value, str) for value in params.values()):
        raise Invalid("params must be texts")
    try:
        return RequestValidator(key).validate(url, params, signature) is True
    except ValueError:  # a URL or a text that cannot be what Twilio signed
        return False

"""Checking the signatures of webhooks: one function a scheme, with the key that the vault holds."""

from collections.abc import Callable, Mapping

from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from subclaw.core.errors import Invalid
from subclaw.egress.secrets.opened import Opened

Check = Callable[[Opened, Mapping[str, object]], bool]
"""Takes the signing key and what is claimed (a JSON object), and says whether the claim is true. Errors: `Invalid`."""


def _twilio(key: Opened, claim: Mapping[str, object]) -> bool:
    """Check Twilio's signature. `claim`: url (text), params (object of texts), signature (text)."""
    url, params, signature = claim.get("url"), claim.get("params"), claim.get("signature")
    if not isinstance(url, str) or not isinstance(signature, str) or not isinstance(params, dict):
        raise Invalid("url, params and signature are needed")
    if not all(isinstance(value, str) for value in params.values()):
        raise Invalid("params must be texts")
    try:
        return RequestValidator(key.reveal()).validate(url, params, signature) is True
    except ValueError:  # a URL or a text that cannot be what Twilio signed
        return False


SCHEMES: Mapping[str, Check] = {"twilio": _twilio}
"""The signature schemes that the gateway knows, by name."""

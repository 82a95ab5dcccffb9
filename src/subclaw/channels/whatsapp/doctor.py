"""What WhatsApp says of the operator's number, and what of its rules is set up."""

import httpx
from pywa_async.errors import WhatsAppError

from subclaw.channels.kind import Outside
from subclaw.channels.whatsapp.client import whatsapp_client
from subclaw.channels.whatsapp.errors import refused
from subclaw.channels.whatsapp.settings import CHALLENGE_SCHEME, WhatsAppSettings
from subclaw.core.errors import Unavailable
from subclaw.egress.control.client import gateway_client, webhook_secret


async def describe(settings: WhatsAppSettings, outside: Outside) -> str:
    """Ask WhatsApp about the number, and say in words what it answered. Errors: `Unavailable`."""
    async with whatsapp_client(outside.gateway_socket, settings) as client:
        try:
            number = await client.get_business_phone_number()
        except WhatsAppError as error:
            raise Unavailable(f"WhatsApp: {refused(error.status_code, error.code).detail}.") from None
        except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable("WhatsApp cannot be asked.", internal=type(error).__name__) from None
    digits = "".join(filter(str.isdigit, number.display_phone_number or ""))
    if digits != settings.number.removeprefix("+"):
        raise Unavailable(f"WhatsApp says that the number is +{digits}, and WHATSAPP_NUMBER is {settings.number}.")
    async with gateway_client(outside.gateway_socket) as gateway:
        token = await webhook_secret(gateway, CHALLENGE_SCHEME)
    answers = f"{settings.number} answers, its quality is {number.quality_rating or 'unknown'}"
    return f"{answers}; {rules_in_words(settings)}; the verify token is {token}"


def rules_in_words(settings: WhatsAppSettings) -> str:
    """Say who is served, and what becomes of what is said to who has not written for 24 hours."""
    if not settings.countries:
        served = "nobody is served: WHATSAPP_COUNTRIES is not set, since WhatsApp bars assistants in many countries"
    else:
        codes = ", ".join(f"+{code}" if code else "everywhere" for code in settings.countries)
        served = f"persons from {codes} are served"
    template = settings.template
    late = f"goes by the template {template.name}" if template else "fails, since WHATSAPP_TEMPLATE is not set"
    return f"{served}; what is said after 24 hours {late}"

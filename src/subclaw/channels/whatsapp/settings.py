"""What the operator sets of WhatsApp, and where things are."""

from dataclasses import dataclass

TOKEN = "whatsapp.token"
APP_SECRET = "whatsapp.app-secret"
SCHEME = UPSTREAM = "whatsapp"
CHALLENGE_SCHEME = "whatsapp-challenge"
"""How Meta proves, when the webhook is set up, that it was told the address by the operator: by the verify token."""

FILES_UPSTREAM = "whatsapp-files"
WEBHOOK_PATH = "/webhooks/whatsapp"


@dataclass(frozen=True, kw_only=True)
class Template:
    """A message template of the operator's whose body has one variable; `language` is a locale, such as `en_US`."""

    name: str
    language: str


@dataclass(frozen=True, kw_only=True)
class WhatsAppSettings:
    """The operator's number at WhatsApp.

    `phone_number_id` is Meta's name for it, and `number` what people write to (E.164). Persons are served whose calling
    code begins with one of the `countries` (digits; an empty one is that of all). What is said after 24 hours goes by
    the `template`.
    """

    phone_number_id: str
    number: str
    countries: tuple[str, ...]
    template: Template | None
    base_url: str
    files_url: str

"""What the operator sets of Telegram, and where things are."""

from dataclasses import dataclass

TOKEN = "telegram.token"
SCHEME = UPSTREAM = "telegram"
FILES_UPSTREAM = "telegram-files"
WEBHOOK_PATH = "/webhooks/telegram"


@dataclass(frozen=True, kw_only=True)
class TelegramSettings:
    """The operator's bot. `bot` is its user name, without the at sign, as Telegram writes it."""

    bot: str
    base_url: str

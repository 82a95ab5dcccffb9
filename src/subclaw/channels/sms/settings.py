"""What the operator sets of text messages, and what their parts are called."""

from dataclasses import dataclass

SCHEME = UPSTREAM = "twilio"
MEDIA_UPSTREAM = "twilio-media"
TOKEN = "twilio.token"


@dataclass(frozen=True, kw_only=True)
class TwilioSettings:
    """The operator's Twilio account. `number` is what people text, in E.164 form; `media_url` is where files are."""

    account_sid: str
    number: str
    base_url: str
    media_url: str

"""Files of text messages (MMS): which ones Twilio can bring to whom, and fetching those that came.

Facts: https://www.twilio.com/docs/messaging/guides/accepted-mime-types, https://help.twilio.com/articles/223183748,
https://www.twilio.com/docs/messaging/api/media-resource. Twilio's API answers a request for a file with where it is: at
an address that is good for some hours, where no credentials belong.
"""

import re
from collections.abc import Mapping

import httpx2

from subclaw.channels.downloads import gathered
from subclaw.channels.sms.settings import MEDIA_UPSTREAM, UPSTREAM
from subclaw.core.channel import ATTACHMENTS_LIMIT, Attachment
from subclaw.core.errors import NotFound, Unavailable
from subclaw.egress.control.client import BASE_URL
from subclaw.egress.refusal import UNSENT_HEADER

LIMIT_BYTES = 5 * 1000 * 1000
"""What a message takes, its picture made smaller by Twilio where a carrier wants that; ..."""

OTHER_LIMIT_BYTES = 600 * 1000
"""... and what carriers bring of anything that is no picture."""

_RESIZED = frozenset({"image/jpeg", "image/png", "image/gif"})
_OTHERS = frozenset(
    {"application/pdf", "audio/mpeg", "audio/mp4", "audio/ogg", "audio/wav", "image/webp", "text/plain", "video/mp4"}
)
_NORTH_AMERICA = "+1"
_MEDIA_URL = re.compile(
    r"https?://[^/?#]+(?:/[^?#]*)??/2010-04-01/(Accounts/AC[0-9a-zA-Z]{32}/Messages/[A-Z]{2}[0-9a-zA-Z]{32}/Media/ME[0-9a-zA-Z]{32})"
)
_ENDINGS = {"image/jpeg": ".jpg", "text/plain": ".txt", "text/x-vcard": ".vcf", "text/vcard": ".vcf"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def can_be_sent(from_number: str, to_number: str, media_type: str, size_bytes: int) -> bool:
    """Say whether a file can be sent as an MMS: within North America, of a kind and size that carriers take."""
    if not from_number.startswith(_NORTH_AMERICA) or not to_number.startswith(_NORTH_AMERICA):
        return False
    return size_bytes <= (LIMIT_BYTES if media_type in _RESIZED else OTHER_LIMIT_BYTES if media_type in _OTHERS else 0)


def read_attachments(params: Mapping[str, str]) -> tuple[Attachment, ...]:
    """Return the files that a signed webhook tells of; what it says at any other address than a file's is left out."""
    count = params.get("NumMedia", "")
    found = []
    for number in range(min(int(count), ATTACHMENTS_LIMIT) if count.isascii() and count.isdigit() else 0):
        media_type = params.get(f"MediaContentType{number}", "")
        if match := _MEDIA_URL.fullmatch(params.get(f"MediaUrl{number}", "")):
            name = f"file{_ending(media_type)}"
            found.append(Attachment(name=name, media_type=media_type, handle=match[1]))
    return tuple(found)


async def fetch_media(client: httpx2.AsyncClient, media_url: str, handle: str, limit_bytes: int) -> bytes:
    """Return a file by the handle of its attachment. `media_url` is where Twilio keeps files.

    Errors: `Invalid` if it is larger, `NotFound`, `Unavailable`.
    """
    status, headers, content = await _get(client, f"{BASE_URL}/{UPSTREAM}/2010-04-01/{handle}", limit_bytes)
    if status in _REDIRECTS:
        where = headers.get("location", "")
        if not where.startswith(f"{media_url}/"):
            raise Unavailable("Twilio keeps it at a place that is not known here.", internal="media: address")
        url = f"{BASE_URL}/{MEDIA_UPSTREAM}{where.removeprefix(media_url)}"
        status, headers, content = await _get(client, url, limit_bytes)
    if status in (404, 410):
        raise NotFound("Twilio does not have it any more.", internal=f"media: {status}")
    if status != 200 or UNSENT_HEADER in headers:
        raise Unavailable("Twilio did not give it.", internal=f"media: {status}")
    return content


async def _get(client: httpx2.AsyncClient, url: str, limit_bytes: int) -> tuple[int, httpx2.Headers, bytes]:
    try:
        async with client.stream("GET", url) as response:
            content = await gathered(response.aiter_bytes(), limit_bytes)
    except (httpx2.HTTPError, OSError) as error:
        raise Unavailable("Twilio cannot be reached.", internal=type(error).__name__) from None
    return response.status_code, response.headers, content


def _ending(media_type: str) -> str:
    kind, _, ending = media_type.partition("/")
    known = _ENDINGS.get(media_type, f".{ending}" if kind in ("image", "audio", "video", "application") else "")
    return known if re.fullmatch(r"\.[a-z0-9]{1,5}", known) else ""

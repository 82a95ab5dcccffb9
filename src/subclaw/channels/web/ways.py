"""The ways in which a visitor of the front page can reach their agent: a number to text, a bot, with a code to scan."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import segno


@dataclass(frozen=True, kw_only=True)
class Way:
    """One channel beside the web chat.

    `place` is where people write to, as the operator's settings have it, and `label` how that is introduced. `link`
    opens it on a phone; without one there is nothing to scan.
    """

    name: str
    label: str
    place: str
    link: str


def make_way(name: str, label: str, place: str) -> Way:
    """Return a way of a channel's name, and the place where people write to."""
    return Way(name=name, label=label, place=_shown(place), link=_link(name, place))


def qr_codes(ways: Sequence[Way]) -> dict[str, bytes]:
    """Return a QR code for each way with a link, as SVG, by the way's name (ISO/IEC 18004, error correction M)."""
    return {way.name: _qr(way.link) for way in ways if way.link}


def _link(name: str, place: str) -> str:
    if place.startswith(("https://", "http://")):
        return place
    if name == "sms" and re.fullmatch(r"\+[0-9]+", place):
        return f"sms:{place}?&body=Hello"  # in this form both kinds of phones take it
    if name == "whatsapp" and re.fullmatch(r"\+?[0-9 ]+", place):
        return f"https://wa.me/{re.sub('[^0-9]', '', place)}"
    if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", place):
        return f"mailto:{quote(place, safe='@.+-_')}"
    return ""


def _shown(place: str) -> str:
    return re.sub(r"^https?://", "", place).rstrip("/")


def _qr(link: str) -> bytes:
    made = io.BytesIO()
    segno.make(link, error="m", micro=False).save(made, kind="svg", scale=4, border=3, light="#fff", xmldecl=False)
    return made.getvalue()

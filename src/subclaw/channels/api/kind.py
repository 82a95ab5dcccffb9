"""Sessions of a business's customers, as a kind of channel: always there, and read in place."""

from __future__ import annotations

from collections.abc import Mapping

from subclaw.channels.kind import ChannelKind, ChannelSetUp
from subclaw.core.business import SESSION_CHANNEL


def read_api(given: Mapping[str, str]) -> ChannelSetUp | None:
    """Return the channel. There is nothing to set, and its doors are the API's."""
    return ChannelSetUp(kind=API, place="", label="API")


API = ChannelKind(name=SESSION_CHANNEL, title="API", read=read_api, read_in_place=True)

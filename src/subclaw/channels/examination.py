"""Examining channels: which are set up, what is to be pasted where, and what their providers say."""

import asyncio
from collections.abc import Sequence

from subclaw.channels.kind import ChannelKind, ChannelSetUp, Outside
from subclaw.channels.registry import KINDS
from subclaw.core.channel_report import ChannelReport
from subclaw.core.errors import SubclawError

CHECK_LIMIT_S = 20.0


async def examine_channels(
    channels: Sequence[ChannelSetUp], ways: Outside | None, url: str, limit_s: float = CHECK_LIMIT_S
) -> Sequence[ChannelReport]:
    """Report on each kind of channel; those that are set up are asked at the same time, by `ways` through the gateway.

    `url` is where people reach the control plane, without a slash at its end. Without `ways` nobody is asked.
    """
    set_up = {one.kind.name: one for one in channels}
    return await asyncio.gather(
        *(
            _examine(set_up[kind.name], ways, url, limit_s) if kind.name in set_up else _not_set_up(kind)
            for kind in KINDS
        )
    )


async def _not_set_up(kind: ChannelKind) -> ChannelReport:
    return ChannelReport(
        name=kind.name,
        title=kind.title,
        is_set_up=False,
        place="",
        webhooks=(),
        works=None,
        words=f"set {', '.join([*_wanted(kind.variables), *kind.secrets])}",
    )


async def _examine(channel: ChannelSetUp, ways: Outside | None, url: str, limit_s: float) -> ChannelReport:
    works, words = None, ""
    if channel.check is not None:
        works, words = await _check(channel, ways, limit_s)
    return ChannelReport(
        name=channel.kind.name,
        title=channel.kind.title,
        is_set_up=True,
        place=channel.place or url,
        webhooks=tuple((url + webhook.path, webhook.where) for webhook in channel.webhooks),
        works=works,
        words=words,
    )


async def _check(channel: ChannelSetUp, ways: Outside | None, limit_s: float) -> tuple[bool | None, str]:
    assert channel.check is not None
    if ways is None or not ways.gateway_socket.exists():
        return None, "start subclaw (`subclaw up`), and its provider can be asked"
    try:
        async with asyncio.timeout(limit_s):
            return True, await channel.check(ways)
    except SubclawError as error:
        return False, error.public
    except TimeoutError:
        return False, f"its provider did not answer within {limit_s:.0f} s"


def _wanted(variables: tuple[str, ...]) -> list[str]:
    """Return the variables that have to be set: where a provider is has a default."""
    return [variable for variable in variables if not variable.endswith("_BASE_URL")]

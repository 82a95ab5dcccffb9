"""Which channels there are: the one table, from which configuration, processes and commands take what is theirs."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from subclaw.channels.api.kind import API
from subclaw.channels.discord.kind import DISCORD
from subclaw.channels.email.kind import EMAIL
from subclaw.channels.imessage.kind import IMESSAGE
from subclaw.channels.kind import ChannelKind, ChannelSetUp, Outside
from subclaw.channels.matrix.kind import MATRIX
from subclaw.channels.slack.kind import SLACK
from subclaw.channels.sms.kind import SMS
from subclaw.channels.telegram.kind import TELEGRAM
from subclaw.channels.web.kind import WEB
from subclaw.channels.whatsapp.kind import WHATSAPP
from subclaw.core.channel import Channel, ChargedBySegments

KINDS: tuple[ChannelKind, ...] = (WEB, API, SMS, TELEGRAM, WHATSAPP, IMESSAGE, SLACK, DISCORD, MATRIX, EMAIL)

VARIABLES = tuple(variable for kind in KINDS for variable in kind.variables)
"""Environment variables in the clear."""

SECRETS = {variable: name for kind in KINDS for variable, name in kind.secrets.items()}
"""Environment variables that hold secrets, and the names under which they are sealed."""

READ_IN_PLACE = frozenset(kind.name for kind in KINDS if kind.read_in_place)
"""Channels whose replies are read from the transcript; those of others go out by the outbox."""


def goes_out(channel: str) -> bool:
    """Say whether a channel's replies go out by the outbox."""
    return channel not in READ_IN_PLACE


def limit_characters(channel: str) -> int | None:
    """Return how long a channel's replies may be, or None if there is no limit."""
    return next((kind.reply_limit_characters for kind in KINDS if kind.name == channel), None)


def read_channels(given: Mapping[str, str]) -> tuple[ChannelSetUp, ...]:
    """Return the channels that are set up. Errors: `Invalid`, which names the variable."""
    read = (kind.read(given) for kind in KINDS)
    return tuple(set_up for set_up in read if set_up is not None)


@asynccontextmanager
async def open_channels(channels: Sequence[ChannelSetUp], outside: Outside) -> AsyncIterator[Mapping[str, Channel]]:
    """Open the channels whose replies are sent, for the life of the block; each is by the name of its kind."""
    async with AsyncExitStack() as stack:
        yield {one.kind.name: await stack.enter_async_context(one.open(outside)) for one in channels if one.open}


def count_segments(channels: Mapping[str, Channel]) -> Callable[[str, Sequence[str]], int]:
    """Return what says how many segments a reply has, where a channel is charged by those."""

    def count(name: str, parts: Sequence[str]) -> int:
        channel = channels.get(name)
        return channel.segments(parts) if isinstance(channel, ChargedBySegments) else 0

    return count

"""How the worker speaks with people: the channels, what goes out by them, and who shows that a turn runs."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from subclaw.app.channels import outside
from subclaw.app.intake import make_intake
from subclaw.app.surroundings import Surroundings
from subclaw.channels.kind import Outside
from subclaw.channels.registry import open_channels
from subclaw.core.channel import Channel
from subclaw.turns.outgoing import OutgoingFiles
from subclaw.turns.typing import Typist


@dataclass(frozen=True, kw_only=True)
class Messaging:
    """The open channels by name, what they make their calls by, what takes files along, and who shows typing."""

    ways: Outside
    channels: Mapping[str, Channel]
    outgoing: OutgoingFiles
    typist: Typist


@asynccontextmanager
async def open_messaging(around: Surroundings) -> AsyncIterator[Messaging]:
    """Open the channels that are set up, for the block."""
    settings, port, database = around.settings, around.port, around.database
    ways = outside(settings, port, make_intake(settings, port, database, around.agent), database, around.address)
    async with open_channels(settings.channels, ways) as channels:
        outgoing = OutgoingFiles(
            database=database, files=around.machines, channels=channels, has_links=ways.public_url is not None
        )
        yield Messaging(ways=ways, channels=channels, outgoing=outgoing, typist=Typist(channels))

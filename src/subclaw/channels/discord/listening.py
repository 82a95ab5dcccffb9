"""How Discord's messages get here: told by the Gateway, and asked for where nobody listened when they were said."""

import asyncio
import itertools
import logging
from datetime import UTC, datetime, timedelta
from functools import partial

import discord

from subclaw.channels.discord.client import CALL_LIMIT_S, DiscordClient
from subclaw.channels.discord.connection import DiscordListener, SessionBegan
from subclaw.channels.discord.errors import ERRORS, meaning
from subclaw.channels.discord.messages import Unreadable, is_for, read_message
from subclaw.channels.discord.settings import CHANNEL
from subclaw.channels.kind import Outside
from subclaw.channels.notices import Notices
from subclaw.core.channel import HeardLately, InboundMessage, Intake
from subclaw.core.errors import Invalid, Unavailable

log = logging.getLogger(__name__)

LOOK_BACK = timedelta(days=14)
PLACES_LIMIT = 500
MISSED_LIMIT = 100
"""Which places are asked after a while in which nobody listened, and for how many messages each."""

AT_ONCE = 4
TRIES = 3
PAUSES_S = (0.5, 1.0, 2.0, 5.0, 15.0)
"""How long it takes until a message that could not be stored is handed in again; the last one from there on."""


async def listen(outside: Outside) -> None:
    """Hand in what is said on Discord, in order, until cancelled. Errors: `Unavailable`."""
    try:
        async with DiscordListener(outside.gateway_socket) as client:
            await client.log_in()
            async with asyncio.TaskGroup() as group:
                group.create_task(client.connect())
                group.create_task(_hand_in(client, outside))
    except BaseExceptionGroup as errors:
        raise _translated(errors.exceptions[0]) from None
    except ERRORS as error:
        raise _translated(error) from None


def _translated(error: BaseException) -> BaseException:
    if not isinstance(error, ERRORS):
        return error
    words = f"Discord: {meaning(error)}."
    return Unavailable(words, internal=words)


async def _hand_in(client: DiscordListener, outside: Outside) -> None:
    taker = _Taker(client, outside.intake)
    while True:
        match await client.told.get():
            case SessionBegan():
                await _catch_up(client, taker, outside.heard_lately)
            case message:
                await taker.take(message)


class _Taker:
    """Hands messages in."""

    def __init__(self, client: DiscordListener, intake: Intake) -> None:
        self._client = client
        self._intake = intake
        self._notices = Notices(partial(_say, client))

    async def take(self, message: discord.Message) -> None:
        """Hand a message in, or say why it is not taken."""
        assert self._client.user is not None
        try:
            told = read_message(message, self._client.user.id, await self._channel(message))
        except ERRORS as error:
            log.warning("discord: a message was left, since nobody said where it stands: %s", meaning(error))
            return
        place = told.sender.thread or told.sender.address
        if isinstance(told, Unreadable):
            await self._notices.say(place, told.words)
            return
        try:
            await self._store(told)
        except Invalid as error:
            await self._notices.say(place, error.public)

    async def _channel(self, message: discord.Message) -> object:
        """Return where a message was said; Discord is asked of a thread that it did not tell of."""
        if isinstance(message.channel, discord.PartialMessageable):
            return await self._client.fetch_channel(message.channel.id)
        return message.channel

    async def _store(self, message: InboundMessage) -> None:
        """Hand a message in until it is stored: Discord will not tell it again. Errors: `Invalid`.

        What cannot be stored by a defect is left after some tries: it must not keep back what others say.
        """
        for tries, pause_s in enumerate(itertools.chain(PAUSES_S, itertools.repeat(PAUSES_S[-1]))):
            try:
                await self._intake.receive(message)
            except Invalid:
                raise
            except Unavailable as error:
                log.warning("discord: a message cannot be stored now: %s", error.internal)
            except Exception as error:  # its words may have the message's in them
                log.error("discord: a message could not be stored: %s", type(error).__name__)
                if tries >= len(PAUSES_S):
                    return
            else:
                return
            await asyncio.sleep(pause_s)


async def _say(client: DiscordClient, place: str, words: str) -> None:
    await client.get_partial_messageable(int(place)).send(words)


async def _catch_up(client: DiscordListener, taker: _Taker, heard_lately: HeardLately) -> None:
    """Take what was said in known places since they were last heard."""
    await client.wait_until_ready()
    places = await heard_lately(CHANNEL, datetime.now(UTC) - LOOK_BACK, PLACES_LIMIT)
    room = asyncio.Semaphore(AT_ONCE)

    async def look(place: int, after: int) -> None:
        async with room:
            await _look(client, taker, place, after)

    async with asyncio.TaskGroup() as group:
        for address, heard in places:
            if heard.provider_id.isdecimal():
                group.create_task(look(int(address.address), int(heard.provider_id)))


async def _look(client: DiscordListener, taker: _Taker, place: int, after: int) -> None:
    """Take what was said in a channel after a message."""
    assert client.user is not None
    for _ in range(TRIES):
        try:
            channel = client.get_channel(place) or await client.fetch_channel(place)
            if not isinstance(channel, discord.abc.Messageable):
                return
            since = discord.Object(after)
            async for message in channel.history(limit=MISSED_LIMIT, after=since, oldest_first=True):
                if is_for(message, client.user.id):
                    await taker.take(message)
        except discord.RateLimited as error:
            await asyncio.sleep(error.retry_after)
        except ERRORS as error:
            log.info("discord: a place cannot be asked what was said there: %s", meaning(error))
            return
        else:
            return


async def describe(client: DiscordClient, application: str) -> str:
    """Ask Discord about the bot, and say in words what it answered. Errors: `Unavailable`."""
    try:
        async with asyncio.timeout(CALL_LIMIT_S):
            await client.log_in()
            _, _, limit = await client.http.get_bot_gateway()
    except ERRORS as error:
        raise Unavailable(f"Discord: {meaning(error)}.", internal=type(error).__name__) from None
    if str(client.application_id) != application:
        said = f"The token is of application {client.application_id}, and DISCORD_APPLICATION_ID says {application}."
        raise Unavailable(said)
    return f"{client.user} answers; of {limit['total']:,} new sessions a day {limit['remaining']:,} are left"

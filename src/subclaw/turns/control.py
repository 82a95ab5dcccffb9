"""Control words, taken below the agent: linking channels and unlinking them, opting out and in, a site's versions.

Each message is taken in one transaction: what it does, what is said of it, and that it was taken. One that comes again
does nothing.
"""

import random
from collections.abc import Callable, Collection

from subclaw.core.channel import Address, InboundMessage, Receipt
from subclaw.core.consent import HELP, LAWS, OPTED_IN, OPTED_OUT, Said
from subclaw.core.control import CodeSaid, Control, LinkWanted, SiteWish
from subclaw.core.errors import Invalid
from subclaw.core.fault import FaultPoint, reached
from subclaw.core.linking import (
    FULL,
    LOCKED,
    NOT_A_CODE,
    SAME_CHANNEL,
    TAKEN,
    TOO_MANY_CODES,
    UNLINKED_HERE,
    NumberedWay,
    choose_unlinked,
    code_hash,
    code_words,
    linked_here_words,
    linked_words,
    list_words,
    new_code,
    unlinked_words,
)
from subclaw.core.site_words import NOTHING_AFTER, NOTHING_BEFORE, redone_words, undone_words, versions_words
from subclaw.core.tenant import TenantId
from subclaw.store import identities
from subclaw.store.database import Connection, Database
from subclaw.store.identities import Begun, TakenBefore, Writer
from subclaw.store.sites import go_by_step, published_lately, read_versions

NOBODY = Writer(tenant_id=TenantId(0), conversation_id=0)
"""A stranger: nobody knows them yet."""

_RANDOM = random.SystemRandom()
_REFUSALS = {"locked": LOCKED, "wrong": NOT_A_CODE, "here": SAME_CHANNEL, "full": FULL, "taken": TAKEN}

Sends = Callable[[str], bool]


async def take_control(database: Database, message: InboundMessage, control: Control, sends: Sends) -> Receipt | None:
    """Do what a message says to subclaw; None if it is for the agent after all: then nothing was done.

    It is one of a private conversation: where several write, everybody would read a code, and be let in.
    `sends` says whether a channel's replies go out by the outbox. Errors: `Invalid`, with words for a stranger;
    `Unavailable`.
    """
    reached(FaultPoint.CONTROL_TAKING)
    refused = None
    try:
        async with database.transaction() as connection:
            begun = await identities.begin_control(connection, message)
            taking = _Taking(connection=connection, message=message, begun=begun, sends=sends)
            taken = await taking.take(control)
            refused = taking.refused
            if taken is None:
                raise _ForTheAgent
    except TakenBefore:
        return _receipt(NOBODY, duplicate=True)
    except _ForTheAgent:
        return None
    reached(FaultPoint.CONTROL_TAKEN)
    if refused:
        raise Invalid(refused)
    return _receipt(taken, duplicate=False)


class _ForTheAgent(Exception):
    """The message is none for subclaw."""


def _receipt(writer: Writer, *, duplicate: bool) -> Receipt:
    return Receipt(tenant_id=writer.tenant_id, conversation_id=writer.conversation_id, duplicate=duplicate)


class _Taking:
    """One message that is being taken. `refused` is what a stranger is told, who has no conversation to tell it in."""

    def __init__(self, *, connection: Connection, message: InboundMessage, begun: Begun, sends: Sends) -> None:
        self._connection = connection
        self._message = message
        self._writer = begun.writer
        self._is_silent = begun.too_many
        self._sends = sends
        self.refused: str | None = None

    async def take(self, control: Control) -> Writer | None:
        """Return who it was; None if it is for the agent."""
        if isinstance(control, Said):
            return await self._note(control)
        if self._is_silent:
            return self._writer or NOBODY
        if isinstance(control, CodeSaid):
            return await self._redeem(control.code)
        if self._writer is None:
            return None  # a stranger has nothing to link to, and no site
        if isinstance(control, SiteWish):
            return await self._change_site(self._writer, control)
        if isinstance(control, LinkWanted):
            return await self._give_code(self._writer)
        if control.number is not None:
            return await self._unlink(self._writer, control.number)
        ways = await identities.numbered_ways(self._connection, self._writer.tenant_id)
        return await self._answer(list_words(ways, self._message.sender))

    async def _note(self, said: Said) -> Writer | None:
        sender = self._message.sender
        if said is Said.IN_IF_OUT and not await identities.is_opted_out(self._connection, sender):
            return None
        if said is not Said.HELP:
            state, how = ("out" if said is Said.OUT else "in"), f"texted {self._message.text.strip().upper()[:20]}"
            await identities.note_consent(self._connection, sender, state, how, self._message.provider_id)
        if self._writer is None or self._is_silent or LAWS[sender.channel].provider_answers:
            return self._writer or NOBODY
        words = {Said.OUT: OPTED_OUT, Said.HELP: HELP}.get(said, OPTED_IN)
        return await self._answer(words, purpose="opted out" if said is Said.OUT else None)

    async def _change_site(self, writer: Writer, wish: SiteWish) -> Writer | None:
        tenant_id = writer.tenant_id
        if wish is SiteWish.HISTORY:
            return await self._answer(versions_words(await read_versions(self._connection, tenant_id)))
        if wish is SiteWish.UNDO_LAST and not await published_lately(self._connection, tenant_id):
            return None
        if wish is SiteWish.REDO:
            number = await go_by_step(self._connection, tenant_id, 1)
            return await self._answer(redone_words(number) if number else NOTHING_AFTER)
        number = await go_by_step(self._connection, tenant_id, -1)
        return await self._answer(undone_words(number) if number else NOTHING_BEFORE)

    async def _give_code(self, writer: Writer) -> Writer:
        code = new_code(_RANDOM)
        kept = await identities.keep_code(self._connection, writer, code_hash(code))
        return await self._answer(code_words(code) if kept else TOO_MANY_CODES)

    async def _redeem(self, code: str) -> Writer:
        redeemed = await identities.redeem(self._connection, self._message.sender, code_hash(code))
        if redeemed.writer is None:
            return await self._answer(_REFUSALS[redeemed.outcome])
        self._writer = redeemed.writer
        name = await identities.tenant_name(self._connection, self._writer.tenant_id)
        await self._tell_others(linked_words(self._message.sender), {self._writer.conversation_id})
        return await self._answer(linked_here_words(name))

    async def _unlink(self, writer: Writer, number: int) -> Writer:
        ways = await identities.numbered_ways(self._connection, writer.tenant_id)
        way = choose_unlinked(ways, number)
        if isinstance(way, str):
            return await self._answer(way)
        heir = next(
            (one for one in ways if one.conversation_id == writer.conversation_id and one != way),
            next(one for one in ways if one != way),
        )
        await self._tell(writer.tenant_id, way, UNLINKED_HERE, purpose="unlinked")
        await identities.unlink(self._connection, writer.tenant_id, way, heir.conversation_id)
        await self._tell_others(unlinked_words(way.address), set())
        return writer

    async def _tell_others(self, text: str, without: Collection[int]) -> None:
        assert self._writer is not None
        for way in await identities.numbered_ways(self._connection, self._writer.tenant_id):
            if way.conversation_id not in without:
                await self._tell(self._writer.tenant_id, way, text)

    async def _tell(self, tenant_id: TenantId, way: NumberedWay, text: str, *, purpose: str | None = None) -> None:
        to = Writer(tenant_id=tenant_id, conversation_id=way.conversation_id)
        await self._say(to, way.address, text, purpose)

    async def _answer(self, text: str, *, purpose: str | None = None) -> Writer:
        if self._writer is None:
            self.refused = text
            return NOBODY
        await self._say(self._writer, self._message.sender, text, purpose)
        return self._writer

    async def _say(self, to: Writer, address: Address, text: str, purpose: str | None) -> None:
        send = self._sends(address.channel)
        await identities.say_notice(self._connection, to, text, send=send, purpose=purpose)

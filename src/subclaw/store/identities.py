"""Identities: codes by which channels are linked, channels with their numbers, and notices; consent.

Each call is a step of a transaction that `turns.control` holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from subclaw.core.channel import Address, InboundMessage
from subclaw.core.control import CONTROLS_PER_MINUTE
from subclaw.core.linking import (
    CHANNELS_LIMIT,
    CODE_LIFE_S,
    CODES_AN_HOUR,
    WRONG_BY_ALL,
    WRONG_BY_SENDER,
    NumberedWay,
)
from subclaw.core.tenant import TenantId
from subclaw.store.database import Connection, Database


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Who writes, and in which conversation."""

    tenant_id: TenantId
    conversation_id: int


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A message that is taken: its `writer`, None for a stranger, and whether there were `too_many` lately."""

    writer: Writer | None
    too_many: bool


@dataclass(frozen=True, kw_only=True)
class Redeemed:
    """What became of a code: see `redeem_link_code`. `writer` is there once it is linked."""

    outcome: str
    writer: Writer | None = None


class TakenBefore(Exception):
    """The message was taken before."""


async def begin_control(connection: Connection, message: InboundMessage) -> Begun:
    """Begin with a message. Raises `TakenBefore`."""
    values = [message.sender.channel, message.sender.address, message.provider_id, CONTROLS_PER_MINUTE]
    cursor = await connection.execute("SELECT * FROM begin_control(%s, %s, %s, %s)", values)
    rows = await cursor.fetchall()
    if not rows:
        raise TakenBefore
    ((tenant_id, conversation_id, too_many),) = rows
    known = tenant_id is not None
    writer = Writer(tenant_id=TenantId(tenant_id), conversation_id=conversation_id) if known else None
    return Begun(writer=writer, too_many=too_many)


async def say_notice(connection: Connection, to: Writer, text: str, *, send: bool, purpose: str | None = None) -> None:
    """Say something of subclaw's own; `purpose` is why it goes out although otherwise nothing does."""
    await connection.execute(
        "SELECT say_notice(%s, %s, %s, %s, %s)", [to.tenant_id, to.conversation_id, text, send, purpose]
    )


async def keep_code(connection: Connection, writer: Writer, code_hash: bytes) -> bool:
    """Keep a new code in the place of the last one; false if there were too many lately."""
    values = [writer.tenant_id, writer.conversation_id, code_hash, CODE_LIFE_S, CODES_AN_HOUR]
    cursor = await connection.execute("SELECT keep_link_code(%s, %s, %s, make_interval(secs => %s), %s)", values)
    ((kept,),) = await cursor.fetchall()
    return bool(kept)


async def redeem(connection: Connection, address: Address, code_hash: bytes) -> Redeemed:
    """Take a code from an address."""
    values = [address.channel, address.address, code_hash, WRONG_BY_SENDER, WRONG_BY_ALL, CHANNELS_LIMIT]
    cursor = await connection.execute("SELECT * FROM redeem_link_code(%s, %s, %s, %s, %s, %s)", values)
    ((outcome, tenant_id, conversation_id),) = await cursor.fetchall()
    if conversation_id is None:
        return Redeemed(outcome=outcome)
    return Redeemed(outcome=outcome, writer=Writer(tenant_id=TenantId(tenant_id), conversation_id=int(conversation_id)))


async def numbered_ways(connection: Connection, tenant_id: TenantId) -> Sequence[NumberedWay]:
    """List a tenant's channels, the first one first, and let nobody link or unlink meanwhile."""
    cursor = await connection.execute("SELECT * FROM numbered_ways(%s)", [tenant_id])
    return [
        NumberedWay(number=number, address=Address(channel=channel, address=address), conversation_id=conversation_id)
        for number, channel, address, conversation_id in await cursor.fetchall()
    ]


async def tenant_name(connection: Connection, tenant_id: TenantId) -> str:
    """Return a tenant's name."""
    ((name,),) = await (await connection.execute("SELECT tenant_name(%s)", [tenant_id])).fetchall()
    return str(name)


async def unlink(connection: Connection, tenant_id: TenantId, way: NumberedWay, heir_id: int) -> None:
    """Let a channel be the tenant's no more; `heir_id` is the conversation that has its reminders from now on."""
    await connection.execute("SELECT unlink_way(%s, %s, %s)", [tenant_id, way.conversation_id, heir_id])


async def is_opted_out(connection: Connection, address: Address) -> bool:
    """Return whether an address is not to be written to."""
    cursor = await connection.execute("SELECT is_opted_out(%s, %s)", [address.channel, address.address])
    ((opted_out,),) = await cursor.fetchall()
    return bool(opted_out)


async def note_consent(connection: Connection, address: Address, state: str, how: str, evidence_id: str) -> None:
    """Note what an address said: `in` or `out`, how, and in which message."""
    await connection.execute(_NOTE, [address.channel, address.address, state, how, evidence_id])


async def note_refusal(database: Database, address: Address, evidence_id: str) -> None:
    """Note that a provider says an address has opted out with it. Errors: `Unavailable`."""
    await database.rows(_NOTE, address.channel, address.address, "out", "the provider refused it", evidence_id)


_NOTE = "SELECT note_consent(%s, %s, %s, %s, %s)"

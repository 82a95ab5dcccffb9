"""People with channels, for tests: they write by the intake, and what they are told is looked up."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import count

from tests.budgets import owner_rows

from subclaw.channels.registry import goes_out
from subclaw.core.channel import Address, InboundMessage, Receipt
from subclaw.core.intake_limits import IntakeLimits
from subclaw.core.linking import read_code
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.turns.intake import StoreIntake

DEADLINE_S = 60
WEB = Address(channel="web", address="a" * 40)
PHONE = Address(channel="sms", address="+15550104567")
CHAT = Address(channel="telegram", address="123456789")
_NUMBERS = count(1)


def run(scenario: Callable[[Database], Awaitable[None]], address: DatabaseAddress) -> None:
    """Run a scenario with the database."""

    async def main() -> None:
        async with asyncio.timeout(DEADLINE_S), open_database(address, Role.APP) as database:
            await scenario(database)

    asyncio.run(main())


async def say(
    database: Database,
    sender: Address,
    text: str,
    *,
    id: str | None = None,
    limits: IntakeLimits | None = None,
    speaker: str = "",
) -> Receipt:
    """Have somebody write."""
    intake = StoreIntake(database, sends=goes_out, public_url="http://localhost", limits=limits)
    message = InboundMessage(
        sender=sender,
        provider_id=id or f"m{next(_NUMBERS)}",
        text=text,
        received_at=datetime.now(UTC),
        speaker=speaker,
    )
    return await intake.receive(message)


def told(address: DatabaseAddress, to: Address) -> list[str]:
    """Return what stands in a conversation as said by us, oldest first."""
    query = """
        SELECT e.body ->> 'text' FROM event e JOIN conversation c ON c.id = e.conversation_id
        WHERE c.channel = %s AND c.address = %s AND e.type = 'reply.queued' ORDER BY e.seq
    """
    return [str(text) for (text,) in owner_rows(address, query, to.channel, to.address)]


def queued(address: DatabaseAddress, to: Address) -> list[str]:
    """Return what is in the outbox for an address, oldest first."""
    query = "SELECT text FROM outbox WHERE channel = %s AND address = %s ORDER BY id"
    return [str(text) for (text,) in owner_rows(address, query, to.channel, to.address)]


def heard(address: DatabaseAddress) -> list[tuple[str, str]]:
    """Return who said what that is kept for an agent."""
    query = "SELECT c.channel, i.text FROM inbox i JOIN conversation c ON c.id = i.conversation_id ORDER BY c.id, i.seq"
    return [(str(channel), str(text)) for channel, text in owner_rows(address, query)]


def tenant_of(address: DatabaseAddress, one: Address) -> int | None:
    """Return whose an address is."""
    query = "SELECT tenant_id FROM identity WHERE channel = %s AND address = %s"
    rows = owner_rows(address, query, one.channel, one.address)
    return int(str(rows[0][0])) if rows else None


async def code_for(database: Database, address: DatabaseAddress, sender: Address) -> str:
    """Have somebody ask for a code, and return it."""
    await say(database, sender, "link")
    code = read_code(told(address, sender)[-1].split()[1])
    assert code
    return code

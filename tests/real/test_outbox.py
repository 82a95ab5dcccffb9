"""The outbox against a real PostgreSQL: in order, tried again only when it certainly did not go out, never doubled."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import psycopg
import pytest
from tests.real.test_store import claim_one, message

from subclaw.core.channel import Address, Delivery, InboundMessage, OutboundMessage, SendResult
from subclaw.core.transcript import Event, ReplyQueued, TurnFinished, TurnOutcome
from subclaw.store import conversations
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.notify import worker_life
from subclaw.store.outbox import ATTEMPT_LIMIT, claim_outbox, settle_outbox
from subclaw.turns.outbox import deliver

DEADLINE_S = 20


class Phone:
    """A channel that takes messages, with a result for each try."""

    name = "sms"

    def __init__(self, *results: SendResult) -> None:
        self._results = list(results)
        self.taken: list[str] = []

    async def send(self, message: OutboundMessage) -> SendResult:
        self.taken.append(message.text)
        return self._results.pop(0) if len(self._results) > 1 else self._results[0]


SENT = SendResult(delivery=Delivery.SENT, provider_id="SM1")


async def reply(database: Database, *texts: str) -> None:
    """Let one person say something for each text, which is the reply to it."""
    for number, text in enumerate(texts):
        said = message(provider_id=f"{text} {number}")
        sender = Address(channel="sms", address="+1")
        inbound = InboundMessage(sender=sender, provider_id=said.provider_id, text="hi", received_at=said.received_at)
        await conversations.receive(database, inbound, ["calm-otter"])
        lease = await claim_one(database)
        await conversations.open_turn(database, lease)
        last: Sequence[Event] = [ReplyQueued(text=text), TurnFinished(outcome=TurnOutcome.ANSWERED)]
        await conversations.finish(database, lease, last, reply=text, send=True)


def rows(address: DatabaseAddress) -> list[tuple[str, str, int]]:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        return connection.execute("SELECT text, state, attempts FROM outbox ORDER BY id").fetchall()


def run(address: DatabaseAddress, scenario: Callable[[Database], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE_S), open_database(address, Role.APP) as database:
            await scenario(database)

    asyncio.run(main())


async def delivered(address: DatabaseAddress, database: Database, phone: Phone, states: Sequence[str]) -> None:
    """Run the sender until the messages are in these states."""
    sender = asyncio.create_task(deliver(database, address, {"sms": phone}))
    while [state for _, state, _ in await asyncio.to_thread(rows, address)] != list(states):
        assert not sender.done()
        await asyncio.sleep(0.01)
    sender.cancel()
    await asyncio.gather(sender, return_exceptions=True)


def test_replies_go_out_in_order(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        texts = [f"text {number}" for number in range(12)]
        await reply(database, *texts)
        (first,) = await claim_outbox(database, 1, 8)
        assert first.message.text == "text 0"
        assert await claim_outbox(database, 2, 8) == (), "the others wait for it"
        await settle_outbox(database, 1, first, SENT)
        phone = Phone(SENT)
        await delivered(address, database, phone, ["sent"] * 12)
        assert phone.taken == texts[1:]

    run(address, scenario)


@pytest.mark.parametrize(
    ("delivery", "state", "tries"),
    [
        (Delivery.FAILED, "failed", ATTEMPT_LIMIT),
        (Delivery.REFUSED, "refused", 1),
        (Delivery.UNKNOWN, "unknown", 1),
    ],
)
def test_only_what_certainly_did_not_go_out_is_tried_again(
    address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch, delivery: Delivery, state: str, tries: int
) -> None:
    monkeypatch.setattr("subclaw.store.outbox.retry_delay_s", lambda attempt: 0.0)

    async def scenario(database: Database) -> None:
        await reply(database, "hello")
        phone = Phone(SendResult(delivery=delivery, detail="it did not work"))
        await delivered(address, database, phone, [state])
        assert phone.taken == ["hello"] * tries

    run(address, scenario)


def test_what_a_dead_sender_was_sending_is_not_sent_again(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply(database, "once")
        async with worker_life(address) as (_, worker_id):
            assert await claim_outbox(database, worker_id, 1)
        while rows(address) == [("once", "sending", 1)]:
            await conversations.reap(database)
            await asyncio.sleep(0.01)
        assert rows(address) == [("once", "unknown", 1)]
        assert await claim_outbox(database, 2, 8) == ()

    run(address, scenario)

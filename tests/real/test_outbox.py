"""The outbox against a real PostgreSQL: in order, never doubled, and the provider is asked where nobody can tell."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from tests.real.test_store import claim_one, message

from subclaw.core.channel import (
    Address,
    Channel,
    Delivery,
    DeliveryReport,
    InboundMessage,
    NotSeen,
    NotTold,
    OutboundFile,
    OutboundMessage,
    Seen,
    SendResult,
    Sighting,
    Trouble,
)
from subclaw.core.delivery import DeliveryTimes
from subclaw.core.errors import Conflict
from subclaw.core.event import Event, ReplyQueued, TurnFinished, TurnOutcome
from subclaw.core.tenant import TenantId
from subclaw.store import conversations
from subclaw.store.database import Database, DatabaseAddress, LeaseLost, Role, connect, open_database
from subclaw.store.dead_letters import dead_letters, drop_letter, retry_letter
from subclaw.store.notify import worker_life, workers_alive
from subclaw.store.outbox import (
    Claimed,
    StoreReports,
    begin_part,
    claim_outbox,
    claim_unknown,
    reap_outbox,
    settle_absent,
    settle_sent,
)
from subclaw.store.outgoing import keep_file
from subclaw.turns.outbox import deliver

DEADLINE_S = 30
QUICK = DeliveryTimes(ask_after_s=(0.02, 0.1, 0.2), untold_s=0.05, hold_s=5, tick_s=0.02)

SENT = SendResult(delivery=Delivery.SENT)
LOST = SendResult(delivery=Delivery.UNKNOWN, detail="the line went dead")
REFUSED = SendResult(delivery=Delivery.FAILED, detail="never")


def trouble(kind: Trouble) -> SendResult:
    return SendResult(delivery=Delivery.FAILED, detail="not now", trouble=kind)


@dataclass(kw_only=True)
class Phone:
    """A channel that cuts at each bar, with a result for each try; the last one holds on. Nobody can ask it."""

    results: list[SendResult] = field(default_factory=lambda: [SENT])
    taken: list[str] = field(default_factory=list)
    name: str = "sms"

    def parts(self, text: str) -> Sequence[str]:
        return text.split("|")

    async def send(self, message: OutboundMessage) -> SendResult:
        self.taken.append(message.text)
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if result is not SENT:
            return result
        return SendResult(delivery=Delivery.SENT, provider_id=f"SM{message.reply_id}.{message.part}")


@dataclass(kw_only=True)
class AskedPhone(Phone):
    """One that can be asked, with an answer for each time."""

    sightings: list[Sighting] = field(default_factory=lambda: [NotSeen()])
    asked: list[str] = field(default_factory=list)

    async def find(self, message: OutboundMessage, *, since: datetime, known: Collection[str]) -> Sighting:
        assert datetime.now(UTC) - since < timedelta(seconds=DEADLINE_S)
        self.asked.append(message.text)
        return self.sightings.pop(0) if len(self.sightings) > 1 else self.sightings[0]


async def reply(database: Database, *texts: str, person: str = "+1") -> None:
    """Let one person say something for each text, which is the reply to it."""
    for number, text in enumerate(texts):
        said = message(provider_id=f"{text} {number}")
        sender = Address(channel="sms", address=person)
        inbound = InboundMessage(sender=sender, provider_id=said.provider_id, text="hi", received_at=said.received_at)
        await conversations.receive(database, inbound, [f"calm-otter-{person.removeprefix('+')}"])
        lease = await claim_one(database)
        await conversations.open_turn(database, lease)
        last: Sequence[Event] = [ReplyQueued(text=text), TurnFinished(outcome=TurnOutcome.ANSWERED)]
        await conversations.finish(database, lease, last, reply=text, send=True)


def look(address: DatabaseAddress, query: str, *parameters: object) -> list[tuple[object, ...]]:
    with psycopg.connect(address.conninfo(Role.OWNER), autocommit=True) as connection:
        cursor = connection.execute(query.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


def states(address: DatabaseAddress) -> list[object]:
    return [state for (state,) in look(address, "SELECT state FROM outbox ORDER BY id")]


def told(address: DatabaseAddress) -> list[object]:
    """Return what the transcript says of deliveries."""
    return [one for (one,) in look(address, "SELECT body ->> 'delivery' FROM event WHERE type = 'reply.sent'")]


def run(address: DatabaseAddress, scenario: Callable[[Database], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE_S), open_database(address, Role.APP) as database:
            await scenario(database)

    asyncio.run(main())


async def delivered(
    address: DatabaseAddress,
    database: Database,
    phone: Channel,
    wanted: Sequence[str],
    *,
    after: Callable[[], bool] = lambda: True,
    times: DeliveryTimes = QUICK,
    late: timedelta = timedelta(0),
) -> None:
    """Run the sender, with a clock that is ahead, until the replies are in these states `after` something happened."""

    def clock() -> datetime:
        return datetime.now(UTC) + late

    sender = asyncio.create_task(deliver(database, address, {"sms": phone}, times=times, clock=clock))
    try:
        while not after() or await asyncio.to_thread(states, address) != list(wanted):
            assert not sender.done(), sender.exception()
            await asyncio.sleep(0.01)
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what would be tried again later be tried again at once."""
    monkeypatch.setattr("subclaw.core.delivery._RETRIES_S", dict.fromkeys(Trouble, (0, 0)))


def test_replies_go_out_in_order(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        texts = [f"text {number}" for number in range(12)]
        await reply(database, *texts)
        (first,) = await claim_outbox(database, 1, 8)
        assert first.text == "text 0"
        assert await claim_outbox(database, 2, 8) == (), "the others wait for it"
        assert await begin_part(database, 1, first, 0, ["text 0"])
        await settle_sent(database, 1, first, 0, "SM")
        phone = Phone()
        await delivered(address, database, phone, ["sent"] * 12)
        assert phone.taken == texts[1:]
        assert told(address) == ["sent"] * 12

    run(address, scenario)


def test_each_part_is_written_before_the_next_one_is_sent(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply(database, "a|b|c")
        seen: list[list[tuple[object, ...]]] = []

        class Watched(Phone):
            async def send(self, message: OutboundMessage) -> SendResult:
                query = "SELECT state, provider_id FROM outbox_part ORDER BY part"
                seen.append(await asyncio.to_thread(look, address, query))
                return await super().send(message)

        phone = Watched()
        await delivered(address, database, phone, ["sent"])
        assert phone.taken == ["a", "b", "c"]
        assert [[state for state, _ in parts] for parts in seen] == [
            ["sending", "queued", "queued"],
            ["sent", "sending", "queued"],
            ["sent", "sent", "sending"],
        ]
        assert seen[2][0][1] is not None
        assert told(address) == ["sent"]

    run(address, scenario)


@pytest.mark.parametrize("kind", [Trouble.NETWORK, Trouble.BUSY, Trouble.ACCOUNT])
def test_what_certainly_did_not_go_out_is_tried_again(
    address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch, kind: Trouble
) -> None:
    at_once(monkeypatch)

    async def scenario(database: Database) -> None:
        await reply(database, "a|b")
        phone = Phone(results=[trouble(kind), SENT, trouble(kind), trouble(kind), SENT])
        await delivered(address, database, phone, ["sent"])
        assert phone.taken == ["a", "a", "b", "b", "b"], "a part that went out is not sent again"

    run(address, scenario)


def test_what_will_never_go_out_is_not_tried_again_and_holds_nobody_back(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply(database, "first", "second")
        phone = Phone(results=[REFUSED, SENT])
        await delivered(address, database, phone, ["failed", "sent"])
        assert phone.taken == ["first", "second"]
        assert told(address) == ["failed", "sent"]

    run(address, scenario)


def test_tries_are_bounded_in_number(address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)
    monkeypatch.setattr("subclaw.turns.outbox.ATTEMPT_LIMIT", 4)

    async def scenario(database: Database) -> None:
        await reply(database, "hello")
        phone = Phone(results=[trouble(Trouble.NETWORK)])
        await delivered(address, database, phone, ["failed"])
        assert phone.taken == ["hello"] * 4

    run(address, scenario)


def test_what_the_provider_shows_was_sent(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply(database, "a|b|c", "next")
        seen = Seen(provider_id="SMx", delivery=Delivery.SENT)
        phone = AskedPhone(results=[SENT, LOST, SENT], sightings=[NotSeen(), NotTold(detail="down"), seen])
        await delivered(address, database, phone, ["sent", "sent"])
        assert phone.taken == ["a", "b", "c", "next"], "in order, and what follows is sent"
        assert phone.asked == ["b"] * 3
        assert told(address) == ["sent", "sent"]

    run(address, scenario)


def test_what_the_provider_never_got_is_sent_again(address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)
    times = DeliveryTimes(ask_after_s=(0.02, 1.0), hold_s=20, tick_s=0.02)

    async def scenario(database: Database) -> None:
        await reply(database, "a|b", "next")
        phone = AskedPhone(results=[SENT, LOST, SENT])
        await delivered(address, database, phone, ["sent", "sent"], times=times)
        assert phone.taken == ["a", "b", "b", "next"]
        assert len(phone.asked) >= 2, "one absence is not believed"

    run(address, scenario)


def test_what_can_never_be_told_stays_unknown_and_lets_the_others_pass(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply(database, "first", "second")
        phone = Phone(results=[LOST, SENT])
        await delivered(address, database, phone, ["unknown", "sent"])
        assert phone.taken == ["first", "second"]
        assert told(address) == ["unknown", "sent"]

    run(address, scenario)


def test_an_unknown_reply_holds_the_next_ones_for_a_while_only(address: DatabaseAddress) -> None:
    times = DeliveryTimes(ask_after_s=(0.02, 20), untold_s=20, hold_s=20, tick_s=0.02)

    async def scenario(database: Database) -> None:
        await reply(database, "first", "second")
        phone = AskedPhone(results=[LOST, SENT])
        await delivered(address, database, phone, ["unknown", "queued"], after=lambda: bool(phone.asked), times=times)
        look(address, "UPDATE outbox SET hold_until = now() WHERE state = 'unknown'")
        await delivered(address, database, phone, ["unknown", "sent"], times=times)
        assert phone.taken == ["first", "second"]
        look(address, "UPDATE outbox SET ask_at = now(), unknown_at = now() - interval '1 minute' WHERE id = 1")
        await delivered(address, database, phone, ["sent", "sent"], times=times)
        assert phone.taken[-1].startswith("[From ")
        assert phone.taken[-1].endswith(" UTC, delayed] first"), "it was overtaken, and says so"

    run(address, scenario)


def test_a_late_reply_says_so_and_a_very_late_one_is_not_sent(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply(database, "an hour|long")
        phone = Phone()
        await delivered(address, database, phone, ["sent"], late=timedelta(hours=2))
        assert phone.taken[0].startswith("[From ")
        assert phone.taken[0].endswith(", delayed] an hour")
        assert phone.taken[1] == "long"
        await reply(database, "yesterday's")
        await delivered(address, database, phone, ["sent", "failed"], late=timedelta(days=1, minutes=1))
        assert len(phone.taken) == 2
        ((detail,),) = look(address, "SELECT detail FROM outbox WHERE state = 'failed'")
        assert "a day" in str(detail)

    run(address, scenario)


def test_what_had_begun_in_time_is_finished_as_it_was_worded(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply(database, "a|b")
        phone = Phone(results=[SENT, trouble(Trouble.ACCOUNT), SENT])
        await delivered(address, database, phone, ["queued"], after=lambda: phone.taken == ["a", "b"])
        look(address, "UPDATE outbox SET send_at = now()")
        await delivered(address, database, phone, ["sent"], late=timedelta(hours=2))
        assert phone.taken == ["a", "b", "b"]

    run(address, scenario)


def test_what_a_dead_sender_had_in_the_air_is_unknown_and_the_rest_is_sent(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply(database, "once")
        async with worker_life(address) as (_, worker_id):
            (claimed,) = await claim_outbox(database, worker_id, 1)
            assert await reap_outbox(database, QUICK) == 0, "it lives"
        await until_freed(address, database, "queued")
        async with worker_life(address) as (_, worker_id):
            (claimed,) = await claim_outbox(database, worker_id, 1)
            assert await begin_part(database, worker_id, claimed, 0, ["once"])
        await until_freed(address, database, "unknown")
        assert await claim_outbox(database, 2, 8) == ()
        with pytest.raises(LeaseLost):
            await settle_sent(database, worker_id, claimed, 0, "SM")

    run(address, scenario)


def test_a_sender_that_begins_while_the_dead_ones_are_freed_keeps_what_it_has(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply(database, "of the dead")
        async with worker_life(address) as (_, dead):
            assert await claim_outbox(database, dead, 1)
        while await workers_alive(database):
            await asyncio.sleep(0.01)
        async with await connect(address, Role.OWNER) as owner, AsyncExitStack() as lives:
            async with owner.transaction():
                await owner.execute("SELECT FROM outbox FOR UPDATE")
                reaping = asyncio.create_task(reap_outbox(database, QUICK))
                while not look(address, "SELECT pid FROM pg_locks WHERE NOT granted"):
                    assert not reaping.done()
                    await asyncio.sleep(0.01)
                await reply(database, "of the living", person="+2")
                _, living = await lives.enter_async_context(worker_life(address))
                (claimed,) = await claim_outbox(database, living, 1)
                assert await begin_part(database, living, claimed, 0, ["of the living"])
            assert await reaping == 0
            await settle_sent(database, living, claimed, 0, "SM1")
        assert states(address) == ["queued", "sent"]

    run(address, scenario)


def test_a_question_of_a_dead_sender_is_asked_again(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply(database, "once")
        await delivered(address, database, AskedPhone(results=[LOST], sightings=[NotTold(detail="")]), ["unknown"])
        look(address, "UPDATE outbox SET ask_at = now(), owner = NULL")
        async with worker_life(address) as (_, worker_id):
            (claimed,) = await claim_unknown(database, worker_id, 8)
            assert await claim_unknown(database, 99, 8) == (), "one asks at a time"
        while not await claim_unknown(database, 99, 8):
            await reap_outbox(database, QUICK)
            await asyncio.sleep(0.01)
        with pytest.raises(LeaseLost):
            await settle_absent(database, worker_id, claimed, 0, 0.0)

    run(address, scenario)


async def until_freed(address: DatabaseAddress, database: Database, state: str) -> None:
    while states(address) == ["sending"]:
        await reap_outbox(database, QUICK)
        await asyncio.sleep(0.01)
    assert states(address) == [state]


def receipt(claimed: Claimed, part: int, delivery: Delivery, provider_id: str, detail: str = "") -> DeliveryReport:
    return DeliveryReport(
        tenant_id=claimed.tenant_id,
        reply_id=claimed.id,
        part=part,
        provider_id=provider_id,
        delivery=delivery,
        detail=detail,
    )


def test_receipts_in_any_order_and_twice_lead_forward_to_the_same_end(address: DatabaseAddress) -> None:
    """Each order of a part's receipts, doubled, around the moment at which the provider's answer is written."""
    orders = [*itertools.permutations(["sent", "sent", "delivered", "answer"])]
    rank = {"sending": 0, "sent": 1, "delivered": 2}

    async def scenario(database: Database) -> None:
        reports = StoreReports(database)
        for number, order in enumerate(random.Random(7).sample(orders, 12)):
            await reply(database, f"hello {number}")
            (claimed,) = await claim_outbox(database, 1, 1)
            assert await begin_part(database, 1, claimed, 0, ["hello"])
            ranks = []
            for step in (*order, "sent", "delivered"):
                if step == "answer":
                    await settle_sent(database, 1, claimed, 0, f"SM{claimed.id}")
                else:
                    await reports.report(receipt(claimed, 0, Delivery(step), f"SM{claimed.id}"))
                ((state,),) = look(address, "SELECT state FROM outbox_part WHERE outbox_id = %s", claimed.id)
                ranks.append(rank[str(state)])
            assert ranks == sorted(ranks), order
            assert states(address)[-1] == "delivered", order
        assert told(address) == ["sent"] * 12, "each once"

    run(address, scenario)


def test_a_reply_is_delivered_when_all_of_it_is_and_failed_when_a_part_is(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        reports = StoreReports(database)
        await reply(database, "a|b")
        (claimed,) = await claim_outbox(database, 1, 1)
        look(address, "UPDATE outbox SET state = 'queued', owner = NULL")
        await delivered(address, database, Phone(), ["sent"])
        await reports.report(receipt(claimed, 1, Delivery.DELIVERED, f"SM{claimed.id}.1"))
        assert states(address) == ["sent"]
        await reports.report(receipt(claimed, 0, Delivery.FAILED, "SM-of-another", "no"))
        assert states(address) == ["sent"], "not what was sent"
        await reports.report(receipt(claimed, 0, Delivery.FAILED, f"SM{claimed.id}.0", "the phone is off"))
        assert states(address) == ["failed"]
        await reports.report(receipt(claimed, 0, Delivery.DELIVERED, f"SM{claimed.id}.0"))
        assert states(address) == ["failed"], "never backwards"
        assert look(address, "SELECT detail FROM outbox") == [("part 1 of 2: the phone is off",)]
        assert told(address) == ["sent", "failed"]

    run(address, scenario)


@pytest.mark.parametrize("when", ["while it is sent", "while it is unknown", "after it was believed lost"])
def test_a_receipt_tells_what_became_of_an_unknown_part(
    address: DatabaseAddress, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the reply and the part, so nobody needs to be asked, and nothing is sent twice."""
    at_once(monkeypatch)

    async def scenario(database: Database) -> None:
        reports = StoreReports(database)
        await reply(database, "a|b")

        class Told(AskedPhone):
            async def send(self, message: OutboundMessage) -> SendResult:
                self.taken.append(message.text)
                if message.part == 0 and when == "while it is sent":
                    await reports.report(receipt_of(message))
                return LOST if message.part == 0 else SENT

            async def find(self, message: OutboundMessage, *, since: datetime, known: Collection[str]) -> Sighting:
                if when == "while it is unknown":
                    await reports.report(receipt_of(message))
                self.asked.append(message.text)
                return NotSeen()

        def receipt_of(message: OutboundMessage) -> DeliveryReport:
            return DeliveryReport(
                tenant_id=message.tenant_id,
                reply_id=message.reply_id,
                part=message.part,
                provider_id="SMa",
                delivery=Delivery.SENT,
            )

        phone = Told()
        if when == "after it was believed lost":
            monkeypatch.setattr("subclaw.core.delivery._RETRIES_S", dict.fromkeys(Trouble, (600, 600)))
            await delivered(address, database, phone, ["queued"], after=lambda: bool(phone.asked))
            (tenant_id,) = look(address, "SELECT tenant_id FROM outbox")[0]
            await reports.report(
                DeliveryReport(
                    tenant_id=tenant_id,  # type: ignore[arg-type]
                    reply_id=1,
                    part=0,
                    provider_id="SMa",
                    delivery=Delivery.DELIVERED,
                )
            )
            look(address, "UPDATE outbox SET send_at = now()")
        await delivered(address, database, phone, ["sent"])
        assert phone.taken == ["a", "b"]

    run(address, scenario)


def test_a_receipt_for_another_tenants_reply_changes_nothing(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply(database, "hello")
        await delivered(address, database, Phone(), ["sent"])
        forged = DeliveryReport(
            tenant_id=999,  # type: ignore[arg-type]
            reply_id=1,
            part=0,
            provider_id="SM1.0",
            delivery=Delivery.FAILED,
        )
        await StoreReports(database).report(forged)
        assert states(address) == ["sent"]

    run(address, scenario)


def test_the_operator_lists_sends_again_and_gives_up_what_did_not_go_out(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply(database, "a|b", "secret words", "fine")
        await delivered(address, database, Phone(results=[SENT, LOST, REFUSED, SENT]), ["unknown", "failed", "sent"])
        async with open_database(address, Role.OPERATOR, size=1) as operator:
            failed, unknown = await dead_letters(operator, limit=10)
            assert (failed.state, failed.detail, failed.waits) == ("failed", "never", False)
            assert (unknown.state, unknown.parts, unknown.parts_sent, unknown.waits) == ("unknown", 2, 1, False)
            assert "secret" not in repr((failed, unknown))
            await retry_letter(operator, unknown.id)
            await drop_letter(operator, failed.id)
            with pytest.raises(Conflict):
                await drop_letter(operator, failed.id)
            with pytest.raises(Conflict):
                await retry_letter(operator, unknown.id + 2)
            phone = Phone()
            await delivered(address, database, phone, ["sent", "sent"])
            assert phone.taken == ["b"], "what went out is not sent again"
            assert await dead_letters(operator, limit=10) == ()

    run(address, scenario)


def test_a_reply_of_days_ago_is_sent_if_the_operator_says_so(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply(database, "hello")
        look(address, "UPDATE outbox SET written_at = '2026-01-02 03:04Z', send_until = '2026-01-03 03:04Z'")
        phone = Phone()
        await delivered(address, database, phone, ["failed"])
        async with open_database(address, Role.OPERATOR, size=1) as operator:
            await retry_letter(operator, 1)
        await delivered(address, database, phone, ["sent"])
        assert phone.taken == ["[From 2 January, 03:04 UTC, delayed] hello"]

    run(address, scenario)


def test_one_that_hangs_keeps_no_other_conversation_back(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        hung = asyncio.Event()

        class Hanging(Phone):
            async def send(self, message: OutboundMessage) -> SendResult:
                if message.to.address == "+1":
                    hung.set()
                    await asyncio.Event().wait()
                return await super().send(message)

        await reply(database, "never")
        phone = Hanging()
        sender = asyncio.create_task(deliver(database, address, {"sms": phone}, times=QUICK))
        await hung.wait()
        sender_of = Address(channel="sms", address="+2")
        await conversations.receive(
            database,
            InboundMessage(sender=sender_of, provider_id="1", text="hi", received_at=datetime.now(UTC)),
            ["swift-lark"],
        )
        lease = await claim_one(database)
        await conversations.open_turn(database, lease)
        await conversations.finish(database, lease, [ReplyQueued(text="hi")], reply="hi", send=True)
        while phone.taken != ["hi"]:
            await asyncio.sleep(0.01)
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)

    run(address, scenario)


@dataclass(kw_only=True)
class FilePhone(AskedPhone):
    """One that sends files but large ones, with a result for each try of a file."""

    file_results: list[SendResult] = field(default_factory=lambda: [SENT])
    sent: list[tuple[int, str, bytes]] = field(default_factory=list)

    def takes(self, to: Address, media_type: str, size_bytes: int) -> bool:
        return size_bytes < 100

    async def send_file(self, message: OutboundMessage, file: OutboundFile) -> SendResult:
        self.sent.append((message.part, file.name, file.content))
        result = self.file_results.pop(0) if len(self.file_results) > 1 else self.file_results[0]
        return replace(result, provider_id=f"MM{message.part}") if result is SENT else result


async def reply_with_files(database: Database, text: str, *contents: bytes) -> None:
    """Let one person say something, which is answered with files."""
    sender = Address(channel="sms", address="+1")
    now = datetime.now(UTC)
    receipt = await conversations.receive(
        database, InboundMessage(sender=sender, provider_id=text, text="hi", received_at=now), ["calm-otter"]
    )
    lease = await claim_one(database)
    await conversations.open_turn(database, lease)
    files = tuple(
        [
            await keep_file(
                database,
                receipt.tenant_id,
                name=f"{n}.txt",
                title=f"file {n}",
                media_type="text/plain",
                content=content,
            )
            for n, content in enumerate(contents)
        ]
    )
    last: list[Event] = [ReplyQueued(text=text, files=files), TurnFinished(outcome=TurnOutcome.ANSWERED)]
    await conversations.finish(database, lease, last, reply=text, send=True)


def test_files_are_parts_that_are_tried_and_asked_about_as_texts_are(
    address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)

    async def scenario(database: Database) -> None:
        await reply_with_files(database, "a|b", b"one", b"two")
        phone = FilePhone(
            file_results=[trouble(Trouble.NETWORK), SENT, LOST, SENT],
            sightings=[Seen(provider_id="MMx", delivery=Delivery.SENT)],
        )
        await delivered(address, database, phone, ["sent"])
        assert phone.taken == ["a", "b"]
        assert phone.sent == [(2, "0.txt", b"one"), (2, "0.txt", b"one"), (3, "1.txt", b"two")]
        assert phone.asked == ["file 1"]
        report = DeliveryReport(
            tenant_id=TenantId(1), reply_id=1, part=3, provider_id="MMx", delivery=Delivery.DELIVERED
        )
        await StoreReports(database).report(report)
        assert look(address, "SELECT name FROM outgoing_file") == [("0.txt",)], "what has arrived is forgotten"

    run(address, scenario)


def test_of_a_file_that_is_not_taken_a_link_is_sent(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply_with_files(database, "", b"x" * 100, b"small")
        phone = FilePhone(file_results=[trouble(Trouble.FILE)])
        await delivered(address, database, phone, ["sent"])
        assert phone.taken == ["(0.txt cannot be sent here.)", "(1.txt cannot be sent here.)"]
        assert [part for part, _, _ in phone.sent] == [1]
        parts = look(address, "SELECT text, file_id, state FROM outbox_part ORDER BY part")
        assert parts == [(text, None, "sent") for text in phone.taken]

    run(address, scenario)


def test_a_file_that_was_forgotten_is_told(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await reply_with_files(database, "a", b"one")
        await asyncio.to_thread(look, address, "DELETE FROM outgoing_file")
        phone = FilePhone()
        await delivered(address, database, phone, ["failed"])
        assert (phone.taken, phone.sent) == (["a"], [])

    run(address, scenario)


def test_of_one_tenant_the_newest_files_are_kept(address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subclaw.store.outgoing.KEPT_LIMIT_BYTES", 10)

    async def scenario(database: Database) -> None:
        await reply_with_files(database, "a", b"12345", b"67890", b"abcde")
        assert look(address, "SELECT name FROM outgoing_file ORDER BY made_at") == [("1.txt",), ("2.txt",)]

    run(address, scenario)

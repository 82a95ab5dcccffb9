"""The outbox: replies that are to go out by a channel's provider, and what became of each part of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from subclaw.core.channel import Address, DeliveryReport, Seen, SendResult
from subclaw.core.delivery import DeliveryTimes
from subclaw.core.fault import FaultPoint, reached
from subclaw.core.outgoing import OutgoingFile
from subclaw.core.quiet import ASKED_WITHIN_S, UNASKED_AN_HOUR
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database
from subclaw.store.identities import note_refusal
from subclaw.store.notify import WORKER_LOCK

_WITHIN = timedelta(seconds=ASKED_WITHIN_S), UNASKED_AN_HOUR
_READ = "SELECT * FROM read_outbound(%s, %s, %s, %s), outbound_files(%s, %s)"
_ADDRESS = "SELECT channel, address FROM read_outbound(%s, %s, %s, %s)"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a reply as it is worded for sending. `state` is the store's; `begun_at` is when it was last tried.

    `file_id` is the file that it is, empty for a text.
    """

    text: str
    state: str
    begun_at: datetime | None
    file_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A reply in this worker's hands: to be sent, or to be asked about if it is unknown since `unknown_at`.

    It may be sent until `send_until`. `overtaken` means that a later one of its conversation went out already. Without
    `parts` it was not cut yet. `barred` is why it must not be sent, if it must not. `is_unasked` says that nobody asked
    for it just then; then `slow_s` is for how long there are too many such. `time_zone` is the person's, if known.
    """

    tenant_id: TenantId
    id: int
    to: Address
    text: str
    attempt: int
    written_at: datetime
    send_until: datetime
    unknown_at: datetime | None
    overtaken: bool
    parts: tuple[Part, ...]
    files: tuple[OutgoingFile, ...]
    barred: str
    is_unasked: bool
    time_zone: str
    slow_s: float


async def claim_outbox(database: Database, worker_id: int, limit: int) -> tuple[Claimed, ...]:
    """Take up to `limit` queued replies; they are marked as `sending`."""
    claimed = await database.rows("SELECT * FROM claim_outbox(%s, %s)", worker_id, limit)
    if claimed:
        reached(FaultPoint.OUTBOX_CLAIMED)
    return tuple([await _read(database, TenantId(tenant_id), id) for tenant_id, id in claimed])


async def claim_unknown(database: Database, worker_id: int, limit: int) -> tuple[Claimed, ...]:
    """Take up to `limit` replies about which the provider is to be asked."""
    claimed = await database.rows("SELECT * FROM claim_unknown(%s, %s)", worker_id, limit)
    return tuple([await _read(database, TenantId(tenant_id), id) for tenant_id, id in claimed])


async def reap_outbox(database: Database, times: DeliveryTimes) -> int:
    """Free what dead senders had; return how many replies are unknown because of that."""
    ((count,),) = await database.rows(
        "SELECT reap_outbox(%s, make_interval(secs => %s), make_interval(secs => %s))",
        WORKER_LOCK,
        times.ask_after_s[0],
        times.hold_s,
    )
    return int(count)


async def begin_part(
    database: Database,
    worker_id: int,
    claimed: Claimed,
    part: int,
    plan: Sequence[str] | None,
    file_ids: Sequence[str] = (),
) -> bool:
    """Write that a part is about to be sent; with a `plan`, also the texts that the reply is cut into.

    `file_ids` are those of the parts that are files; the first ones, that are texts, may have an empty one or none.
    Returns False if a receipt has come meanwhile, so that the part is not to be sent. Errors: `LeaseLost`.
    """
    texts = None if plan is None else list(plan)
    query = "SELECT begin_part(%s, %s, %s, %s, %s, %s)"
    ((begun,),) = await database.rows(query, *_key(claimed, worker_id), part, texts, list(file_ids))
    return bool(begun)


async def reword_part(database: Database, worker_id: int, claimed: Claimed, part: int, text: str) -> None:
    """Write that the provider does not take the file of a part, which is a text from now on. Errors: `LeaseLost`."""
    await database.rows("SELECT reword_part(%s, %s, %s, %s, %s)", *_key(claimed, worker_id), part, text)


async def sent_part(database: Database, worker_id: int, claimed: Claimed, part: int, provider_id: str | None) -> None:
    """Write that the provider took a part, and more are to come. Errors: `LeaseLost`."""
    await database.rows("SELECT sent_part(%s, %s, %s, %s, %s)", *_key(claimed, worker_id), part, provider_id)


async def settle_sent(database: Database, worker_id: int, claimed: Claimed, part: int, provider_id: str | None) -> None:
    """Write that the provider took the last part. Errors: `LeaseLost`, here and below."""
    await _settle(database, worker_id, claimed, "sent", part, provider_id, "", 0, 0)


async def settle_failed(
    database: Database, worker_id: int, claimed: Claimed, part: int, result: SendResult, delay_s: float | None
) -> None:
    """Write that a part certainly did not go out. It is tried again after `delay_s`, or never if that is None."""
    state = "failed" if delay_s is None else "queued"
    await _settle(database, worker_id, claimed, state, part, None, result.detail, delay_s or 0, 0)


async def settle_doubtful(
    database: Database, worker_id: int, claimed: Claimed, part: int, result: SendResult, times: DeliveryTimes
) -> None:
    """Write that nobody can tell whether a part went out; the provider is asked before anything else."""
    first_s, hold_s = times.ask_after_s[0], times.hold_s
    await _settle(database, worker_id, claimed, "unknown", part, None, result.detail, first_s, hold_s)


async def known_ids(database: Database, claimed: Claimed) -> frozenset[str]:
    """Return the provider's ids of what else was sent in the conversation."""
    ((ids,),) = await database.rows("SELECT known_ids(%s, %s)", claimed.tenant_id, claimed.id)
    return frozenset(ids)


async def settle_seen(database: Database, worker_id: int, claimed: Claimed, part: int, seen: Seen) -> None:
    """Write that the provider has a part that was unknown."""
    await _settle_unknown(database, worker_id, claimed, part, seen.delivery.value, seen.provider_id, seen.detail, None)


async def settle_absent(database: Database, worker_id: int, claimed: Claimed, part: int, delay_s: float | None) -> None:
    """Write that the provider certainly never got a part that was unknown: it is sent again after `delay_s`."""
    await _settle_unknown(database, worker_id, claimed, part, "queued", None, "", delay_s or 0)


async def ask_later(
    database: Database, worker_id: int, claimed: Claimed, part: int, detail: str, delay_s: float | None
) -> None:
    """Write that it is still unknown. The provider is asked again after `delay_s`, or never if that is None."""
    await _settle_unknown(database, worker_id, claimed, part, "unknown", None, detail, delay_s)


async def put_off(database: Database, worker_id: int, claimed: Claimed, until: datetime, detail: str) -> None:
    """Hold a reply until later. Errors: `LeaseLost`."""
    await database.rows("SELECT put_off_outbox(%s, %s, %s, %s, %s)", *_key(claimed, worker_id), until, detail)


async def note_unasked(database: Database, worker_id: int, claimed: Claimed) -> None:
    """Write that a reply goes out now which nobody asked for. Errors: `LeaseLost`."""
    await database.rows("SELECT note_unasked(%s, %s, %s)", *_key(claimed, worker_id))


class StoreReports:
    """Receipts, noted in the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def report(self, report: DeliveryReport) -> None:
        """See `core.channel.DeliveryReports`."""
        if report.opted_out:
            rows = await self._database.rows(_ADDRESS, report.tenant_id, report.reply_id, *_WITHIN)
            for channel, address in rows:
                sent_to = Address(channel=channel, address=address)
                await note_refusal(self._database, sent_to, report.provider_id)
        await self._database.rows(
            "SELECT report_outbox(%s, %s, %s, %s, %s, %s)",
            report.tenant_id,
            report.reply_id,
            report.part,
            report.provider_id,
            report.delivery.value,
            report.detail,
        )


def _key(claimed: Claimed, worker_id: int) -> tuple[int, int, int]:
    return claimed.tenant_id, claimed.id, worker_id


async def _settle(
    database: Database,
    worker_id: int,
    claimed: Claimed,
    state: str,
    part: int,
    provider_id: str | None,
    detail: str,
    delay_s: float,
    hold_s: float,
) -> None:
    await database.rows(
        "SELECT settle_outbox(%s, %s, %s, %s, %s, %s, %s, make_interval(secs => %s), make_interval(secs => %s))",
        *_key(claimed, worker_id),
        state,
        part,
        provider_id,
        detail,
        delay_s,
        hold_s,
    )
    reached(FaultPoint.OUTBOX_SETTLED)


async def _settle_unknown(
    database: Database,
    worker_id: int,
    claimed: Claimed,
    part: int,
    state: str,
    provider_id: str | None,
    detail: str,
    delay_s: float | None,
) -> None:
    await database.rows(
        "SELECT settle_unknown(%s, %s, %s, %s, %s, %s, %s, make_interval(secs => %s))",
        *_key(claimed, worker_id),
        part,
        state,
        provider_id,
        detail,
        delay_s,
    )


async def _read(database: Database, tenant_id: TenantId, id: int) -> Claimed:
    (row,) = await database.rows(_READ, tenant_id, id, *_WITHIN, tenant_id, id)
    channel, address, thread, text, attempt, written_at, send_until, unknown_at, overtaken, parts, *more = row
    barred, is_unasked, time_zone, slow_s, files, file_ids = more
    return Claimed(
        tenant_id=tenant_id,
        id=id,
        to=Address(channel=channel, address=address, thread=thread),
        text=text,
        attempt=attempt,
        written_at=written_at,
        send_until=send_until,
        unknown_at=unknown_at,
        overtaken=overtaken,
        parts=tuple(_part(part, file_id) for part, file_id in zip(parts, file_ids, strict=True)),
        files=tuple(OutgoingFile(**file) for file in files),
        barred=barred or "",
        is_unasked=is_unasked,
        time_zone=time_zone or "",
        slow_s=slow_s,
    )


def _part(row: dict[str, str | None], file_id: str) -> Part:
    begun_at = row["begun_at"]
    return Part(
        text=row["text"] or "",
        state=row["state"] or "",
        begun_at=datetime.fromisoformat(begun_at) if begun_at else None,
        file_id=file_id,
    )

"""The outbox: sends queued replies by their channels, part by part, and finds out what became of each.

A part is marked as `sending` before it is sent, and the provider's name for it is written before the next one. If the
sender dies in between, or the answer is lost, nobody here can tell whether the part went out: the reply is `unknown`,
and the provider is asked before anything is sent again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from subclaw.core.channel import (
    Channel,
    Delivery,
    NotTold,
    OutboundFile,
    OutboundMessage,
    Reconciles,
    Seen,
    SendResult,
    SendsFiles,
    Sighting,
    Trouble,
)
from subclaw.core.delivery import (
    ATTEMPT_LIMIT,
    AskAgain,
    DeliveryTimes,
    LeaveUnknown,
    SendAgain,
    judge,
    retry_delay_s,
    wording,
)
from subclaw.core.fault import FaultPoint, reached
from subclaw.core.outgoing import OutgoingFile, link_path, link_words
from subclaw.core.quiet import UNASKED_AN_HOUR, QuietHours, quiet_until
from subclaw.store import outbox
from subclaw.store.database import Database, DatabaseAddress, LeaseLost
from subclaw.store.identities import note_refusal
from subclaw.store.notify import Ears, Topic, hearing, until_lost, worker_life
from subclaw.store.outbox import Claimed
from subclaw.store.outgoing import file_content
from subclaw.turns.spending import CountSegments, no_segments, over_segments

log = logging.getLogger(__name__)

AT_ONCE = 16
CALL_LIMIT_S = 60
"""How long a channel may take over one part or one question; after that its outcome is open."""

_NOT_SET_UP = SendResult(delivery=Delivery.FAILED, detail="this channel is not set up", trouble=Trouble.ACCOUNT)
_TOO_LATE = SendResult(delivery=Delivery.FAILED, detail="it could not be sent for a day, and is not sent any more")
_TOO_OFTEN = SendResult(delivery=Delivery.FAILED, detail=f"it was tried {ATTEMPT_LIMIT} times")
_NOTHING = SendResult(delivery=Delivery.FAILED, detail="there was no text to send")
_NO_FILE = SendResult(delivery=Delivery.FAILED, detail="the file is not kept any more")

FILES_AT_ONCE = 4
"""How many files are sent at once: each is in memory as long as that takes."""

FILE_SEGMENTS = 3
"""As how many segments a file counts where those are charged: about what one costs."""


@dataclass(frozen=True, kw_only=True)
class _Sender:
    """What sending needs. `clock` is the time of day; `count` says how many segments a reply has; `quiet` is when
    nobody is sent what they did not ask for; `public_url` is where people find files, if they can; `files` are the
    places for those that are sent."""

    database: Database
    worker_id: int
    channels: Mapping[str, Channel]
    times: DeliveryTimes
    clock: Callable[[], datetime]
    count: CountSegments
    quiet: QuietHours | None
    public_url: str | None
    files: asyncio.Semaphore


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """What a part is to be: a text, or a file with a text beside it."""

    text: str
    file: OutgoingFile | None = None


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


async def deliver(
    database: Database,
    address: DatabaseAddress,
    channels: Mapping[str, Channel],
    *,
    times: DeliveryTimes = DeliveryTimes(),  # noqa: B008 - it is frozen
    clock: Callable[[], datetime] = utc_now,
    count: CountSegments = no_segments,
    quiet: QuietHours | None = None,
    public_url: str | None = None,
    ears: Ears | None = None,
) -> None:
    """Send what is queued, as it comes, until cancelled. Errors: `Unavailable` if the database is lost.

    `public_url` is that of the web process, without a slash at its end; None if the world cannot reach this host.
    `ears` hear of `OUTBOX`, if there are any yet.
    """
    awake = asyncio.Event()
    tells = {Topic.OUTBOX: lambda _: awake.set()}
    async with worker_life(address) as (session, worker_id), hearing(address, tells, ears):
        sender = _Sender(
            database=database,
            worker_id=worker_id,
            channels=channels,
            times=times,
            clock=clock,
            count=count,
            quiet=quiet,
            public_url=public_url,
            files=asyncio.Semaphore(FILES_AT_ONCE),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(_tick(sender, awake))
            group.create_task(_work(sender, awake, group))
            await until_lost(session)


async def _tick(sender: _Sender, awake: asyncio.Event) -> None:
    """Free what dead senders had, at once and now and then; and wake: a retry comes due without a notification."""
    while True:
        if count := await outbox.reap_outbox(sender.database, sender.times):
            log.warning("%d replies were being sent when their sender died", count)
        awake.set()
        await asyncio.sleep(sender.times.tick_s)


async def _work(sender: _Sender, awake: asyncio.Event, group: asyncio.TaskGroup) -> None:
    """Take what is due, at most so many at once: one that hangs keeps no other back."""
    running: set[asyncio.Task[None]] = set()

    def ended(task: asyncio.Task[None]) -> None:
        running.discard(task)
        awake.set()

    def start(work: Coroutine[None, None, None]) -> None:
        task = group.create_task(work)
        running.add(task)
        task.add_done_callback(ended)

    while True:
        await awake.wait()
        awake.clear()
        if free := AT_ONCE - len(running):
            for claimed in await outbox.claim_outbox(sender.database, sender.worker_id, free):
                start(_guarded(_send, sender, claimed))
        if free := AT_ONCE - len(running):
            for claimed in await outbox.claim_unknown(sender.database, sender.worker_id, free):
                start(_guarded(_ask, sender, claimed))


async def _guarded(
    work: Callable[[_Sender, Claimed], Coroutine[None, None, None]], sender: _Sender, claimed: Claimed
) -> None:
    try:
        await work(sender, claimed)
    except LeaseLost:
        log.warning("outbox %d: somebody else has it", claimed.id)


async def _send(sender: _Sender, claimed: Claimed) -> None:
    """Send what is missing of a reply."""
    channel = sender.channels.get(claimed.to.channel)
    if claimed.barred:
        await _settle(sender, claimed, 0, SendResult(delivery=Delivery.FAILED, detail=claimed.barred))
    elif held := _held(sender, claimed):
        await outbox.put_off(sender.database, sender.worker_id, claimed, *held)
    elif sender.clock() >= claimed.send_until:
        await _settle(sender, claimed, 0, _TOO_LATE)
    elif claimed.attempt > ATTEMPT_LIMIT:
        await _settle(sender, claimed, 0, _TOO_OFTEN)
    elif channel is None:
        await _settle(sender, claimed, 0, _NOT_SET_UP)
    elif not (plan := _plan(sender, channel, claimed)):
        await _settle(sender, claimed, 0, _NOTHING)
    elif over := await _over_segments(sender, channel, claimed, plan):
        await _settle(sender, claimed, 0, SendResult(delivery=Delivery.FAILED, detail=over, trouble=Trouble.REFUSED))
    else:
        if claimed.is_unasked:
            await outbox.note_unasked(sender.database, sender.worker_id, claimed)
        await _send_parts(sender, channel, claimed, plan)


def _held(sender: _Sender, claimed: Claimed) -> tuple[datetime, str] | None:
    """Return until when a reply that nobody asked for waits, and why; what has begun to go out is not held up."""
    if not claimed.is_unasked or _some_are_out(claimed):
        return None
    now = sender.clock()
    if until := quiet_until(now, sender.quiet, claimed.time_zone):
        return until, "held until the quiet hours are over"
    if claimed.slow_s > 0:
        return now + timedelta(seconds=claimed.slow_s), f"held: {UNASKED_AN_HOUR} in an hour are the most"
    return None


async def _over_segments(sender: _Sender, channel: Channel, claimed: Claimed, plan: Sequence[_Planned]) -> str | None:
    count = sender.count(channel.name, [part.text for part in plan if part.file is None])
    files = [part for part in plan if part.file is not None]
    if files and sender.count(channel.name, [part.text for part in files]):  # this channel is charged by segments
        count += FILE_SEGMENTS * len(files)
    return await over_segments(sender.database, claimed.tenant_id, claimed.id, count) if count else None


def _plan(sender: _Sender, channel: Channel, claimed: Claimed) -> Sequence[_Planned]:
    """Return the parts: as they were when the first of them went out, or worded for now if none did.

    Files follow the text, each a part of its own; it ends with links to those that the channel does not take.
    """
    if _some_are_out(claimed):
        files = {file.id: file for file in claimed.files}
        return [_Planned(text=part.text, file=files.get(part.file_id)) for part in claimed.parts]
    sent = [file for file in claimed.files if _takes(channel, claimed, file)]
    links = link_words([file for file in claimed.files if file not in sent], sender.public_url)
    text = "\n\n".join(filter(None, [claimed.text.strip(), links]))
    if text:
        now, written_at = sender.clock(), claimed.written_at
        text = wording(text, written_at=written_at, now=now, overtaken=claimed.overtaken, times=sender.times)
    texts = channel.parts(text) if text else ()
    return [*(_Planned(text=part) for part in texts), *(_Planned(text=file.title, file=file) for file in sent)]


def _takes(channel: Channel, claimed: Claimed, file: OutgoingFile) -> bool:
    return isinstance(channel, SendsFiles) and channel.takes(claimed.to, file.media_type, file.size_bytes)


def _some_are_out(claimed: Claimed) -> bool:
    return any(part.state != "queued" for part in claimed.parts)


async def _send_parts(sender: _Sender, channel: Channel, claimed: Claimed, plan: Sequence[_Planned]) -> None:
    database, worker_id = sender.database, sender.worker_id
    texts = None if _some_are_out(claimed) else [part.text for part in plan]
    file_ids = [part.file.id if part.file else "" for part in plan]
    missing = [n for n in range(len(plan)) if texts or claimed.parts[n].state == "queued"]
    if not missing:  # receipts came for all of them
        await outbox.settle_sent(database, worker_id, claimed, 0, None)
    for n in missing:
        if not await outbox.begin_part(database, worker_id, claimed, n, texts if n == missing[0] else None, file_ids):
            await outbox.settle_failed(database, worker_id, claimed, n, SendResult(delivery=Delivery.FAILED), 0)
            return
        reached(FaultPoint.OUTBOX_SENDING)
        result = await _send_part(sender, channel, claimed, n, plan[n])
        reached(FaultPoint.OUTBOX_SENT)
        if result.delivery is not Delivery.SENT:
            await _settle(sender, claimed, n, result)
            return
        if n == missing[-1]:
            await outbox.settle_sent(database, worker_id, claimed, n, result.provider_id)
        else:
            await outbox.sent_part(database, worker_id, claimed, n, result.provider_id)
            reached(FaultPoint.OUTBOX_PART_SENT)


async def _send_part(sender: _Sender, channel: Channel, claimed: Claimed, part: int, planned: _Planned) -> SendResult:
    """Send a part; of a file that the provider turns out not to take, a link in its place."""
    if planned.file is None:
        return await _try(channel.send, _message(claimed, part, planned.text))
    if not isinstance(channel, SendsFiles):  # it did when the parts were planned
        return SendResult(delivery=Delivery.FAILED, detail="this channel does not send files any more")
    async with sender.files:
        content = await file_content(sender.database, claimed.tenant_id, planned.file.id)
        if content is None:
            return _NO_FILE
        file = _outbound(sender, planned.file, content)
        message = _message(claimed, part, planned.text, file)
        result = await _try(lambda message: channel.send_file(message, file), message)
    if result.delivery is not Delivery.FAILED or result.trouble is not Trouble.FILE:
        return result
    log.info("outbox %d: a link instead of a file: %s", claimed.id, result.detail)
    text = link_words([planned.file], sender.public_url)
    await outbox.reword_part(sender.database, sender.worker_id, claimed, part, text)
    if not await outbox.begin_part(sender.database, sender.worker_id, claimed, part, None):
        return SendResult(delivery=Delivery.FAILED, trouble=Trouble.NETWORK)
    return await _try(channel.send, _message(claimed, part, text))


def _outbound(sender: _Sender, file: OutgoingFile, content: bytes) -> OutboundFile:
    return OutboundFile(
        name=file.name,
        media_type=file.media_type,
        size_bytes=file.size_bytes,
        content=content,
        url=f"{sender.public_url}{link_path(file)}" if sender.public_url else "",
    )


async def _settle(sender: _Sender, claimed: Claimed, part: int, result: SendResult) -> None:
    """Write what kept a part from going out, and when it is tried again or asked about."""
    log.warning("outbox %d: %s: %s", claimed.id, result.delivery, result.detail)
    if result.opted_out:
        await note_refusal(sender.database, claimed.to, f"outbox {claimed.id}")
    if result.delivery is Delivery.UNKNOWN:
        await outbox.settle_doubtful(sender.database, sender.worker_id, claimed, part, result, sender.times)
        return
    delay_s = retry_delay_s(result.trouble, claimed.attempt, result.retry_after_s)
    await outbox.settle_failed(sender.database, sender.worker_id, claimed, part, result, delay_s)


async def _try(send: Callable[[OutboundMessage], Awaitable[SendResult]], message: OutboundMessage) -> SendResult:
    try:
        async with asyncio.timeout(CALL_LIMIT_S):
            return await send(message)
    except Exception as error:  # a channel's defect must not stop the other channels
        log.exception("outbox %d: the channel failed", message.reply_id)
        return SendResult(delivery=Delivery.UNKNOWN, detail=type(error).__name__)


async def _ask(sender: _Sender, claimed: Claimed) -> None:
    """Find out what became of the part of a reply that is unknown."""
    database, worker_id = sender.database, sender.worker_id
    part = next((n for n, part in enumerate(claimed.parts) if part.state == "sending"), 0)
    channel = sender.channels.get(claimed.to.channel)
    if not isinstance(channel, Reconciles):
        detail = "it may or may not have gone out, and this channel cannot be asked"
        await outbox.ask_later(database, worker_id, claimed, part, detail, None)
        return
    reached(FaultPoint.OUTBOX_ASKING)
    sighting = await _look(sender, channel, claimed, part)
    reached(FaultPoint.OUTBOX_ASKED)
    if isinstance(sighting, Seen):
        await outbox.settle_seen(database, worker_id, claimed, part, sighting)
        return
    now, unknown_at = sender.clock(), claimed.unknown_at or claimed.written_at
    age_s = max((now - unknown_at).total_seconds(), 0.0)
    detail = sighting.detail if isinstance(sighting, NotTold) else "it is being looked for"
    match judge(sighting, age_s=age_s, expired=now >= claimed.send_until, times=sender.times):
        case SendAgain():
            delay_s = retry_delay_s(Trouble.NETWORK, claimed.attempt, None)
            await outbox.settle_absent(database, worker_id, claimed, part, delay_s)
        case AskAgain(delay_s=delay_s):
            await outbox.ask_later(database, worker_id, claimed, part, detail, delay_s)
        case LeaveUnknown():
            await outbox.ask_later(database, worker_id, claimed, part, detail, None)


async def _look(sender: _Sender, channel: Reconciles, claimed: Claimed, part: int) -> Sighting:
    known = await outbox.known_ids(sender.database, claimed)
    if part >= len(claimed.parts):
        return NotTold(detail="nothing says how it was being sent")
    file = next((file for file in claimed.files if file.id == claimed.parts[part].file_id), None)
    outbound = _outbound(sender, file, b"") if file else None
    message = _message(claimed, part, claimed.parts[part].text, outbound)
    since = claimed.parts[part].begun_at or claimed.written_at
    try:
        async with asyncio.timeout(CALL_LIMIT_S):
            return await channel.find(message, since=since, known=known)
    except Exception as error:  # as above
        log.exception("outbox %d: the channel failed", claimed.id)
        return NotTold(detail=type(error).__name__)


def _message(claimed: Claimed, part: int, text: str, file: OutboundFile | None = None) -> OutboundMessage:
    return OutboundMessage(
        tenant_id=claimed.tenant_id, reply_id=claimed.id, part=part, to=claimed.to, text=text, file=file
    )

"""Long conversations and long messages against a real PostgreSQL: summarised once, metered, read from there on."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
import pytest

from subclaw.core.agent import AgentSettings
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.errors import Unavailable
from subclaw.core.event import (
    Event,
    HistorySummarised,
    MessageReceived,
    ModelReplied,
    ReplyQueued,
    ReplySent,
    SummaryFailed,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnOutcome,
    TurnStarted,
)
from subclaw.core.model import ModelReply, Prompt, TooLong, Usage, UserSaid
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller, ToolCall, ToolDefinition
from subclaw.core.turn import Lease
from subclaw.store import conversations
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.events import decode
from subclaw.store.notify import worker_life
from subclaw.testing.models import Answer, ScriptedModel, calls, words
from subclaw.tools.toolbox import BuiltInToolbox, Tool
from subclaw.turns.attention import Notice
from subclaw.turns.intake import StoreIntake
from subclaw.turns.long_message import WHOLE_CHARACTERS, path_of
from subclaw.turns.prompt import SUMMARY_REQUEST
from subclaw.turns.run import Turns, run_turn

USAGE = Usage(model="m", input_tokens=3, output_tokens=4)
WINDOW_TOKENS = 16_000


class Folder:
    """A tenant's files. The first `away` times the machine cannot be had."""

    def __init__(self, *, away: int = 0) -> None:
        self.files: dict[str, bytes] = {}
        self.writes = 0
        self._away = away

    async def write(self, tenant_id: TenantId, path: str, content: bytes) -> None:
        self.writes += 1
        if self.writes <= self._away:
            raise Unavailable("The machine is busy.")
        self.files[path] = content


async def results(caller: Caller, arguments: Any) -> str:
    return "x" * 3_000


def turns(database: Database, model: ScriptedModel, files: Folder | None = None) -> Turns:
    definition = ToolDefinition(name="act", description="", parameters={"type": "object"}, idempotent=True)
    return Turns(
        database=database,
        model=model,
        toolbox=BuiltInToolbox([Tool(definition=definition, perform=results)]),
        agent=AgentSettings(),
        instructions=lambda _: "be kind",
        sends=lambda name: False,
        files=files,
        window_tokens=WINDOW_TOKENS,
    )


def answering(summary: Answer, *answers: Answer) -> ScriptedModel:
    """Return a model that answers a request for a summary with `summary`, and other prompts in order."""
    rest = list(answers)

    def answer(prompt: Prompt) -> Answer:
        if prompt.history[-1] == UserSaid(text=SUMMARY_REQUEST):
            return summary
        return rest.pop(0) if len(rest) > 1 else rest[0]

    return ScriptedModel([answer])


def of_summaries(model: ScriptedModel) -> list[Prompt]:
    return [prompt for prompt in model.prompts if prompt.history[-1] == UserSaid(text=SUMMARY_REQUEST)]


def run(address: DatabaseAddress, scenario: Callable[[Database, int], Awaitable[None]]) -> None:
    """Run a scenario with a database and the id of a live worker."""

    async def main() -> None:
        async with open_database(address, Role.APP) as database, worker_life(address) as (_, worker_id):
            await scenario(database, worker_id)

    asyncio.run(main())


async def say(database: Database, text: str, provider_id: str) -> None:
    sender = Address(channel="web", address="a")
    message = InboundMessage(sender=sender, provider_id=provider_id, text=text, received_at=datetime.now(UTC))
    await StoreIntake(database, sends=lambda _: False, public_url="http://localhost").receive(message)


async def claimed(database: Database, worker_id: int) -> Lease:
    (lease,) = await conversations.claim(database, worker_id, 1)
    return lease


async def answer(database: Database, worker_id: int, world: Turns, text: str, provider_id: str) -> None:
    await say(database, text, provider_id)
    assert await run_turn(world, await claimed(database, worker_id), Notice())


def rows(address: DatabaseAddress, query: LiteralString) -> list[tuple[Any, ...]]:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        return connection.execute(query).fetchall()


def test_a_long_conversation_is_summarised_metered_and_read_from_the_summary_on(address: DatabaseAddress) -> None:
    model = answering(words("They like cats."), words("reply " * 200))

    async def scenario(database: Database, worker_id: int) -> None:
        world = turns(database, model)
        for number in range(40):
            await answer(database, worker_id, world, f"message {number} " + "word " * 200, str(number))
        (first, *_) = model.prompts[-1].history
        assert isinstance(first, UserSaid)
        assert first.text.endswith("They like cats.")
        assert "message 39" in str(model.prompts[-1].history[-1])

    run(address, scenario)
    asked = of_summaries(model)
    assert 1 <= len(asked) <= 4
    before = model.prompts[model.prompts.index(asked[0]) - 1]
    assert before.tools == asked[0].tools
    assert asked[0].history[:10] == before.history[:10], "the provider has it in its cache"
    ((summaries, metered),) = rows(
        address,
        "SELECT count(*), count(u.seq) FROM event e LEFT JOIN usage u USING (conversation_id, seq) "
        "WHERE e.type = 'history.summarised'",
    )
    assert summaries == metered == len(asked)
    assert rows(address, "SELECT count(*) FROM event WHERE type = 'message.received'") == [(40,)], (
        "nothing is destroyed"
    )


@pytest.mark.parametrize("failure", [Unavailable("down"), words(""), calls(("act", "{}"))])
def test_without_a_summary_the_oldest_is_left_out_and_said_so(address: DatabaseAddress, failure: Answer) -> None:
    model = answering(failure, words("reply " * 300))

    async def scenario(database: Database, worker_id: int) -> None:
        world = turns(database, model)
        for number in range(40):
            await answer(database, worker_id, world, f"message {number} " + "word " * 300, str(number))

    run(address, scenario)
    last = model.prompts[-1].history
    assert "left out" in str(last[0])
    assert "message 39" in str(last[-1])
    assert 1 <= len(of_summaries(model)) <= 4
    metered = rows(address, "SELECT count(*) FROM usage")
    paid = 0 if isinstance(failure, Exception) else len(of_summaries(model))
    assert metered == [(40 + paid,)]


def test_one_turn_is_summarised_once_however_long_it_gets(address: DatabaseAddress) -> None:
    counter = iter(range(1000))

    def long(prompt: Prompt) -> Answer:
        if prompt.history[-1] == UserSaid(text=SUMMARY_REQUEST):
            return words("So far so good.")
        return calls(("act", f'{{"number": {next(counter)}, "text": "{"y" * 5_000}"}}'))

    model = ScriptedModel([long])

    async def scenario(database: Database, worker_id: int) -> None:
        await answer(database, worker_id, turns(database, model), "go on for ever", "1")

    run(address, scenario)
    assert len(of_summaries(model)) == 1
    assert len(model.prompts) == AgentSettings().step_limit + 1
    for prompt in model.prompts:
        assert "go on for ever" in str(prompt.history)


def test_stop_ends_the_wait_for_a_summary(address: DatabaseAddress) -> None:
    class Stuck(ScriptedModel):
        asked = asyncio.Event()

        async def ask(self, prompt: Prompt) -> ModelReply:
            if prompt.history[-1] == UserSaid(text=SUMMARY_REQUEST):
                self.asked.set()
                await asyncio.Event().wait()
            return await super().ask(prompt)

    model = Stuck([words("reply " * 200)])

    async def scenario(database: Database, worker_id: int) -> None:
        world = turns(database, model)
        for number in range(40):
            notice = Notice()
            await say(database, f"message {number} " + "word " * 200, str(number))
            running = asyncio.create_task(run_turn(world, await claimed(database, worker_id), notice))
            asked = asyncio.create_task(model.asked.wait())
            await asyncio.wait((running, asked), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await say(database, "stop", "stop")
                notice.tell_said()
            assert await running
            asked.cancel()
            if model.asked.is_set():
                return
        raise AssertionError("no summary was asked for")

    run(address, scenario)
    assert rows(
        address, "SELECT body ->> 'outcome' FROM event WHERE type = 'turn.finished' ORDER BY seq DESC LIMIT 1"
    ) == [("stopped",)]


def test_a_prompt_that_is_too_long_after_all_is_sent_half_as_long(address: DatabaseAddress) -> None:
    answers: list[Answer] = [*[words("reply " * 200)] * 10, TooLong("too long"), words("still here")]
    model = ScriptedModel(answers)

    async def scenario(database: Database, worker_id: int) -> None:
        world = turns(database, model)
        for number in range(11):
            await answer(database, worker_id, world, f"message {number} " + "word " * 200, str(number))

    run(address, scenario)
    refused, sent = model.prompts[-2:]
    assert len(str(sent.history)) < 0.6 * len(str(refused.history))
    assert sent.history[-1] == refused.history[-1]
    assert rows(address, "SELECT body ->> 'text' FROM event WHERE type = 'reply.queued' ORDER BY seq")[-1] == (
        "still here",
    )


def test_a_prompt_that_is_too_long_twice_is_told_in_words(address: DatabaseAddress) -> None:
    model = ScriptedModel([TooLong("too long")])

    async def scenario(database: Database, worker_id: int) -> None:
        await answer(database, worker_id, turns(database, model), "hello", "1")

    run(address, scenario)
    assert len(model.prompts) == 2
    ((reply,),) = rows(address, "SELECT body ->> 'text' FROM event WHERE type = 'reply.queued'")
    assert "too long" in reply


def told(prompt: Prompt) -> str:
    return next(said.text for said in prompt.history if isinstance(said, UserSaid))


def test_a_long_message_is_put_in_a_file_and_said_so(address: DatabaseAddress) -> None:
    text = "begin " + "x" * WHOLE_CHARACTERS + " end"
    model = ScriptedModel([words("seen"), words("and now")])
    folder = Folder()

    async def scenario(database: Database, worker_id: int) -> None:
        world = turns(database, model, folder)
        await answer(database, worker_id, world, text, "one/../two")
        await answer(database, worker_id, world, "and now?", "2")

    run(address, scenario)
    path = path_of(MessageReceived(text=text, provider_id="one/../two"))
    assert folder.files == {path: text.encode()}
    assert folder.writes == 1
    first, second = map(told, model.prompts)
    assert first == second
    assert path in first
    assert first.startswith("begin xxx")
    assert first.endswith("xxx end")
    assert len(first) < WHOLE_CHARACTERS / 2


@pytest.mark.parametrize("folder", [None, Folder(away=1)])
def test_a_long_message_is_cut_in_words_where_it_cannot_be_put_in_a_file(
    address: DatabaseAddress, folder: Folder | None
) -> None:
    model = ScriptedModel([calls(("act", "{}")), words("seen")])

    async def scenario(database: Database, worker_id: int) -> None:
        await answer(database, worker_id, turns(database, model, folder), "x" * (WHOLE_CHARACTERS + 1), "1")

    run(address, scenario)
    for prompt in model.prompts:
        assert "ask for them in parts" in told(prompt)
    assert folder is None or folder.writes == 1


def test_a_turn_that_is_taken_over_writes_the_same_file(address: DatabaseAddress) -> None:
    text = "x" * 50_000

    class Dying(Folder):
        async def write(self, tenant_id: TenantId, path: str, content: bytes) -> None:
            await super().write(tenant_id, path, content)
            if self.writes == 1:
                raise RuntimeError("killed after it wrote")

    folder = Dying()
    model = ScriptedModel([words("seen")])

    async def scenario(database: Database, worker_id: int) -> None:
        world = turns(database, model, folder)
        await say(database, text, "1")
        lease = await claimed(database, worker_id)
        with pytest.raises(RuntimeError, match="killed"):
            await run_turn(world, lease, Notice())
        assert await run_turn(world, lease, Notice())

    run(address, scenario)
    assert folder.writes == 2
    assert list(folder.files.values()) == [text.encode()]
    assert len(model.prompts) == 1


async def write(database: Database, lease: Lease, events: Sequence[Event]) -> None:
    for start in range(0, len(events), 500):
        await conversations.append(database, lease, events[start : start + 500])


def simple_turn(number: int, text: str = "hello") -> list[Event]:
    return [
        TurnStarted(),
        MessageReceived(text=f"{number} {text}", provider_id=f"p{number}"),
        ModelReplied(text=f"reply {number}", calls=(), usage=USAGE),
        ReplyQueued(text=f"reply {number}"),
        TurnFinished(outcome=TurnOutcome.ANSWERED),
        ReplySent(outbox_id=number, delivery="sent"),
    ]


def read(
    address: DatabaseAddress, events: Sequence[Event], *, limit: int = 500, limit_bytes: int = 10**7
) -> list[Event]:
    """Return what a turn reads of a transcript that a worker has written."""
    found: list[Event] = []

    async def scenario(database: Database, worker_id: int) -> None:
        await say(database, "hello", "first")
        lease = await claimed(database, worker_id)
        await write(database, lease, events)
        ((_, read),) = await database.rows(
            "SELECT be_tenant(%s), transcript_from_summary(%s, %s, %s)",
            lease.tenant_id,
            lease.conversation_id,
            limit,
            limit_bytes,
        )
        found.extend(decode(read))

    run(address, scenario)
    return found


def messages(events: Sequence[Event]) -> list[int]:
    return [int(event.text.split()[0]) for event in events if isinstance(event, MessageReceived)]


def test_all_is_read_but_what_no_model_is_told_of(address: DatabaseAddress) -> None:
    due = ReplyQueued(text="drink", schedule_id=3)
    events = [*simple_turn(1), due, *simple_turn(2)[:3]]
    assert read(address, events) == [*events[:3], due, *events[7:]]


@pytest.mark.parametrize(("limit", "first"), [(1, 49), (10, 47), (100, 17), (1_000, 0)])
def test_at_most_so_many_events_are_read_from_the_beginning_of_a_turn_on(
    address: DatabaseAddress, limit: int, first: int
) -> None:
    events = [event for number in range(50) for event in simple_turn(number)]
    found = read(address, events, limit=limit)
    assert isinstance(found[0], TurnStarted)
    assert messages(found) == list(range(first, 50))


def test_at_most_so_many_bytes_are_read_compressed_or_not(address: DatabaseAddress) -> None:
    events = [event for number in range(20) for event in simple_turn(number, "x" * 50_000)]
    assert messages(read(address, events, limit_bytes=210_000)) == [16, 17, 18, 19]


def test_the_last_turn_is_read_whole_however_long(address: DatabaseAddress) -> None:
    steps: list[Event] = []
    for number in range(300):
        call = ToolCall(id=f"c{number}", name="act", arguments="{}")
        steps += [
            ModelReplied(text="", calls=(call,), usage=USAGE),
            ToolStarted(call_id=call.id),
            ToolFinished(call_id=call.id, content="x" * 100, is_error=False),
        ]
    turn = [TurnStarted(), MessageReceived(text="7 hello", provider_id="7"), *steps]
    assert read(address, [*simple_turn(1), *turn], limit=20, limit_bytes=1_000) == turn


def summarised(kept_replies: int) -> HistorySummarised:
    return HistorySummarised(text="in short", kept_replies=kept_replies, usage=USAGE)


def test_it_is_read_from_what_the_last_summary_kept_whatever_came_in_between(address: DatabaseAddress) -> None:
    before = [event for number in range(5) for event in simple_turn(number)]
    turn: list[Event] = [TurnStarted(), MessageReceived(text="5 hello", provider_id="p5")]
    foreign = ReplySent(outbox_id=99, delivery="sent")
    after = [ModelReplied(text="reply 5", calls=(), usage=USAGE)]
    found = read(address, [*before, *turn, foreign, summarised(kept_replies=2), *after])
    assert messages(found) == [3, 4, 5]
    assert [event for event in found if isinstance(event, HistorySummarised)] == [summarised(kept_replies=2)]


def test_a_summary_is_read_with_the_whole_of_its_turn(address: DatabaseAddress) -> None:
    turn: list[Event] = [TurnStarted(), MessageReceived(text="9 hello", provider_id="9")]
    turn += [ModelReplied(text=f"{number}", calls=(), usage=USAGE) for number in range(5)]
    assert read(address, [*simple_turn(1), *turn, summarised(kept_replies=0)]) == [*turn, summarised(kept_replies=0)]


def test_the_last_summary_is_read_even_if_it_lies_further_back_than_the_limit(address: DatabaseAddress) -> None:
    events: list[Event] = [*simple_turn(0), summarised(kept_replies=0), SummaryFailed(usage=None)]
    events += [event for number in range(1, 30) for event in simple_turn(number)]
    found = read(address, events, limit=10)
    assert found[0] == summarised(kept_replies=0)
    assert messages(found) == [27, 28, 29]

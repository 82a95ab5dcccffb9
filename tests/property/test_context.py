"""What a model is sent of any conversation, in a window of any size."""

from collections import Counter
from collections.abc import Iterable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from subclaw.core.context import (
    LEFT_OUT,
    SHORTEST_MESSAGE_CHARACTERS,
    TRIM_STRIDE,
    Fitted,
    OldPart,
    Room,
    fit,
    fit_or_part,
    room_of,
)
from subclaw.core.event import (
    Event,
    HistorySummarised,
    MessageKept,
    MessageReceived,
    ModelFailed,
    ModelReplied,
    ReplyQueued,
    ReplySent,
    ScheduleDue,
    SummaryFailed,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnOutcome,
    TurnStarted,
)
from subclaw.core.model import ModelSaid, ToolSaid, Usage, UserSaid, Utterance
from subclaw.core.tokens import text_tokens, utterance_tokens
from subclaw.core.tool import ToolCall
from subclaw.core.transcript import current_turn

FIXED_TOKENS = 200

texts = st.tuples(st.sampled_from("aé漢🙂"), st.one_of(st.integers(0, 50), st.integers(0, 20_000))).map(
    lambda drawn: drawn[0] * drawn[1]
)
rooms = st.integers(300, 60_000).map(lambda window_tokens: room_of(window_tokens, FIXED_TOKENS))


class Writer:
    """Writes a transcript, in which every text begins with a number of its own."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._number = 0

    def text(self, text: str) -> str:
        self._number += 1
        return f"#{self._number} {text}"

    def say(self, text: str) -> None:
        said = self.text(text)
        self.events.append(MessageReceived(text=said, provider_id=said[:20]))

    def reply(self, text: str, results: Sequence[str], counted: int) -> None:
        ids = [self.text("id") for _ in results]
        calls = tuple(ToolCall(id=id, name="shell_exec", arguments="{}") for id in ids)
        usage = Usage(model="m", input_tokens=counted, output_tokens=1)
        self.events.append(ModelReplied(text=self.text(text), calls=calls, usage=usage))
        for id, content in zip(ids, results, strict=True):
            self.events += [
                ToolStarted(call_id=id),
                ToolFinished(call_id=id, content=self.text(content), is_error=False),
            ]


@st.composite
def transcripts(draw: st.DrawFn) -> list[Event]:
    """Return any transcript whose last turn is to be answered."""
    writer = Writer()
    turns = draw(st.integers(1, 6))
    for number in range(turns):
        writer.events.append(TurnStarted())
        writer.say(draw(texts))
        for kind in draw(
            st.lists(st.sampled_from(["say", "reply", "fail", "due", "note", "kept", "sum", "sent"]), max_size=8)
        ):
            match kind:
                case "say":
                    writer.say(draw(texts))
                case "reply":
                    results = draw(st.lists(texts, min_size=1, max_size=4))
                    writer.reply(draw(texts), results, draw(st.one_of(st.just(0), st.integers(0, 50_000))))
                case "fail":
                    writer.events.append(ModelFailed(public=writer.text("sorry")))
                case "due":
                    writer.events.append(ScheduleDue(schedule_id=1, text=writer.text("due")))
                case "note":
                    writer.events.append(ReplyQueued(text=writer.text("note"), schedule_id=2))
                case "kept":
                    long = [event for event in writer.events if isinstance(event, MessageReceived)][-1]
                    kept = MessageKept(
                        provider_id=long.provider_id, path="/f", shown_characters=draw(st.integers(10, 30))
                    )
                    writer.events.append(kept)
                case "sum":
                    usage = Usage(model="m", input_tokens=1, output_tokens=1)
                    kept_replies = draw(st.integers(0, 4))
                    text = writer.text(draw(texts))
                    writer.events.append(HistorySummarised(text=text, kept_replies=kept_replies, usage=usage))
                case _:
                    writer.events.append(ReplySent(outbox_id=1, delivery="sent"))
        if number < turns - 1:
            writer.reply(draw(texts), [], draw(st.integers(0, 50_000)))
            writer.events.append(TurnFinished(outcome=TurnOutcome.ANSWERED))
    return writer.events


def newest_message(events: Sequence[Event]) -> MessageReceived | ScheduleDue:
    return [event for event in events if isinstance(event, MessageReceived | ScheduleDue)][-1]


def mark(text: str) -> str:
    """Return the number that a text of the writer's begins with."""
    return f"#{text.partition('#')[2].partition(' ')[0]} "


def estimated(history: Iterable[Utterance]) -> int:
    return FIXED_TOKENS + sum(map(utterance_tokens, history))


@given(transcripts(), rooms)
@settings(max_examples=300)
def test_it_fits_or_nothing_shorter_can_be_said(events: list[Event], room: Room) -> None:
    fitted = fit(events, room)
    assert fitted.history
    if fitted.tokens <= room.prompt_tokens:
        return
    (message,) = [said for said in fitted.history if said != UserSaid(text=LEFT_OUT)]
    assert isinstance(message, UserSaid)
    assert len(fitted.history) <= 2
    assert len(message.text) <= 2 * SHORTEST_MESSAGE_CHARACTERS + 200


@given(transcripts(), rooms)
def test_what_is_said_to_take_so_many_tokens_takes_no_more_uncorrected(events: list[Event], room: Room) -> None:
    uncounted = [
        ModelReplied(text=e.text, calls=e.calls, usage=Usage(model="m", input_tokens=0, output_tokens=0))
        if isinstance(e, ModelReplied)
        else e
        for e in events
    ]
    fitted = fit(uncounted, room)
    assert estimated(fitted.history) <= fitted.tokens


@given(transcripts(), rooms)
def test_each_call_is_followed_by_its_result(events: list[Event], room: Room) -> None:
    expected: list[ToolCall] = []
    for utterance in fit(events, room).history:
        if isinstance(utterance, ToolSaid):
            assert expected.pop(0) == utterance.call
        else:
            assert not expected
            expected = list(utterance.calls) if isinstance(utterance, ModelSaid) else []
    assert not expected


@given(transcripts(), rooms)
def test_the_newest_message_is_there_whole_unless_it_alone_is_too_large(events: list[Event], room: Room) -> None:
    newest = newest_message(events)
    fitted = fit(events, room)
    (told,) = [said.text for said in fitted.history if isinstance(said, UserSaid) and mark(newest.text) in said.text]
    kept = any(isinstance(event, MessageKept) and event.provider_id == mark_id(newest) for event in events)
    largest = 3 * (text_tokens(newest.text) + 300) + FIXED_TOKENS * 3
    if not kept and largest <= room.prompt_tokens:
        assert newest.text in told


def mark_id(event: MessageReceived | ScheduleDue) -> str:
    return event.provider_id if isinstance(event, MessageReceived) else ""


@given(transcripts(), rooms)
def test_nothing_is_told_twice_and_all_in_order(events: list[Event], room: Room) -> None:
    history = fit(events, room).history
    calls = Counter(said.call.id for said in history if isinstance(said, ToolSaid))
    words = [said.text for said in history if isinstance(said, UserSaid | ModelSaid) and "#" in said.text]
    assert not calls or max(calls.values()) == 1
    assert len(set(map(mark, words))) == len(words)
    summaries = [text for text in words if "summary" in text.partition("#")[0]]
    numbers = [int(mark(text)[1:]) for text in words if text not in summaries]
    assert numbers == sorted(numbers)
    assert words[: len(summaries)] == summaries
    assert len(summaries) <= 1


@given(transcripts(), rooms)
def test_a_prompt_goes_on_where_the_one_before_ended_but_for_large_strides(events: list[Event], room: Room) -> None:
    remade = 0
    before: tuple[Utterance, ...] = ()
    for end in range(1, len(events) + 1):
        if open_calls(events[:end]):
            continue
        fitted = fit(events[:end], room)
        asked_anew = isinstance(events[end - 1], HistorySummarised | MessageKept)
        if fitted.tokens > room.prompt_tokens or is_left_out(fitted.history):
            return
        remade += not asked_anew and fitted.history[: len(before)] != before
        before = fitted.history
    results = sum(text_tokens(event.content) for event in events if isinstance(event, ToolFinished))
    assert remade * TRIM_STRIDE * room.prompt_tokens <= results


def is_left_out(history: Sequence[Utterance]) -> bool:
    return any(isinstance(said, UserSaid) and "left out" in said.text for said in history)


def open_calls(events: Sequence[Event]) -> bool:
    made = {call.id for event in events if isinstance(event, ModelReplied) for call in event.calls}
    return bool(made - {event.call_id for event in events if isinstance(event, ToolFinished)})


@given(transcripts(), rooms)
def test_a_summary_stands_for_the_beginning_and_keeps_the_rest(events: list[Event], room: Room) -> None:
    part = fit_or_part(events, room, "sum it up")
    tried = any(isinstance(event, HistorySummarised | SummaryFailed) for event in current_turn(events) or ())
    if not isinstance(part, OldPart):
        assert part == fit(events, room)
        return
    assert not tried
    assert part.fitted.history[-1] == UserSaid(text="sum it up")
    usage = Usage(model="m", input_tokens=1, output_tokens=1)
    summarised = [*events, HistorySummarised(text="in short", kept_replies=part.kept_replies, usage=usage)]
    whole = Room(prompt_tokens=10**9, fixed_tokens=FIXED_TOKENS)
    before, (summary, *after) = fit(events, whole).history, fit(summarised, whole).history
    assert isinstance(summary, UserSaid)
    assert summary.text.endswith("in short")
    replies = [said for said in after if isinstance(said, ModelSaid)]
    assert len(replies) == part.kept_replies
    kept = next(index for index, said in enumerate(after) if said == replies[0])
    assert tuple(after[kept:]) == before[len(before) - len(after) + kept :]
    own = [event.text for event in current_turn(events) or () if isinstance(event, MessageReceived)]
    told = " ".join(said.text for said in after if isinstance(said, UserSaid))
    assert all(mark(text) in told for text in own)
    assert isinstance(fit_or_part(summarised, room, "again"), Fitted)

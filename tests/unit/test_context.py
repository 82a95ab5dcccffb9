"""A conversation that grows: what is trimmed, summarised and left out of it, and how often."""

from collections.abc import Sequence

from subclaw.core.context import (
    LEFT_OUT,
    TRIMMED,
    UNTRIMMED_CALLS,
    OldPart,
    Room,
    fit,
    fit_or_part,
    room_of,
)
from subclaw.core.event import (
    Event,
    HistorySummarised,
    MessageReceived,
    ModelReplied,
    SummaryFailed,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnOutcome,
    TurnStarted,
)
from subclaw.core.history import history
from subclaw.core.model import ModelSaid, ToolSaid, Usage, UserSaid, Utterance
from subclaw.core.tool import ToolCall

ROOM = room_of(32_000, fixed_tokens=1_000)
REQUEST = "sum it up"
BYTES_PER_REAL_TOKEN = 4.2


def provider_tokens(said: Sequence[Utterance]) -> int:
    """Count a prompt as a provider would: so many bytes are a token, and something comes with each utterance."""
    return 700 + round(sum(len(repr(utterance)) for utterance in said) / BYTES_PER_REAL_TOKEN)


class Conversation:
    """A conversation as a worker leads it: summarised when it is due, and counted by a provider."""

    def __init__(self, room: Room = ROOM, *, can_summarise: bool = True) -> None:
        self.room = room
        self.events: list[Event] = []
        self.prompts: list[tuple[Utterance, ...]] = []
        self.summaries = 0
        self._can_summarise = can_summarise
        self._number = 0

    def turn(self, message: str, results: Sequence[str], reply: str) -> None:
        self._number += 1
        self.events += [TurnStarted(), MessageReceived(text=message, provider_id=str(self._number))]
        for number, result in enumerate(results):
            call = ToolCall(id=f"{self._number}.{number}", name="shell_exec", arguments=f'{{"command": "{number}"}}')
            self.ask("", call)
            self.events += [
                ToolStarted(call_id=call.id),
                ToolFinished(call_id=call.id, content=result, is_error=False),
            ]
        self.ask(reply)
        self.events.append(TurnFinished(outcome=TurnOutcome.ANSWERED))

    def ask(self, text: str, *calls: ToolCall) -> None:
        part = fit_or_part(self.events, self.room, REQUEST)
        if isinstance(part, OldPart):
            self.summaries += 1
            self.events.append(self.summarised(part.fitted.history, part.kept_replies))
        prompt = fit(self.events, self.room)
        assert prompt.tokens <= self.room.prompt_tokens
        assert provider_tokens(prompt.history) <= self.room.prompt_tokens
        self.prompts.append(prompt.history)
        usage = Usage(model="m", input_tokens=provider_tokens(prompt.history), output_tokens=1)
        self.events.append(ModelReplied(text=text, calls=calls, usage=usage))

    def summarised(self, asked: Sequence[Utterance], kept_replies: int) -> Event:
        usage = Usage(model="m", input_tokens=provider_tokens(asked), output_tokens=1)
        if not self._can_summarise:
            return SummaryFailed(usage=None)
        return HistorySummarised(text="in short, " * 100, kept_replies=kept_replies, usage=usage)

    def made_anew(self) -> int:
        """Return how many prompts did not begin with the whole of the one before."""
        pairs = zip(self.prompts, self.prompts[1:], strict=False)
        return sum(after[: len(before)] != before for before, after in pairs)


def test_a_short_conversation_is_told_whole_and_each_prompt_goes_on_where_the_last_ended() -> None:
    conversation = Conversation()
    for number in range(20):
        conversation.turn(f"message {number}", ["result"], f"reply {number}")
    assert conversation.made_anew() == 0
    assert conversation.prompts[-1] == history(conversation.events)[:-1]


def test_old_results_are_trimmed_in_strides_that_the_cache_survives() -> None:
    conversation = Conversation(room_of(128_000, fixed_tokens=1_000))
    for number in range(20):
        conversation.turn(f"message {number}", ["x" * 8_000], "done")
    assert conversation.summaries == 0
    results = [said.content for said in conversation.prompts[-1] if isinstance(said, ToolSaid)]
    assert results[0] == "x" * 8_000
    for number in range(60):
        conversation.turn(f"message {number}", ["x" * 8_000], "done")
    results = [said.content for said in conversation.prompts[-1] if isinstance(said, ToolSaid)]
    assert results[0] == TRIMMED
    assert "x" * 8_000 in results
    assert results[-UNTRIMMED_CALLS:] == ["x" * 8_000] * UNTRIMMED_CALLS
    assert conversation.made_anew() <= 5, "of 160 prompts"


def test_a_turn_of_many_steps_has_its_own_old_results_trimmed_and_is_seldom_summarised() -> None:
    conversation = Conversation()
    conversation.turn("look at all of it", ["x" * 6_000] * 60, "done")
    assert UserSaid(text="look at all of it") in conversation.prompts[-1]
    assert conversation.summaries <= 1
    assert conversation.made_anew() <= 15, "of 61 prompts"


def test_words_alone_are_summarised_now_and_then() -> None:
    conversation = Conversation()
    for number in range(300):
        conversation.turn(f"message {number} " + "word " * 100, [], f"reply {number} " + "word " * 100)
    assert 3 <= conversation.summaries <= 10
    assert conversation.made_anew() <= conversation.summaries
    assert any(isinstance(said, UserSaid) and "in short" in said.text for said in conversation.prompts[-1][:1])


def test_very_many_short_messages_are_summarised_too() -> None:
    conversation = Conversation(room_of(1_000_000, fixed_tokens=1_000))
    for number in range(400):
        conversation.turn(f"message {number}", [], "ok")
    assert 1 <= conversation.summaries <= 8
    assert max(map(len, conversation.prompts)) <= 210


def test_a_summary_that_fails_is_tried_once_a_turn_and_the_oldest_is_left_out_in_strides() -> None:
    conversation = Conversation(can_summarise=False)
    for number in range(200):
        conversation.turn(f"message {number} " + "word " * 100, [], f"reply {number} " + "word " * 100)
    assert LEFT_OUT in str(conversation.prompts[-1])
    assert "message 199" in str(conversation.prompts[-1])
    assert conversation.made_anew() <= 20
    assert conversation.summaries <= 20, "one in ten turns"


def test_what_a_summary_keeps_is_told_once_and_begins_with_what_was_said() -> None:
    conversation = Conversation()
    for number in range(3):
        conversation.turn(f"message {number}", ["result"], f"reply {number}")
    usage = Usage(model="m", input_tokens=1, output_tokens=1)
    conversation.events += [TurnStarted(), MessageReceived(text="and now?", provider_id="9")]
    conversation.events.append(HistorySummarised(text="in short", kept_replies=2, usage=usage))
    summary, *said = history(conversation.events)
    assert isinstance(summary, UserSaid)
    assert summary.text.endswith("in short")
    assert [utterance.text for utterance in said if isinstance(utterance, UserSaid)] == ["message 2", "and now?"]
    assert [utterance.text for utterance in said if isinstance(utterance, ModelSaid)] == ["", "reply 2"]


def test_a_message_of_the_turn_survives_a_summary_in_its_middle() -> None:
    usage = Usage(model="m", input_tokens=1, output_tokens=1)
    events: list[Event] = [TurnStarted(), MessageReceived(text="build it", provider_id="1")]
    for number in range(5):
        call = ToolCall(id=str(number), name="shell_exec", arguments="{}")
        events.append(ModelReplied(text="", calls=(call,), usage=usage))
        events.append(ToolFinished(call_id=call.id, content=f"result {number}", is_error=False))
    events.append(HistorySummarised(text="in short", kept_replies=1, usage=usage))
    _, message, _, result = history(events)
    assert message == UserSaid(text="build it")
    assert isinstance(result, ToolSaid)
    assert result.content == "result 4"


def test_counts_of_a_provider_that_lies_far_off_do_no_harm() -> None:
    for counted in (1, 10**9):
        events: list[Event] = [TurnStarted(), MessageReceived(text="hello", provider_id="1")]
        usage = Usage(model="m", input_tokens=counted, output_tokens=1)
        events.append(ModelReplied(text="hi", calls=(), usage=usage))
        assert fit([*events, MessageReceived(text="more", provider_id="2")], ROOM).history == (
            UserSaid(text="hello"),
            ModelSaid(text="hi"),
            UserSaid(text="more"),
        )

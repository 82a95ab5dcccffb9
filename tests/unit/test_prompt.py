"""The prompts of a turn: the next step's, half as long a one, and the request for a summary."""

from subclaw.core.event import Event, MessageReceived, ModelReplied, TurnFinished, TurnOutcome, TurnStarted
from subclaw.core.model import ModelSaid, Usage, UserSaid
from subclaw.core.tool import ToolDefinition
from subclaw.turns.prompt import (
    SUMMARY_REQUEST,
    SummaryWanted,
    make_frame,
    make_half_prompt,
    make_prompt,
    next_prompt,
)

TOOL = ToolDefinition(name="act", description="Act.", parameters={"type": "object"}, idempotent=True)
FRAME = make_frame("be kind", [TOOL], window_tokens=16_000)


def conversation(turns: int) -> list[Event]:
    """Return a conversation in which the last message is to be answered."""
    events: list[Event] = []
    for number in range(turns):
        usage = Usage(model="m", input_tokens=0, output_tokens=1)
        events += [
            TurnStarted(),
            MessageReceived(text=f"message {number} " + "word " * 100, provider_id=str(number)),
            ModelReplied(text=f"reply {number} " + "word " * 100, calls=(), usage=usage),
            TurnFinished(outcome=TurnOutcome.ANSWERED),
        ]
    return [*events, TurnStarted(), MessageReceived(text="and now?", provider_id="now")]


def test_a_prompt_has_the_instructions_the_tools_and_the_history() -> None:
    prompt = make_prompt(FRAME, [TurnStarted(), MessageReceived(text="hello", provider_id="1")])
    assert (prompt.instructions, list(prompt.tools), prompt.history) == ("be kind", [TOOL], (UserSaid(text="hello"),))


def test_half_a_prompt_is_at_most_half_as_long_and_ends_the_same() -> None:
    events = conversation(20)
    whole, half = make_prompt(FRAME, events), make_half_prompt(FRAME, events)
    assert len(str(half.history)) <= len(str(whole.history)) / 2
    assert half.history[-1] == whole.history[-1] == UserSaid(text="and now?")


def test_instructions_and_tools_take_of_the_room() -> None:
    assert next_prompt(FRAME, conversation(20)) == make_prompt(FRAME, conversation(20))
    talkative = make_frame("be kind " * 3_000, [TOOL], window_tokens=16_000)
    assert isinstance(next_prompt(talkative, conversation(20)), SummaryWanted)


def test_a_summary_is_asked_for_after_the_beginning_of_the_usual_prompt() -> None:
    events = conversation(40)
    wanted = next_prompt(FRAME, events)
    assert isinstance(wanted, SummaryWanted)
    assert wanted.prompt.history[-1] == UserSaid(text=SUMMARY_REQUEST)
    assert isinstance(wanted.prompt.history[-2], ModelSaid)
    assert (wanted.prompt.instructions, wanted.prompt.tools) == (FRAME.instructions, FRAME.tools)
    assert 0 < wanted.kept_replies < 40

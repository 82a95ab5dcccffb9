"""What a model is told of a conversation in which it once refused to answer."""

from subclaw.core.event import (
    Event,
    HistorySummarised,
    MessageReceived,
    ModelReplied,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnOutcome,
    TurnStarted,
)
from subclaw.core.history import REFUSED, history
from subclaw.core.model import ModelSaid, Usage, UserSaid
from subclaw.core.tool import ToolCall

USAGE = Usage(model="m", input_tokens=1, output_tokens=1)
CALL = ToolCall(id="c1", name="look", arguments="{}")


def turn(text: str, *between: Event, reply: str, refused: bool = False) -> list[Event]:
    return [
        TurnStarted(),
        MessageReceived(text=text, provider_id=text),
        *between,
        ModelReplied(text=reply, calls=(), usage=USAGE, refused=refused),
        TurnFinished(outcome=TurnOutcome.ANSWERED),
    ]


def test_what_a_model_refused_to_answer_is_not_told_again() -> None:
    looked = (
        ModelReplied(text="", calls=(CALL,), usage=USAGE),
        ToolStarted(call_id="c1"),
        ToolFinished(call_id="c1", content="something dreadful", is_error=False),
    )
    events = [
        *turn("hello", reply="hi"),
        *turn("read that page", *looked, reply="I would rather not.", refused=True),
        *turn("and now?", reply="All is well."),
    ]
    assert history(events) == (
        UserSaid(text="hello"),
        ModelSaid(text="hi"),
        UserSaid(text=REFUSED),
        ModelSaid(text="I would rather not."),
        UserSaid(text="and now?"),
        ModelSaid(text="All is well."),
    )


def test_a_summary_that_was_made_before_a_refusal_is_told_all_the_same() -> None:
    summary = HistorySummarised(text="They like tea.", kept_replies=0, usage=USAGE)
    events = [*turn("hello", reply="hi"), *turn("do that", summary, reply="I would rather not.", refused=True)]
    told = history([*events, *turn("and now?", reply="All is well.")])
    assert isinstance(told[0], UserSaid)
    assert told[0].text.endswith("They like tea.")
    assert UserSaid(text=REFUSED) in told

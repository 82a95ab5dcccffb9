"""The tool that asks a model several prompts at once: in order, bounded, and what fails is said in its place."""

import asyncio
import json
from collections.abc import Sequence

import pytest

from subclaw.core.completion import PROMPTS_LIMIT, Asker
from subclaw.core.errors import Exhausted, SubclawError, Unavailable
from subclaw.core.model import REPLY_LIMIT_TOKENS, ModelReply, Prompt, UserSaid
from subclaw.core.tenant import TenantId
from subclaw.core.tool import RESULT_LIMIT_CHARACTERS, Caller, ToolCall, ToolResult
from subclaw.testing.models import words
from subclaw.tools.llm import SAID_NOTHING, llm_tools
from subclaw.tools.toolbox import BuiltInToolbox

CALLER = Caller(tenant_id=TenantId(7), conversation_id=70, call_id="1", turn_id="1")
DEFINITION_LIMIT_BYTES = 330


class Answering:
    """Answers in the order of a list, and keeps what it was asked."""

    def __init__(self, *answers: str | SubclawError) -> None:
        self._answers = answers
        self.asked: list[tuple[Asker, Sequence[Prompt]]] = []

    async def complete(self, asker: Asker, prompts: Sequence[Prompt]) -> Sequence[ModelReply | SubclawError]:
        self.asked.append((asker, prompts))
        return [words(answer) if isinstance(answer, str) else answer for answer in self._answers]


def perform(completions: Answering, **arguments: object) -> ToolResult:
    call = ToolCall(id="1", name="llm_complete", arguments=json.dumps(arguments))
    return asyncio.run(BuiltInToolbox(llm_tools(completions)).perform(CALLER, call))


def test_one_answer_comes_as_it_is() -> None:
    completions = Answering("four")
    assert perform(completions, prompts=["two and two?"]) == ToolResult(content="four")
    ((asker, (prompt,)),) = completions.asked
    assert asker == Asker(tenant_id=TenantId(7), conversation_id=70)
    assert prompt == Prompt(instructions="", history=[UserSaid(text="two and two?")], tools=())
    assert prompt.limit_tokens == REPLY_LIMIT_TOKENS


def test_several_come_in_order_with_their_numbers_and_what_failed_is_said_in_its_place() -> None:
    completions = Answering("one", Unavailable("The model is down."), "")
    result = perform(completions, prompts=["a", "b", "c"], system="Be brief.", max_tokens=5.0)
    assert result.content == f"[1]\none\n\n[2]\n(No answer: The model is down.)\n\n[3]\n{SAID_NOTHING}"
    assert not result.is_error
    ((_, prompts),) = completions.asked
    assert [(prompt.instructions, prompt.limit_tokens) for prompt in prompts] == [("Be brief.", 5)] * 3


def test_if_all_fail_it_is_an_error_in_words() -> None:
    completions = Answering(Exhausted("Today's allowance is used up."), Exhausted("Today's allowance is used up."))
    result = perform(completions, prompts=["a", "b"])
    assert result == ToolResult(content="Today's allowance is used up.", is_error=True)


@pytest.mark.parametrize("count", [1, 2, PROMPTS_LIMIT])
def test_each_answer_has_its_share_of_the_result(count: int) -> None:
    result = perform(Answering(*["x" * 100_000] * count), prompts=["a"] * count)
    assert 0.7 * RESULT_LIMIT_CHARACTERS < len(result.content) <= RESULT_LIMIT_CHARACTERS
    assert result.content.count("characters left out …]") == 0
    assert result.content.count("characters left out]") == count


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"prompts": []},
        {"prompts": [" "]},
        {"prompts": "a"},
        {"prompts": ["a"] * (PROMPTS_LIMIT + 1)},
        {"prompts": ["a"], "max_tokens": 0},
        {"prompts": ["a"], "system": 1},
    ],
)
def test_what_cannot_be_asked_is_refused(arguments: dict[str, object]) -> None:
    completions = Answering("never")
    assert perform(completions, **arguments).is_error
    assert completions.asked == []


def test_its_definition_is_short() -> None:
    (tool,) = llm_tools(Answering())
    function = {
        "name": tool.definition.name,
        "description": tool.definition.description,
        "parameters": tool.definition.parameters,
    }
    sent = json.dumps({"type": "function", "function": function}, separators=(",", ":"))
    assert len(sent.encode()) < DEFINITION_LIMIT_BYTES

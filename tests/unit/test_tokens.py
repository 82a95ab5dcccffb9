"""Estimates of tokens, and their correction by a provider's count."""

from subclaw.core.model import ModelSaid, Prompt, ToolSaid, UserSaid, Utterance
from subclaw.core.tokens import (
    CORRECTION_HIGHEST,
    CORRECTION_LOWEST,
    Gauge,
    prompt_tokens,
    text_tokens,
    tool_tokens,
    utterance_tokens,
)
from subclaw.core.tool import ToolCall, ToolDefinition


def test_text_is_estimated_by_its_bytes() -> None:
    assert [text_tokens(text) for text in ("", "abc", "abcd", "漢字", "🙂" * 3, "\ud800")] == [0, 1, 2, 2, 4, 1]


def test_a_count_corrects_what_it_counted_and_what_comes_after_never_to_less() -> None:
    gauge = Gauge(estimated=1_000)
    assert gauge.tokens == 1_000
    english = gauge.corrected(800).grown(100)
    assert english.tokens == 900
    dense = gauge.corrected(2_000).grown(100)
    assert dense.tokens == 2_200
    assert dense.shrunk(500).tokens == 1_200
    assert dense.corrected(0) == dense


def test_a_count_that_cannot_be_changes_little() -> None:
    gauge = Gauge(estimated=1_000)
    assert gauge.corrected(1).tokens == CORRECTION_LOWEST * 1_000
    assert gauge.corrected(10**9).tokens == CORRECTION_HIGHEST * 1_000


def test_all_of_a_prompt_is_estimated() -> None:
    call = ToolCall(id="c1", name="act", arguments='{"a": 1}')
    said: list[Utterance] = [
        UserSaid(text="hello"),
        ModelSaid(text="well", calls=(call,)),
        ToolSaid(call=call, content="done"),
    ]
    tool = ToolDefinition(name="act", description="Acts.", parameters={"type": "object"}, idempotent=True)
    prompt = Prompt(instructions="be kind", history=said, tools=(tool,))
    parts = text_tokens("be kind") + sum(map(utterance_tokens, said)) + tool_tokens(tool)
    assert prompt_tokens(prompt) == parts
    assert prompt_tokens(Prompt(instructions="be kind", history=said, tools=())) == parts - tool_tokens(tool)

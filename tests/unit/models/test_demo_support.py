"""The plays of the demo model for a shop's support."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

from subclaw.models.demo.model import demo_model
from subclaw.models.demo.support import support_play


def answered(said: str, *results: str, tools: Sequence[str] = ("order_status",)) -> ModelResponse:
    """Return what the demo says to a message, after the results of its calls."""
    messages: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart(content=said)])]
    for number, result in enumerate(results):
        part = ToolReturnPart(tool_name="any", content=result, tool_call_id=f"call_{number}")
        messages.append(ModelRequest(parts=[part]))
    parameters = ModelRequestParameters(function_tools=[ToolDefinition(name=name) for name in tools])
    return asyncio.run(demo_model().request(messages, None, parameters))


def words(response: ModelResponse) -> str:
    (part,) = response.parts
    assert isinstance(part, TextPart)
    return part.content


@pytest.mark.parametrize(
    ("said", "tool", "arguments"),
    [
        ("Where is my order 1001?", "order_status", {"order": "1001"}),
        ("Please refund 30 euros of order 1001.", "refund", {"order": "1001", "amount": 30.0}),
        ("I want my money back for 1002: 80.50", "refund", {"order": "1002", "amount": 80.5}),
        ("What did I order?", "list_orders", {}),
        ("When are you open?", "opening_hours", {}),
        ("Let me talk to a person", "escalate", {}),
    ],
)
def test_a_customers_words_become_a_call(said: str, tool: str, arguments: Mapping[str, object]) -> None:
    (act,) = support_play(said).acts
    assert act.tool == tool
    flat = {**act.arguments, **act.arguments.get("body", {})}
    assert {name: flat[name] for name in arguments} == arguments


def test_a_refund_that_lacks_something_is_asked_about() -> None:
    assert [support_play(said).acts for said in ("A refund!", "Refund order 1001", "Refund 30")] == [(), (), ()]


def test_it_says_what_the_tool_gave_and_what_went_wrong() -> None:
    (call,) = answered("Where is 1001?").parts
    assert isinstance(call, ToolCallPart)
    assert call.tool_name == "order_status"
    said = words(answered("Where is 1001?", '{"order": "1001", "state": "sent"}'))
    assert said == "This is your order: order 1001, state sent. [demo model]"
    assert words(answered("Orders?", '[{"order": "1"}, {"order": "2"}]')).startswith(
        "These are your orders: order 1; order 2."
    )
    assert words(answered("Refund 30 of 1001", "denied")).startswith("That did not work out. What I was told: denied")


def test_what_was_approved_is_still_what_was_wished_for() -> None:
    wish = UserPromptPart(content="Refund 80 of order 1002")
    waiting = ToolReturnPart(tool_name="refund", content="Waiting for a person's approval", tool_call_id="call_1")
    paid = ToolReturnPart(tool_name="refund", content='{"refund": "R-1"}', tool_call_id="call_2")
    messages: list[ModelMessage] = [ModelRequest(parts=[wish, waiting, UserPromptPart(content="OK 4821"), paid])]
    parameters = ModelRequestParameters(function_tools=[ToolDefinition(name="order_status")])
    said = words(asyncio.run(demo_model().request(messages, None, parameters)))
    assert said == "It is paid back: refund R-1. [demo model]"
    assert support_play("[The person declined refund, code 4821: it has not been done.]").acts == ()


def test_without_those_tools_it_is_the_demo_of_persons() -> None:
    assert "invoice" in words(answered("Where is my order?", tools=()))

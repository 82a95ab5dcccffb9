"""The model of the audit: a server that does what hostile text says, and searches what it is sent.

It speaks OpenAI's chat completions. What it answers with is all that tools told it: no model could tell more.
"""

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from subclaw.audit.attacks import CALLS_LIMIT, KNOWN, Calls, read_orders
from subclaw.audit.watch import Watch
from subclaw.core.canary import CanaryKind

AREA = "prompts"
STEPS_LIMIT = 2
"""After how many steps of calls it answers a message, whatever it is told to do next."""
TOLD_CHARACTERS = 4_000

Message = Mapping[str, Any]


def adversary_app(watch: Watch) -> Starlette:
    """Return the model as an application."""
    numbers = itertools.count(1)

    async def complete(request: Request) -> Response:
        asked = json.loads(await request.body())
        messages = asked["messages"]
        _search(watch, asked)
        calls = _next_calls(messages)
        if calls and len(list(_since_person(messages))) == 1:
            calls = [*calls, *_unknown(asked.get("tools", ()))][:CALLS_LIMIT]
        for name, _ in calls:
            watch.tried[f"tool {name}"] += 1
        return JSONResponse(_completion(next(numbers), calls, _told(messages)))

    return Starlette(routes=[Route("/openai/chat/completions", complete, methods=["POST"])])


def _search(watch: Watch, asked: Mapping[str, Any]) -> None:
    """Look at a prompt piece by piece. Whose it is, the first message of the person says by its canary."""
    messages = asked["messages"]
    said = next((_text(each) for each in messages if each["role"] == "user"), "")
    owners = {one.customer for one in watch.canaries.found(said) if one and one.kind is CanaryKind.MESSAGE}
    owner = owners.pop() if len(owners) == 1 else None
    names = {call["id"]: call["function"]["name"] for each in messages for call in each.get("tool_calls") or ()}
    for each in messages:
        role = each["role"]
        place = f"prompt: result of {names.get(each.get('tool_call_id'), '?')}" if role == "tool" else f"prompt: {role}"
        watch.look(json.dumps(each), area=AREA, place=place, owner=owner)
    rest = {key: value for key, value in asked.items() if key != "messages"}
    watch.look(json.dumps(rest), area=AREA, place="prompt: tools and settings", owner=None)


def _next_calls(messages: Sequence[Message]) -> Calls:
    since = list(_since_person(messages))
    if sum(1 for each in since if each.get("tool_calls")) >= STEPS_LIMIT:
        return []
    if len(since) == 1:
        return read_orders(_text(since[0]))
    results = list(itertools.takewhile(lambda each: each["role"] == "tool", reversed(since)))
    return next((calls for calls in map(read_orders, map(_text, results)) if calls), [])


def _unknown(tools: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield calls of tools that no attack is about, with some word for each argument: none is left untried."""
    for tool in (each["function"] for each in tools):
        if tool["name"] not in KNOWN:
            yield tool["name"], dict.fromkeys(tool["parameters"].get("properties", {}), "x")


def _since_person(messages: Sequence[Message]) -> Iterator[Message]:
    last = max((number for number, each in enumerate(messages) if each["role"] == "user"), default=0)
    yield from messages[last:]


def _told(messages: Sequence[Message]) -> str:
    results = [_text(each) for each in _since_person(messages) if each["role"] == "tool"]
    return "\n".join(text[:TOLD_CHARACTERS].replace("CALLS", "calls") for text in results) or "Nothing was told."


def _text(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return str(content or "")


def _completion(number: int, calls: Calls, text: str) -> dict[str, Any]:
    made = [
        {"id": f"call_{number}_{place}", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
        for place, (name, given) in enumerate(calls)
    ]
    message = (
        {"role": "assistant", "content": None, "tool_calls": made} if made else {"role": "assistant", "content": text}
    )
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": "audit",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if made else "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }

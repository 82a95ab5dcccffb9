"""A model that does what the messages themselves say, and tools that leave a trace in a file that survives.

A request is `please ID WORD…`. Each word is a step: a tool, or several joined by "+", which are called at once. The
words `shell` and `write` are tools of a machine. The word `long` makes the reply one of several parts. The reply names
the requests that it answers.
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subclaw.core.model import ModelReply, ModelSaid, Prompt, Usage, UserSaid
from subclaw.core.schedule import ScheduleMode
from subclaw.core.tool import Caller, ToolCall, ToolDefinition
from subclaw.tools.toolbox import Tool

PLEASE = "please"
LONG = "long"
REMINDERS = {f"remind_{mode.value}": mode for mode in ScheduleMode}
DONE, WRITTEN = "done", "written"
"""Files in a machine: a line for each time that a command was run, and what was written."""

REMIND_WHEN = "in 0.002 minutes"
SENTENCES = 120


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What was done, a line each, in a file that is only ever appended to."""

    path: Path

    def note(self, *words: object) -> None:
        """Write down what is done, in one go: a process that is killed has written it or not."""
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(file, (" ".join(map(str, words)) + "\n").encode())
        finally:
            os.close(file)

    def size_bytes(self) -> int:
        """Return how much was written down."""
        return self.path.stat().st_size if self.path.exists() else 0

    def lines(self) -> list[list[str]]:
        """Return what was written down, oldest first, in words."""
        return [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def noted(self, kind: str) -> list[str]:
        """Return the second words of the lines of one kind."""
        return [line[1] for line in self.lines() if line[0] == kind]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A message that asks for something: its id, and its steps."""

    id: str
    words: tuple[str, ...]


def parse_request(text: str) -> Request | None:
    """Return the request that a text makes, in its last line; None if it makes none."""
    match text.splitlines()[-1].split():
        case [first, id, *words] if first == PLEASE:
            return Request(id=id, words=tuple(words))
        case _:
            return None


def answered_by(reply: str) -> list[str]:
    """Return the ids of the requests that a reply answers."""
    first, _, rest = reply.partition(": ")
    return rest.partition(".")[0].split() if first == "Done" else []


class ObedientModel:
    """Does what the newest request says. `think_s` gives the time that it takes for an answer."""

    def __init__(self, trace: Trace, think_s: Callable[[], float]) -> None:
        self._trace = trace
        self._think_s = think_s

    async def ask(self, prompt: Prompt) -> ModelReply:
        """See `core.model.Model.ask`."""
        requests = [request for _, request in _requests(prompt)]
        answers_before = sum(isinstance(said, ModelSaid) for said in prompt.history)
        self._trace.note("asked", requests[0].id, answers_before)
        await asyncio.sleep(self._think_s())
        return answer(prompt)


def answer(prompt: Prompt) -> ModelReply:
    """Return the next step of the newest request in a prompt, or the reply to all that were not answered."""
    index, request = _requests(prompt)[-1]
    steps = [word for word in request.words if word != LONG]
    made = sum(isinstance(said, ModelSaid) for said in prompt.history[index:])
    usage = Usage(model="obedient", input_tokens=10, output_tokens=5)
    if made < len(steps):
        return ModelReply(text="", calls=tuple(_calls(request, steps[made])), usage=usage)
    ids = " ".join(one.id for _, one in _requests(prompt, since=_last_reply(prompt)))
    sentences = [f"This is sentence {n} about {request.id}." for n in range(SENTENCES if LONG in request.words else 0)]
    return ModelReply(text=" ".join([f"Done: {ids}.", *sentences]), calls=(), usage=usage)


def _requests(prompt: Prompt, since: int = 0) -> list[tuple[int, Request]]:
    said = enumerate(prompt.history[since:], since)
    found = ((index, parse_request(one.text)) for index, one in said if isinstance(one, UserSaid))
    return [(index, request) for index, request in found if request is not None]


def _last_reply(prompt: Prompt) -> int:
    replies = [n for n, said in enumerate(prompt.history) if isinstance(said, ModelSaid) and not said.calls]
    return max(replies, default=0)


def _calls(request: Request, step: str) -> Iterable[ToolCall]:
    """Yield a step's calls; their arguments name the request, so that no two are identical."""
    for number, name in enumerate(step.split("+")):
        if mode := REMINDERS.get(name):
            wants = PLEASE if mode is ScheduleMode.AGENT_TURN else "Remember"
            arguments = {"text": f"{wants} {request.id}-due again", "when": REMIND_WHEN, "mode": mode.value}
            yield ToolCall(id=f"call_{number}", name="schedule_notification", arguments=json.dumps(arguments))
        elif name == "shell":
            command = f"echo {request.id} >> {DONE}; sleep 0.1"
            yield ToolCall(id=f"call_{number}", name="shell_exec", arguments=json.dumps({"command": command}))
        elif name == "write":
            arguments = {"path": WRITTEN, "content": request.id}
            yield ToolCall(id=f"call_{number}", name="write_file", arguments=json.dumps(arguments))
        else:
            yield ToolCall(id=f"call_{number}", name=name, arguments=json.dumps({"for": request.id}))


def tracing_tools(trace: Trace, interject: Callable[[], Awaitable[None]]) -> Sequence[Tool]:
    """Return tools whose effects are lines in the trace.

    `once` may not be made again, `again` may. `interject` has somebody say something meanwhile. `wait` never returns
    when it is called for the first time.
    """

    def leave(kind: str) -> Callable[[Caller, Mapping[str, Any]], Awaitable[str]]:
        async def perform(caller: Caller, arguments: Mapping[str, Any]) -> str:
            trace.note(kind, caller.call_id)
            await asyncio.sleep(0)
            return f"{kind} done"

        return perform

    async def say_meanwhile(caller: Caller, arguments: Mapping[str, Any]) -> str:
        await interject()
        return "somebody said something"

    async def wait(caller: Caller, arguments: Mapping[str, Any]) -> str:
        first = not trace.noted("wait")
        trace.note("wait", caller.call_id, time.monotonic())
        if first:
            await asyncio.Event().wait()
        return "waited"

    performs = {"once": leave("once"), "again": leave("again"), "interject": say_meanwhile, "wait": wait}
    return [
        Tool(
            definition=ToolDefinition(
                name=name, description="", parameters={"type": "object"}, idempotent=name != "once"
            ),
            perform=perform,
        )
        for name, perform in performs.items()
    ]

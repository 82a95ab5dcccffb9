"""Turns that are only tried: decided as all turns are, held in memory, and told to nobody.

No tool does anything: what it would say is served. Calls that a person would have to approve count as approved.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from subclaw.business.skills import READ_SKILL
from subclaw.business.trial_policy import NOBODY, Occasion
from subclaw.core.errors import Invalid, SubclawError
from subclaw.core.event import (
    Event,
    ModelFailed,
    ModelReplied,
    Prompting,
    ReplyQueued,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnStarted,
)
from subclaw.core.model import Model
from subclaw.core.outgoing import FilesTaken, FileTaken
from subclaw.core.tool import Caller, Toolbox, ToolCall, ToolResult
from subclaw.core.transcript import (
    CANCELLED,
    AskModel,
    CancelCalls,
    FinishTurn,
    MendAnswer,
    PerformCalls,
    TakeFiles,
    next_step,
    turn_id,
)
from subclaw.tools.toolbox import BuiltInToolbox, Tool
from subclaw.turns.prompt import Frame, make_frame, make_prompt

CALLS_LIMIT = 500
"""Most calls of one rehearsed turn, whatever its steps ask for."""


Guard = Callable[[Sequence[Tool], Occasion], Sequence[Tool]]
"""Puts tools behind an agent's policy, as it is on an occasion."""


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What a rehearsed turn needs: an agent's text, its model and tools, and the most model calls of a turn.

    What `guard` refuses is not served.
    """

    instructions: str
    model: Model
    tools: Sequence[Tool]
    step_limit: int
    window_tokens: int
    guard: Guard


Serve = Callable[[str, Mapping[str, Any]], ToolResult]
"""Returns what a call of a tool, by its name, comes to with arguments that fit its schema."""


def served(rehearsal: Rehearsal, serve: Serve, occasion: Occasion) -> BuiltInToolbox:
    """Return a toolbox of which nothing does anything, but the tool that reads the folder's own skills."""
    tools = [tool if tool.definition.name == READ_SKILL else _served(tool, serve) for tool in rehearsal.tools]
    return BuiltInToolbox([]).joined(rehearsal.guard(tools, occasion))


def _served(tool: Tool, serve: Serve) -> Tool:
    async def perform(caller: Caller, arguments: Mapping[str, Any]) -> str:
        result = serve(tool.definition.name, arguments)
        if result.is_error:
            raise Invalid(result.content)
        return result.content

    return replace(tool, perform=perform)


async def rehearse(
    rehearsal: Rehearsal, toolbox: Toolbox, before: Sequence[Event], said: Sequence[Prompting]
) -> tuple[Sequence[Event], str]:
    """Try one turn about what is said after `before`; return its events, and the reply. A model that fails is one."""
    frame = make_frame(rehearsal.instructions, toolbox.definitions(), rehearsal.window_tokens)
    events: list[Event] = [*before, TurnStarted(), *said]
    performed = 0
    while True:
        match next_step(events, rehearsal.step_limit):
            case AskModel():
                events.append(await _ask(rehearsal.model, frame, events))
            case PerformCalls(calls=(call, *_)) if performed < CALLS_LIMIT:
                performed += 1
                events += await _perform(toolbox, events, call)
            case PerformCalls(calls=calls) | CancelCalls(calls=calls):
                events += [ToolFinished(call_id=call.id, content=CANCELLED, is_error=True) for call in calls]
            case MendAnswer(event=mended):
                events.append(mended)
            case TakeFiles(wanted=wanted):
                problem = "files cannot be sent in a rehearsal"
                events.append(FilesTaken(taken=tuple(FileTaken(path=path, problem=problem) for path in wanted)))
            case FinishTurn(reply=reply, outcome=outcome):
                events += [ReplyQueued(text=reply), TurnFinished(outcome=outcome)]
                return events[len(before) :], reply
            case _:
                return events[len(before) :], ""


async def _ask(model: Model, frame: Frame, events: Sequence[Event]) -> Event:
    try:
        reply = await model.ask(make_prompt(frame, events))
    except SubclawError as error:
        return ModelFailed(public=error.public)
    calls = tuple(replace(call, id=f"call_{uuid.uuid4().hex[:16]}") for call in reply.calls)
    return ModelReplied(text=reply.text, calls=calls, usage=reply.usage, refused=reply.refused)


async def _perform(toolbox: Toolbox, events: Sequence[Event], call: ToolCall) -> tuple[Event, ...]:
    caller = Caller(tenant_id=NOBODY, conversation_id=0, call_id=call.id, turn_id=turn_id(events))
    result = await toolbox.perform(caller, call)
    finished = ToolFinished(call_id=call.id, content=result.content, is_error=result.is_error)
    return ToolStarted(call_id=call.id), finished

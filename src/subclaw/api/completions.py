"""Completions for machines, over HTTP: the command `llm`, and programs that speak OpenAI's protocol.

It is served on a unix socket that only the egress gateway may use, which alone says whose machine asks. What comes from
a machine is the body, and that is checked here.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from subclaw.core.completion import (
    CHAT_PATH,
    COMPLETE_PATH,
    PROMPTS_LIMIT,
    TENANT_HEADER,
    Asker,
    Completions,
    chat_prompt,
    completion_prompt,
    sendable,
)
from subclaw.core.errors import Corrupt, Invalid, SubclawError
from subclaw.core.model import ModelReply, ModelSaid, Prompt, UserSaid
from subclaw.core.tenant import TenantId
from subclaw.machines.host import listening, serving
from subclaw.machines.host_api import arguments, while_connected
from subclaw.statuses import status_of
from subclaw.turns.spending import OverBudget

MESSAGES_LIMIT = 1_000
PAYMENT_REQUIRED = 402

Fields = Mapping[str, Any]
log = logging.getLogger(__name__)


async def serve_completions(socket: Path, completions: Completions) -> None:
    """Serve until cancelled; calls may then take a few seconds to end. Errors: `Conflict`, `Unavailable`."""
    with listening(socket, None) as listener:
        async with serving(completions_api(completions), listener):
            await asyncio.get_running_loop().create_future()


def completions_api(completions: Completions) -> Starlette:
    """Return the application. A caller that goes away has its prompts cancelled."""
    routes = [Route(COMPLETE_PATH, complete, methods=["POST"]), Route(CHAT_PATH, chat, methods=["POST"])]
    application = Starlette(routes=routes, exception_handlers={SubclawError: answer_error})
    application.state.completions = completions
    return application


async def complete(request: Request) -> Response:
    """Answer `prompts`, each with what goes before it (`system`) and at most `max_tokens` long, in order."""
    fields = await arguments(request)
    texts, system, max_tokens = fields.get("prompts"), fields.get("system", ""), _limit_of(fields)
    if not isinstance(texts, list) or not 0 < len(texts) <= PROMPTS_LIMIT:
        raise Invalid(f"prompts must be 1 to {PROMPTS_LIMIT} texts.")
    prompts = [completion_prompt(_text(text), system=_text(system), max_tokens=max_tokens) for text in texts]
    answers = await _asked(request, prompts)
    return JSONResponse({"answers": [_answer_fields(answer) for answer in answers]})


async def chat(request: Request) -> Response:
    """Answer as OpenAI's chat completions do, whatever model is named and without streaming or tools."""
    fields = await arguments(request)
    if fields.get("stream") or fields.get("tools"):
        raise Invalid("Here are neither streams nor tools.")
    (reply,) = await _asked(request, [_chat_prompt(fields.get("messages"), _limit_of(fields))])
    assert isinstance(reply, ModelReply)  # else all have failed
    used, message = reply.usage, {"role": "assistant", "content": sendable(reply.text)}
    return JSONResponse(
        {
            "id": "chatcmpl-subclaw",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": used.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": used.input_tokens,
                "completion_tokens": used.output_tokens,
                "total_tokens": used.input_tokens + used.output_tokens,
            },
        }
    )


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer with an error's words; log the internal ones."""
    assert isinstance(error, SubclawError)
    log.info("%s: %s: %s", request.url.path, type(error).__name__, error.internal)
    status = PAYMENT_REQUIRED if isinstance(error, OverBudget) else status_of(error)
    return JSONResponse({"error": _error_fields(error)}, status_code=status)


async def _asked(request: Request, prompts: Sequence[Prompt]) -> Sequence[ModelReply | SubclawError]:
    """Ask for as long as the caller is there. Errors: that of the first answer, if all have failed."""
    completions = cast(Completions, request.app.state.completions)
    answers = await while_connected(request, completions.complete(_asker(request), prompts))
    if isinstance(answers[0], SubclawError) and not any(isinstance(answer, ModelReply) for answer in answers):
        raise answers[0]
    return answers


def _asker(request: Request) -> Asker:
    """Return whose machine asks, as the gateway says. Errors: `Corrupt` if it does not."""
    said = request.headers.getlist(TENANT_HEADER)
    if len(said) != 1 or not (said[0].isascii() and said[0].isdecimal()):
        raise Corrupt("Nobody has said whose machine asks.")
    return Asker(tenant_id=TenantId(int(said[0])))


def _chat_prompt(messages: object, max_tokens: float | None) -> Prompt:
    """Return OpenAI's messages as a prompt. Errors: `Invalid`, in words."""
    if not isinstance(messages, list) or len(messages) > MESSAGES_LIMIT:
        raise Invalid(f"messages must be a list of at most {MESSAGES_LIMIT:,}.")
    system: list[str] = []
    history: list[UserSaid | ModelSaid] = []
    for message in messages:
        role, text = _said(message)
        match role:
            case "system" | "developer":
                system.append(text)
            case "user":
                history.append(UserSaid(text=text))
            case "assistant":
                history.append(ModelSaid(text=text))
            case _:
                raise Invalid("The role of a message must be system, developer, user or assistant.")
    return chat_prompt(history, system="\n\n".join(system), max_tokens=max_tokens)


def _said(message: object) -> tuple[object, str]:
    if not isinstance(message, dict):
        raise Invalid("A message must be an object.")
    content = message.get("content")
    if isinstance(content, list):
        return message.get("role"), "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return message.get("role"), _text(content)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Invalid("What is asked must be text.")
    return value


def _limit_of(fields: Fields) -> float | None:
    limit = fields.get("max_tokens", fields.get("max_completion_tokens"))
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise Invalid("max_tokens must be a whole number.")
    return limit


def _answer_fields(answer: ModelReply | SubclawError) -> dict[str, object]:
    return {"error": _error_fields(answer)} if isinstance(answer, SubclawError) else {"text": sendable(answer.text)}


def _error_fields(error: SubclawError) -> dict[str, str]:
    return {"message": error.public, "type": type(error).__name__}

"""What OpenAI's clients send and read, in the parts that make sense for an agent. Source: OpenAI's API reference."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from subclaw.api.v1.answering import Answered
from subclaw.api.v1.parts import Name, Text
from subclaw.core.business import CustomerSession
from subclaw.core.errors import Invalid

MODEL_PREFIX = "agents/"
RESPONSE_PREFIX, SESSION_PREFIX = "resp_", "ses_"
_RESPONSE = re.compile(r"resp_([A-Za-z0-9_-]{32})_[0-9]{1,19}")
_PARTS = ("text", "input_text", "output_text")


class _Asked(BaseModel):
    """What both kinds of requests have. What is meant for a bare model, such as a temperature, is passed over."""

    model_config = ConfigDict(extra="allow")

    model: Text = Field(max_length=100, description="`agents/` and the agent's id.")
    stream: bool | None = Field(default=False, description="Whether to stream the answer.")
    user: Name | None = Field(default=None, description="Your own id of the customer.")
    safety_identifier: Name | None = Field(default=None, description="The same, by its newer name.")
    metadata: dict[str, Text] | None = Field(
        default=None,
        max_length=16,
        description="`customer` and `session` say whose session this is, and which; a new one is bound to all of it.",
    )

    def agent(self) -> str:
        """Return the agent's id. Errors: `Invalid`."""
        if not self.model.startswith(MODEL_PREFIX):
            raise Invalid("The model is an agent here: agents/ and its id.")
        return self.model.removeprefix(MODEL_PREFIX)

    def customer(self) -> str:
        """Return the owner's id of the customer. Errors: `Invalid`."""
        if customer := (self.metadata or {}).get("customer") or self.safety_identifier or self.user:
            return customer
        raise Invalid("Say which customer this is: user, or metadata.customer.")

    def names_customer(self) -> bool:
        """Say whether it is said which customer this is."""
        return bool((self.metadata or {}).get("customer") or self.safety_identifier or self.user)

    def require_sense(self) -> None:
        """Raise `Invalid` for what an agent does not take from outside."""
        if (self.model_extra or {}).get("tools") or (self.model_extra or {}).get("functions"):
            raise Invalid("An agent has its own tools, and takes no others.")


class ChatAsked(_Asked):
    """A request for a chat completion."""

    messages: list[dict[str, Any]] = Field(
        min_length=1, max_length=1_000, description="The last is what the customer says now."
    )
    stream_options: dict[str, Any] | None = Field(default=None, description="`include_usage` adds the usage.")

    def text(self) -> str:
        """Return what the customer says now. Errors: `Invalid`."""
        if self.messages[-1].get("role") != "user":
            raise Invalid("The last message must be the user's.")
        return text_of(self.messages[-1].get("content"))

    def goes_on(self) -> bool:
        """Say whether the messages hold an answer: then this is no new conversation."""
        return any(message.get("role") == "assistant" for message in self.messages)


class ResponseAsked(_Asked):
    """A request for a response."""

    input: Text | list[dict[str, Any]] = Field(description="What the customer says now.")
    previous_response_id: Text | None = Field(default=None, description="The response that this goes on after.")
    conversation: Text | dict[str, Any] | None = Field(default=None, description="A session's id, to go on in.")

    def text(self) -> str:
        """Return what the customer says now. Errors: `Invalid`."""
        if isinstance(self.input, str):
            return text_of(self.input)
        if not self.input or self.input[-1].get("role") != "user":
            raise Invalid("The last of the input must be the user's message.")
        return text_of(self.input[-1].get("content"))

    def session(self) -> str | None:
        """Return the session to go on in, if one is named. Errors: `Invalid`."""
        if self.previous_response_id is not None:
            return session_of_response(self.previous_response_id)
        named = self.conversation.get("id") if isinstance(self.conversation, dict) else self.conversation
        if named is not None and not isinstance(named, str):
            raise Invalid("A conversation is named by its id.")
        return named or (self.metadata or {}).get("session")


def text_of(content: object) -> str:
    """Return the words of a message's content. Errors: `Invalid`."""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict)]
        if len(parts) != len(content) or any(part.get("type") not in _PARTS for part in parts):
            raise Invalid("Only text is taken here.")
        content = "".join(str(part.get("text", "")) for part in parts)
    if not isinstance(content, str) or not content.strip():
        raise Invalid("A message has words.")
    try:
        content.encode()
    except UnicodeEncodeError:
        raise Invalid("That holds characters that are not text.") from None
    return content.replace("\0", "")


def response_id(session: CustomerSession, seq: int) -> str:
    """Return the id of a response; it names the session, so that the next can go on after it."""
    return f"{RESPONSE_PREFIX}{session.session_id.removeprefix(SESSION_PREFIX)}_{seq}"


def session_of_response(id: str) -> str:
    """Return the session of a response. Errors: `Invalid`."""
    found = _RESPONSE.fullmatch(id)
    if found is None:
        raise Invalid("There is no such response.")
    return SESSION_PREFIX + found[1]


def chat_completion(model: str, session: CustomerSession, text: str, end: Answered) -> dict[str, Any]:
    """Return a whole chat completion."""
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": f"chatcmpl-{session.session_id}-{end.seq}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": chat_usage(end),
        "metadata": {"session": session.session_id},
    }


def chat_usage(end: Answered) -> dict[str, int]:
    """Return the usage of a chat completion."""
    read, written = end.tokens.input, end.tokens.output
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def chat_chunk(
    id: str, model: str, delta: dict[str, str], *, finish: str | None = None, usage: dict[str, int] | None = None
) -> str:
    """Return one chunk of a streamed chat completion, as JSON. One with the usage has no choices."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    chunk: dict[str, Any] = {"id": id, "object": "chat.completion.chunk", "created": int(time.time()), "model": model}
    chunk["choices"] = [] if usage else [choice]
    return json.dumps(chunk | ({"usage": usage} if usage else {}))


def response(asked: ResponseAsked, id: str, *, text: str | None, end: Answered | None) -> dict[str, Any]:
    """Return a response: whole with its text and its end, else one that is in progress."""
    read, written = (end.tokens.input, end.tokens.output) if end else (0, 0)
    usage = {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
    return {
        "id": id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed" if end else "in_progress",
        "model": asked.model,
        "output": [] if text is None else [output_item(id, text)],
        "usage": usage if end else None,
        "metadata": asked.metadata or {},
        "previous_response_id": asked.previous_response_id,
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "temperature": None,
        "top_p": None,
    }


def output_item(id: str, text: str | None) -> dict[str, Any]:
    """Return the message of a response; without a text it has just begun."""
    content = [] if text is None else [output_text(text)]
    status = "in_progress" if text is None else "completed"
    item_id = f"msg_{id.removeprefix(RESPONSE_PREFIX)}"
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def output_text(text: str) -> dict[str, Any]:
    """Return the one part of a response's message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def beginning(asked: ResponseAsked, id: str) -> Iterator[dict[str, Any]]:
    """Yield the events with which a streamed response begins."""
    begun = response(asked, id, text=None, end=None)
    item = output_item(id, None)
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    yield {"type": "response.output_item.added", "output_index": 0, "item": item}
    yield {"type": "response.content_part.added", **_where(item["id"]), "part": output_text("")}


def delta(id: str, text: str) -> dict[str, Any]:
    """Return the event for a piece of a streamed response."""
    return {"type": "response.output_text.delta", **_where(output_item(id, None)["id"]), "delta": text, "logprobs": []}


def ending(asked: ResponseAsked, id: str, text: str, end: Answered) -> Iterator[dict[str, Any]]:
    """Yield the events with which a streamed response ends."""
    item = output_item(id, text)
    yield {"type": "response.output_text.done", **_where(item["id"]), "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **_where(item["id"]), "part": output_text(text)}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": response(asked, id, text=text, end=end)}


def _where(item_id: str) -> dict[str, Any]:
    return {"item_id": item_id, "output_index": 0, "content_index": 0}

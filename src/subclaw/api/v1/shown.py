"""What happens in a session, as the API shows it."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from subclaw.core.api_key import Principal
from subclaw.core.approval import CUSTOMERS_PREFIX
from subclaw.core.outgoing import OutgoingFile, link_path
from subclaw.store.session_events import SessionEvent

EventType = Literal[
    "message", "reply", "turn.started", "turn.finished", "step", "approval.requested", "approval.closed"
]
_TYPES: dict[str, EventType] = {
    "message.received": "message",
    "reply.queued": "reply",
    "turn.started": "turn.started",
    "turn.finished": "turn.finished",
    "tool.started": "step",
    "tool.finished": "step",
    "approval.requested": "approval.requested",
    "approval.decided": "approval.closed",
    "approval.lapsed": "approval.closed",
}


class File(BaseModel):
    """A file that came with a reply."""

    title: str = Field(description="What it is called.")
    path: str = Field(description="Where it is, on this host.")
    media_type: str = Field(description="What it is.")
    size_bytes: int = Field(description="How large it is.")


class Event(BaseModel):
    """Something that happened in a session. Which fields there are goes by the type."""

    id: int = Field(description="Grows within the session. Give the last one that you saw as `Last-Event-ID`.")
    type: EventType = Field(description="What happened.")
    at: datetime = Field(description="When.")
    text: str | None = Field(default=None, description="Of a message or a reply: what was said.")
    message: str | None = Field(default=None, description="Of a message: the id that whoever sent it gave it.")
    files: list[File] | None = Field(default=None, description="Of a reply: the files that came with it.")
    call: str | None = Field(default=None, description="Of a step: names the call.")
    state: Literal["started", "finished", "failed"] | None = Field(default=None, description="Of a step.")
    tool: str | None = Field(default=None, description="Of a step, or of what is to be approved: the tool.")
    approval: str | None = Field(default=None, description="Of an approval: names it within the session.")
    expires_at: datetime | None = Field(default=None, description="Of what is to be approved: until when.")
    outcome: str | None = Field(default=None, description="Of a turn or an approval that is over: how it ended.")


def message_name(session_id: str, own_id: str) -> str:
    """Return the name under which a message is taken once."""
    return f"{CUSTOMERS_PREFIX}{session_id}:{own_id}"


def shown_event(event: SessionEvent, principal: Principal) -> Event:
    """Return an event as it is shown. Browsers are not told what tools there are."""
    kind = _TYPES[event.type]
    fields: dict[str, Any] = {"text": event.body.get("text"), "outcome": event.body.get("outcome")}
    match kind:
        case "message":
            fields["message"] = str(event.body.get("id", "")).split(":", 2)[-1]
        case "reply":
            files = (OutgoingFile(**file) for file in event.body.get("files", ()))
            fields["files"] = [_file(file) for file in files] or None
        case "step":
            fields |= {"call": event.body.get("call"), "state": _state(event)}
        case "approval.requested":
            fields |= {"approval": event.body.get("approval"), "expires_at": event.body.get("expires_at")}
        case "approval.closed":
            fields["approval"] = event.body.get("approval")
    if principal.session is None:
        fields["tool"] = event.body.get("tool")
    return Event(id=event.seq, type=kind, at=event.at, **fields)


def _state(event: SessionEvent) -> str:
    if event.type == "tool.started":
        return "started"
    return "failed" if event.body.get("is_error") else "finished"


def _file(file: OutgoingFile) -> File:
    return File(title=file.title, path=link_path(file), media_type=file.media_type, size_bytes=file.size_bytes)

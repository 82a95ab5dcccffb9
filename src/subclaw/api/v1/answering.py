"""Waiting for what an agent answers to a message: for programs that know no events."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette

from subclaw.api.v1.events import Taken
from subclaw.api.v1.inside import Inside
from subclaw.api.v1.live import Delta, Reset, follow_aloud, follow_quietly
from subclaw.api.v1.shown import message_name
from subclaw.api.v1.streams import a_place, with_pings
from subclaw.api.v1.telling import Telling
from subclaw.core.business import CustomerSession
from subclaw.core.errors import Unavailable
from subclaw.store.session_events import SessionEvent, Tokens, session_usage

ANSWER_LIMIT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The turn is over: at which event, and what models took for it."""

    seq: int
    tokens: Tokens


Piece = str | Answered | None
"""More of what the agent says, the end, or a sign of life."""


async def answers(
    app: Starlette, session: CustomerSession, taken: Taken, *, aloud: bool = False
) -> AsyncGenerator[Piece, None]:
    """Yield what the agent says to a message that was taken, until its turn is over: all of it, put together.

    If it is to be `aloud`, words come while they are said; the session has to be expected before the message is taken.
    Errors: `Unavailable`, also if it takes too long, or words would have to be taken back; what it says then, the
    session's events have.
    """
    inside: Inside = app.state.inside
    name, after = message_name(session.session_id, taken.message), taken.after
    follow = (follow_aloud if aloud else follow_quietly)(inside, session.session_id, after)
    telling, is_ours = Telling(), False
    async with a_place(app), aclosing(with_pings(follow, ANSWER_LIMIT_S)) as items:
        async for item in items:
            match item:
                case None:
                    yield None
                case Delta(text=text):
                    telling.heard += text
                case Reset():
                    telling.resets(item)
                case SessionEvent(type="message.received", body=body):
                    is_ours = is_ours or body.get("id") == name
                case SessionEvent(type="tool.started"):
                    telling.called = True
                case SessionEvent(type="reply.queued", body=body) if is_ours and (more := telling.ends(_text(body))):
                    yield more
                case SessionEvent(type="turn.finished", seq=seq) if is_ours:
                    used = await session_usage(inside.database, session.session_id, after=after, until=seq)
                    yield Answered(seq=seq, tokens=used)
                    return
            if is_ours and (more := telling.more()):
                yield more
    raise Unavailable("The agent has not answered in time. The session's events will have its answer.")


def _text(body: Mapping[str, Any]) -> str:
    return str(body.get("text") or "")


async def whole_answer(app: Starlette, session: CustomerSession, taken: Taken) -> tuple[str, Answered]:
    """Return all that the agent says to a message that was taken, with the end. Errors: as `answers`."""
    said = ""
    async with aclosing(answers(app, session, taken)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Answered):
                return said, piece
            said += piece or ""
    raise AssertionError("answers end with their end, or with an error")

"""Waiting for what an agent answers to a message: for programs that know no events."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.applications import Starlette

from subclaw.api.v1.events import Taken
from subclaw.api.v1.inside import Inside
from subclaw.api.v1.shown import message_name
from subclaw.api.v1.streams import a_place, with_pings
from subclaw.core.business import CustomerSession
from subclaw.core.errors import Unavailable
from subclaw.store.session_events import Tokens, Working, follow_session, session_usage

ANSWER_LIMIT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The turn is over: at which event, and what models took for it."""

    seq: int
    tokens: Tokens


Piece = str | Answered | None
"""Something that the agent says, the end, or a sign of life."""


async def answers(app: Starlette, session: CustomerSession, taken: Taken) -> AsyncGenerator[Piece, None]:
    """Yield what the agent says to a message that was taken, until its turn is over.

    Errors: `Unavailable`, also if it takes too long; what it says then, the session's events have.
    """
    inside: Inside = app.state.inside
    name, after = message_name(session.session_id, taken.message), taken.after
    async with a_place(app):
        items = follow_session(inside.database, inside.feed, session.session_id, after)
        is_ours = False
        async with aclosing(with_pings(items, ANSWER_LIMIT_S)) as pieces:
            async for item in pieces:
                if item is None:
                    yield None
                elif isinstance(item, Working):
                    continue
                elif item.type == "message.received":
                    is_ours = is_ours or item.body.get("id") == name
                elif is_ours and item.type == "reply.queued" and item.body.get("text"):
                    yield str(item.body["text"])
                elif is_ours and item.type == "turn.finished":
                    yield Answered(
                        seq=item.seq,
                        tokens=await session_usage(inside.database, session.session_id, after=after, until=item.seq),
                    )
                    return
    raise Unavailable("The agent has not answered in time. The session's events will have its answer.")


async def whole_answer(app: Starlette, session: CustomerSession, taken: Taken) -> tuple[str, Answered]:
    """Return all that the agent says to a message that was taken, with the end. Errors: as `answers`."""
    said: list[str] = []
    async with aclosing(answers(app, session, taken)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Answered):
                return "\n\n".join(said), piece
            if piece is not None:
                said.append(piece)
    raise AssertionError("answers end with their end, or with an error")

"""Answers that are lost: a provider takes a message, and whoever sent it does not learn so."""

from enum import StrEnum

from aiohttp import web

from subclaw.testing.channels.provider import FakeProvider


class LostAnswer(StrEnum):
    """What becomes of the answer to a message that was taken."""

    FAIL = "fail, taken"
    """It says that the provider failed."""
    HANG = "hang, taken"
    """It never comes."""
    DROP = "drop"
    """The connection is closed without a word."""
    BABBLE = "babble"
    """It is not of the protocol."""


LOST_ANSWERS: frozenset[str] = frozenset(LostAnswer)


async def lose_answer(
    fake: FakeProvider, request: web.Request, behaviour: str, failure: web.Response
) -> web.StreamResponse:
    """Answer by one of `LOST_ANSWERS` a request whose message was taken. `failure` is what the provider fails with."""
    match behaviour:
        case LostAnswer.HANG:
            await fake.stopped.wait()
        case LostAnswer.BABBLE:
            return web.Response(text="<html>")
        case LostAnswer.DROP:
            if request.transport is not None:
                request.transport.abort()
    return failure

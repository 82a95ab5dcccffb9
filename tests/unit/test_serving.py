"""The server that tests serve applications by."""

import asyncio

import pytest
import uvloop
from fastapi import FastAPI

from subclaw.testing.serving import serving


class _TestFailed(Exception):
    pass


def test_nothing_is_left_open_when_a_test_fails() -> None:
    async def scenario() -> None:
        port = 0
        with pytest.raises(_TestFailed):
            async with serving(FastAPI()) as port:
                raise _TestFailed
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    uvloop.run(scenario())

"""Telegram's Bot API by aiogram. Every call goes through the gateway: it has the token, which is part of the path."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx2
from aiogram import Bot
from aiogram.client.session.base import BaseSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import TelegramNetworkError
from aiogram.methods import TelegramMethod
from aiogram.methods.base import TelegramType
from aiogram.types import InputFile

from subclaw.channels.telegram.settings import FILES_UPSTREAM, UPSTREAM
from subclaw.core.secret import PLACEHOLDER
from subclaw.egress.control.client import BASE_URL, gateway_client
from subclaw.egress.refusal import UNSENT_HEADER

CALL_LIMIT_S = 30.0
ANSWER_LIMIT_BYTES = 16_000_000
_CONNECTIONS = 20


class NotSent(Exception):
    """The call certainly did not reach Telegram; the message says why."""


class GatewaySession(BaseSession):
    """aiogram's calls by the gateway's client. aiogram's own session cannot be led through a unix socket."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        server = TelegramAPIServer(
            base=f"{BASE_URL}/{UPSTREAM}/{{method}}", file=f"{BASE_URL}/{FILES_UPSTREAM}/{{path}}"
        )
        super().__init__(api=server, timeout=CALL_LIMIT_S)
        self._client = client

    async def make_request(
        self,
        bot: Bot,
        method: TelegramMethod[TelegramType],
        timeout: int | None = None,  # noqa: ASYNC109 - the library's signature
    ) -> TelegramType:
        """Make a call. Errors: `NotSent`, and aiogram's."""
        url = self.api.api_url(token="", method=method.__api_method__)
        given: dict[str, InputFile] = {}
        dumped = method.model_dump(warnings=False).items()
        values = {name: self.prepare_value(value, bot, given) for name, value in dumped}
        fields = {name: value for name, value in values.items() if value}
        files = {name: (file.filename or "file", await _content(file, bot)) for name, file in given.items()}
        limit_s = self.timeout if timeout is None else timeout + CALL_LIMIT_S
        status, body = await self._ask(method, url, fields, files, limit_s)
        response = self.check_response(bot=bot, method=method, status_code=status, content=body)
        return cast("TelegramType", response.result)

    async def _ask(
        self,
        method: TelegramMethod[TelegramType],
        url: str,
        fields: dict[str, str],
        files: dict[str, tuple[str, bytes]],
        limit_s: float,
    ) -> tuple[int, str]:
        try:
            async with self._client.stream("POST", url, data=fields, files=files or None, timeout=limit_s) as response:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > ANSWER_LIMIT_BYTES:
                        raise TelegramNetworkError(method=method, message="the answer is too long")
        except httpx2.ConnectError as error:
            raise NotSent("the egress gateway does not run") from error
        except (httpx2.TransportError, OSError) as error:
            raise TelegramNetworkError(method=method, message=type(error).__name__) from error
        if UNSENT_HEADER in response.headers:
            raise NotSent(f"no connection to Telegram (HTTP {response.status_code})")
        return response.status_code, body.decode("utf-8", "replace")

    async def stream_content(
        self,
        url: str,
        headers: dict[str, Any] | None = None,
        timeout: int = 30,  # noqa: ASYNC109 - the library's signature
        chunk_size: int = 65536,
        raise_for_status: bool = True,
    ) -> AsyncGenerator[bytes, None]:
        """Stream a file. Errors: httpx2's."""
        async with self._client.stream("GET", url, headers=headers, timeout=timeout) as response:
            if raise_for_status:
                response.raise_for_status()
            async for piece in response.aiter_bytes(chunk_size):
                yield piece

    async def close(self) -> None:
        """Leave the client open: it is whose it was."""


async def _content(file: InputFile, bot: Bot) -> bytes:
    return b"".join([piece async for piece in file.read(bot)])


@asynccontextmanager
async def telegram_bot(gateway_socket: Path) -> AsyncIterator[Bot]:
    """Give aiogram's `Bot` for the life of the block."""
    async with gateway_client(gateway_socket, timeout_s=CALL_LIMIT_S, connections=_CONNECTIONS) as client:
        yield Bot(f"0:{PLACEHOLDER}", session=GatewaySession(client))

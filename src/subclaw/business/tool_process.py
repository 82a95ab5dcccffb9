"""A process that runs an agent's Python tools, from the host's side: started when needed, ended when it misbehaves.

Everything that comes out of it is bounded, parsed strictly and timed out. A process that hangs, dies, or says what it
must not is given up: the next call gets a new one, and calls that it had under way are told so.
"""

import asyncio
import itertools
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import subclaw
from subclaw.business.confined import closed_environment, confined
from subclaw.business.lines import wrong
from subclaw.core.errors import Invalid, SubclawError, Unavailable
from subclaw.core.tool import Caller

log = logging.getLogger(__name__)

START_LIMIT_S = 20.0
RESULT_LIMIT_BYTES = 1_000_000
LINE_LIMIT_BYTES = 8_000_000
"""Longest line that is read: whatever is in it is escaped as JSON, which may make six bytes of one."""
MEMORY_LIMIT_BYTES = 1_000_000_000
CALLS_LIMIT = 256
"""Most calls of one agent's tools that are under way; others wait, and their time begins when they are made."""
SOURCE = Path(subclaw.__file__).resolve().parents[1]
"""Where the process finds this package."""

Fetch = Callable[[Caller, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Makes an HTTP request that a tool asks for, as the caller's tenant. It answers in words if that cannot be done."""


@dataclass(frozen=True, kw_only=True)
class ToldTool:
    """What a process says of one of its tools. `bound` are parameters by where in the binding they are."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    bound: Mapping[str, str]
    idempotent: bool
    timeout_s: float


@dataclass(eq=False, kw_only=True)
class _Running:
    """A process that runs, and the calls that wait for it."""

    process: asyncio.subprocess.Process
    tools: tuple[ToldTool, ...] = ()
    waiting: dict[int, tuple[Caller, asyncio.Future[str]]] = field(default_factory=dict)
    requests: set[asyncio.Task[None]] = field(default_factory=set)
    reader: asyncio.Task[None] | None = None
    retired: bool = False

    def kill(self) -> None:
        """End the process with all that it has started: its namespace goes with it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """End it, and read what is left in its pipe, which closes that."""
        self.kill()
        assert self.process.stdout is not None
        with suppress(ValueError):
            while await self.process.stdout.read(LINE_LIMIT_BYTES):
                pass
        await self.process.wait()


class ToolProcess:
    """The process of one version of an agent; close it. `files` are the folder's `tools/*.py`, by path."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        fetch: Fetch,
        *,
        hidden: Sequence[Path] = (),
        memory_bytes: int = MEMORY_LIMIT_BYTES,
    ) -> None:
        self._files = files
        self._fetch = fetch
        self._hidden = tuple(hidden)
        self._memory_bytes = memory_bytes
        self._numbers = itertools.count(1)
        self._starting = asyncio.Lock()
        self._room = asyncio.Semaphore(CALLS_LIMIT)
        self._running: _Running | None = None
        self._old: set[_Running] = set()

    async def tools(self) -> tuple[ToldTool, ...]:
        """Return its tools. Errors: `Invalid`, with file, line and remedy, for files that are none; `Unavailable`."""
        return (await self._ready()).tools

    async def call(self, caller: Caller, tool: ToldTool, arguments: Mapping[str, Any], bound: Mapping[str, Any]) -> str:
        """Call a tool; `bound` are values of its bound parameters. Errors: `SubclawError`, in words for the model."""
        async with self._room:
            return await self._call(await self._ready(), caller, tool, arguments, bound)

    async def _call(
        self,
        running: _Running,
        caller: Caller,
        tool: ToldTool,
        arguments: Mapping[str, Any],
        bound: Mapping[str, Any],
    ) -> str:
        number = next(self._numbers)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        running.waiting[number] = caller, answer
        try:
            asked = {"call": number, "tool": tool.name, "arguments": dict(arguments), "bound": dict(bound)}
            await _write(running, asked)
            async with asyncio.timeout(tool.timeout_s):
                return await answer
        except TimeoutError:
            self._retire(running)
            raise Unavailable(
                f"The tool did not end within {tool.timeout_s:.0f} s. What it did is not known."
            ) from None
        finally:
            running.waiting.pop(number, None)
            self._end_if_idle(running)

    async def close(self) -> None:
        """End the process."""
        for running in [*self._old, *([self._running] if self._running else [])]:
            running.kill()
            if running.reader is not None:
                await asyncio.wait([running.reader])
        self._running = None

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way."""
        return not any(running.waiting for running in (self._running, *self._old) if running)

    async def _ready(self) -> _Running:
        async with self._starting:
            if self._running is None:
                self._running = await self._start()
            return self._running

    async def _start(self) -> _Running:
        command = confined(
            [sys.executable, "-s", "-P", "-m", "subclaw.business.tool_runner"],
            hidden=self._hidden,
            memory_bytes=2 * self._memory_bytes,
        )
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=closed_environment({"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}),
            limit=LINE_LIMIT_BYTES,
            start_new_session=True,
        )
        running = _Running(process=process)
        try:
            async with asyncio.timeout(START_LIMIT_S):
                running.tools = await self._introduce(running)
        except BaseException as error:
            await running.end()
            if isinstance(error, TimeoutError):
                raise Unavailable("The agent's tools did not start in time.") from None
            raise
        running.reader = asyncio.create_task(self._read(running))
        return running

    async def _introduce(self, running: _Running) -> tuple[ToldTool, ...]:
        files = {path: content.decode("utf-8") for path, content in self._files.items()}
        limits = {"memory_bytes": self._memory_bytes, "result_bytes": RESULT_LIMIT_BYTES}
        await _write(running, {"files": files, **limits})
        message = await _line(running)
        match message:
            case {"problem": {"path": str(path), "line": int(line), "problem": str(problem)}}:
                raise wrong(path, line, problem, "Correct the file.")
            case {"tools": [*tools]}:
                return tuple(ToldTool(**tool) for tool in tools)
        raise Unavailable("The agent's tools did not start.", internal="the tool process ended before it said anything")

    async def _read(self, running: _Running) -> None:
        """Take what the process says, until it ends or says what it must not."""
        why = "The process of the agent's tools ended in the middle of the call. What it did is not known."
        try:
            while (message := await _line(running)) is not None:
                self._take(running, message)
        except Invalid as error:
            why = error.public
        finally:
            self._retire(running)
            running.kill()
            self._old.discard(running)
            for _, answer in running.waiting.values():
                if not answer.done():
                    answer.set_exception(Unavailable(why))
            for request in running.requests:
                request.cancel()
            await running.end()

    def _take(self, running: _Running, message: Mapping[str, Any]) -> None:
        number = message.get("call")
        caller, answer = running.waiting.get(number, (None, None)) if isinstance(number, int) else (None, None)
        match message:
            case {"http": int()} if caller is not None:
                request = asyncio.create_task(self._ask(running, caller, message))
                running.requests.add(request)
                request.add_done_callback(running.requests.discard)
            case {"result": str(text)} if answer is not None and not answer.done():
                answer.set_result(text)
            case {"error": str(words)} if answer is not None and not answer.done():
                if where := message.get("where"):
                    log.warning("a tool failed: %s", str(where)[:300])
                answer.set_exception(Unavailable(words[:2_000]))

    async def _ask(self, running: _Running, caller: Caller, message: Mapping[str, Any]) -> None:
        try:
            answer = await self._fetch(caller, message)
        except SubclawError as error:
            answer = {"error": error.public}
        except Exception as error:
            log.exception("a tool's request failed")
            answer = {"error": f"The request failed inside ({type(error).__name__})."}
        with suppress(SubclawError):
            await _write(running, {**answer, "http": message["http"]})

    def _retire(self, running: _Running) -> None:
        """Give no more calls to a process. It ends once those that it has are over, and each of them has a limit."""
        if self._running is running:
            self._running = None
            self._old.add(running)
        running.retired = True
        self._end_if_idle(running)

    def _end_if_idle(self, running: _Running) -> None:
        if running.retired and not running.waiting:
            running.kill()


async def _line(running: _Running) -> dict[str, Any] | None:
    """Read one message; None at the end. Errors: `Invalid` for what is none."""
    assert running.process.stdout is not None
    try:
        line = await running.process.stdout.readline()
        message = json.loads(line) if line else None
    except (ValueError, RecursionError):  # the former for a line that is too long, too
        raise Invalid("The process of the agent's tools said what cannot be read, and was ended.") from None
    if line and not isinstance(message, dict):
        raise Invalid("The process of the agent's tools said what cannot be read, and was ended.")
    return message


async def _write(running: _Running, message: Mapping[str, Any]) -> None:
    assert running.process.stdin is not None
    try:
        running.process.stdin.write(json.dumps(message).encode() + b"\n")
        async with asyncio.timeout(START_LIMIT_S):
            await running.process.stdin.drain()
    except (ConnectionError, TimeoutError) as error:
        raise Unavailable("The agent's tools take no calls now.", internal=type(error).__name__) from None

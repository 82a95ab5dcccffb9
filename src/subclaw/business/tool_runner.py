"""The process that runs an agent's Python tools: reads lines of JSON, writes lines of JSON, knows nothing else.

It is started with a closed environment, in namespaces without a network (`confined.py`). The first line that it reads
is `{"files": {"tools/orders.py": "…"}, "memory_bytes": …, "result_bytes": …}`; it answers with
`{"tools": [{"name", "description", "parameters", "bound", "idempotent", "timeout_s"}]}` or `{"problem": {…}}`. Then:

    {"call": 7, "tool": "refund", "arguments": {…}, "bound": {…}}      the host's
    {"call": 7, "result": "…"} or {"call": 7, "error": "…"}            the answer, in any order
    {"call": 7, "http": 3, "method": …, "url": …, …}                   a request that it makes meanwhile
    {"http": 3, "status": 200, "headers": {…}, "text": "…"} or {"http": 3, "error": "…"}

What tools print goes nowhere.
"""

import asyncio
import concurrent.futures
import contextvars
import importlib
import importlib.abc
import importlib.machinery
import inspect
import itertools
import json
import os
import resource
import sys
import threading
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TextIO, get_args, get_origin, get_type_hints

import docstring_parser
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from subclaw import tool as author
from subclaw.tool import ABOUT, About, BoundTo, Channel, HttpAnswer, ToolError

AT_ONCE = 32
"""Most functions that are no coroutines and run at once."""

PACKAGE = "tools"

_current: contextvars.ContextVar[int] = contextvars.ContextVar("call")


class BadFile(Exception):
    """A file cannot be used: which, where, and why."""

    def __init__(self, path: str, line: int, problem: str) -> None:
        super().__init__(problem)
        self.path, self.line, self.problem = path, line, problem


@dataclass(frozen=True, kw_only=True)
class Runnable:
    """A tool's function, what checks its arguments, and which of them are bound to what."""

    name: str
    function: Callable[..., Any]
    about: About
    model: type[BaseModel]
    schema: Mapping[str, Any]
    description: str
    bound: Mapping[str, str]


class Source(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules of a package `tools` from the files that the host gave, in whichever order they ask for them."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._paths = {_module_name(path): path for path in files}
        self._files = files

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if fullname == PACKAGE:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        found = self._paths.get(fullname)
        return importlib.machinery.ModuleSpec(fullname, self, origin=found) if found else None

    def exec_module(self, module: types.ModuleType) -> None:
        """See `importlib.abc.Loader`."""
        if path := self._paths.get(module.__name__):
            exec(compile(self._files[path], path, "exec"), module.__dict__)  # the agent's own, in a process for it


def load(files: Mapping[str, str]) -> dict[str, Runnable]:
    """Run the files as modules of a package `tools`, and return their tools by name. Errors: `BadFile`."""
    sys.meta_path.insert(0, Source(files))
    found: dict[str, Runnable] = {}
    for path in sorted(files):
        module = _import(path)
        for name, value in list(vars(module).items()):
            if name.startswith("_") or not inspect.isfunction(value) or value.__module__ != module.__name__:
                continue
            line = value.__code__.co_firstlineno
            if name in found:
                raise BadFile(path, line, f"There are two tools named {name!r}.")
            found[name] = _runnable(path, line, value)
    return found


def _module_name(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def _import(path: str) -> types.ModuleType:
    try:
        return importlib.import_module(_module_name(path))
    except SyntaxError as error:
        raise BadFile(error.filename or path, error.lineno or 1, f"This is not Python: {error.msg}.") from None
    except BaseException as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        raise BadFile(path, (lines or [1])[-1] or 1, f"It fails when it is read: {_shown(error)}.") from None


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"


def _runnable(path: str, line: int, function: types.FunctionType) -> Runnable:
    name, about = function.__name__, getattr(function, ABOUT, About())
    words = docstring_parser.parse(inspect.getdoc(function) or "")
    description = "\n".join(filter(None, [words.short_description, words.long_description]))
    if not description:
        raise BadFile(path, line, f"The tool {name!r} has no docstring, so that no model knows what it is for.")
    told = {each.arg_name: each.description for each in words.params}
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:
        raise BadFile(path, line, f"The annotations of {name!r} cannot be read: {_shown(error)}.") from None
    fields: dict[str, Any] = {}
    bound: dict[str, str] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise BadFile(path, line, f"{name!r} has *{parameter.name}; each parameter needs a name of its own.")
        if parameter.name not in hints:
            raise BadFile(path, line, f"The parameter {parameter.name!r} of {name!r} has no type.")
        hint = hints[parameter.name]
        if (where := _bound_to(hint)) is not None:
            bound[parameter.name] = where.path or parameter.name
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hint, Field(default, description=told.get(parameter.name)))
    try:
        config = ConfigDict(extra="forbid", arbitrary_types_allowed=False)
        model = create_model(name, __config__=config, **fields)
        shown = {key: field for key, field in fields.items() if key not in bound}
        schema = create_model(name, __config__=config, **shown).model_json_schema()
    except Exception as error:
        raise BadFile(path, line, f"{name!r} has a type that is no JSON: {_shown(error)}.") from None
    return Runnable(
        name=name, function=function, about=about, model=model, schema=schema, description=description, bound=bound
    )


def _bound_to(hint: Any) -> BoundTo | None:
    if get_origin(hint) is not Annotated:
        return None
    return next((each for each in get_args(hint)[1:] if isinstance(each, BoundTo)), None)


class Host(Channel):
    """The host's end of the pipe: answers are written to it, and HTTP is asked of it."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, concurrent.futures.Future[HttpAnswer]] = {}

    def write(self, message: Mapping[str, Any]) -> None:
        """Write one line."""
        text = json.dumps(message)
        with self._lock:
            self._out.write(text + "\n")
            self._out.flush()

    def begin(
        self, method: str, url: str, query: Mapping[str, str] | None, headers: Mapping[str, str] | None, body: Any
    ) -> concurrent.futures.Future[HttpAnswer]:
        """See `Channel.begin`."""
        number, answer = next(self._numbers), concurrent.futures.Future[HttpAnswer]()
        self._waiting[number] = answer
        asked = {"method": method, "url": url, "query": dict(query or {}), "headers": dict(headers or {}), "body": body}
        try:
            self.write({"call": _current.get(), "http": number, **asked})
        except (TypeError, ValueError, LookupError):
            del self._waiting[number]
            raise ToolError("That request cannot be made: what it consists of is not JSON.") from None
        return answer

    def answered(self, message: Mapping[str, Any]) -> None:
        """Give the answer to a request to whoever made it."""
        waiting = self._waiting.pop(message["http"], None)
        if waiting is None:
            return
        if "error" in message:
            waiting.set_exception(ToolError(message["error"]))
        else:
            waiting.set_result(HttpAnswer(status=message["status"], headers=message["headers"], text=message["text"]))


async def call(runnable: Runnable, arguments: Mapping[str, Any], threads: concurrent.futures.Executor) -> str:
    """Call a tool; return its result as text. Errors: whatever the tool raises, and `ToolError`."""
    try:
        checked = runnable.model.model_validate(dict(arguments))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ToolError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
    values = {name: getattr(checked, name) for name in type(checked).model_fields}
    if inspect.iscoroutinefunction(runnable.function):
        result = await runnable.function(**values)
    else:
        context = contextvars.copy_context()
        result = await asyncio.get_running_loop().run_in_executor(
            threads, lambda: context.run(runnable.function, **values)
        )
    if isinstance(result, str):
        return result
    try:
        return json.dumps(_ANYTHING.dump_python(result, mode="json"), ensure_ascii=False, allow_nan=False)
    except Exception:
        raise ToolError("The tool gave something that is neither text nor JSON.") from None


_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


async def _answer(
    host: Host, tools: Mapping[str, Runnable], message: Mapping[str, Any], threads: Any, limit_bytes: int
) -> None:
    number = message["call"]
    _current.set(number)
    try:
        text = await call(tools[message["tool"]], {**message["arguments"], **message["bound"]}, threads)
        if len(text.encode("utf-8", "replace")) > limit_bytes:
            raise ToolError(f"The tool gave {len(text):,} characters; at most {limit_bytes:,} bytes are taken.")
        host.write({"call": number, "result": text.encode("utf-8", "replace").decode()})
    except ToolError as error:
        host.write({"call": number, "error": str(error)[:2_000]})
    except MemoryError:
        host.write({"call": number, "error": "The tool needs more memory than it may have."})
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
        host.write({"call": number, "error": f"The tool failed inside ({type(error).__name__}).", "where": where})


async def serve(host: Host, lines: TextIO, tools: Mapping[str, Runnable], limit_bytes: int) -> None:
    """Answer calls until the host closes the pipe."""
    loop = asyncio.get_running_loop()
    threads = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        reading = concurrent.futures.ThreadPoolExecutor(1)
        while line := await loop.run_in_executor(reading, lines.readline):
            message = json.loads(line)
            if "http" in message:
                host.answered(message)
            else:
                group.create_task(_answer(host, tools, message, threads, limit_bytes))
    os._exit(0)


def main() -> None:
    """Serve on the pipes that the host made."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    lines = os.fdopen(os.dup(0), encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    host = Host(out)
    author.channel = host
    first = json.loads(lines.readline())
    resource.setrlimit(resource.RLIMIT_AS, (first["memory_bytes"], first["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        tools = load(first["files"])
    except BadFile as error:
        host.write({"problem": {"path": error.path, "line": error.line, "problem": error.problem}})
        return
    host.write({"tools": [_told(runnable) for runnable in tools.values()]})
    asyncio.run(serve(host, lines, tools, first["result_bytes"]))


def _told(runnable: Runnable) -> dict[str, Any]:
    return {
        "name": runnable.name,
        "description": runnable.description,
        "parameters": runnable.schema,
        "bound": runnable.bound,
        "idempotent": runnable.about.idempotent,
        "timeout_s": runnable.about.timeout_s,
    }


if __name__ == "__main__":
    main()

"""Python tools of agents: in a process of their own, with real namespaces, that misbehaves in every way."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from subclaw.business.tool_process import ToldTool, ToolProcess
from subclaw.core.errors import Invalid, SubclawError, Unavailable
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller

TOOLS = b'''
"""Tools of a shop."""

import asyncio
import os
import socket
import sys
import time
from typing import Annotated, Literal

from pydantic import BaseModel

from subclaw.tool import Bound, BoundTo, ToolError, http, http_async, secret, tool
from tools.prices import price_of


class Item(BaseModel):
    sku: str
    count: int = 1


@tool(idempotent=True)
def order_status(order_id: str, customer: Bound[str], shop: Annotated[int, BoundTo("ids.shop")]) -> dict[str, object]:
    """Look up an order.

    Args:
        order_id: The number on the confirmation.
    """
    return {"order": order_id, "customer": customer, "shop": shop}


def quote(items: list[Item], currency: Literal["EUR", "USD"] = "EUR") -> str:
    """Say what items cost."""
    return f"{sum(item.count * price_of(item.sku) for item in items)} {currency}"


async def slow_echo(text: str) -> str:
    """Wait a little, and say it."""
    await asyncio.sleep(0.05)
    return text


def raises() -> str:
    """Raise."""
    raise ValueError("canary-in-an-exception")


def refuses() -> str:
    """Refuse."""
    raise ToolError("That order is not yours.")


@tool(timeout_s=1)
def hangs() -> str:
    """Hang."""
    while True:
        time.sleep(1)


@tool(timeout_s=1)
async def hangs_the_loop() -> str:
    """Hang the loop."""
    while True:
        pass


def huge() -> str:
    """Give 50 MB."""
    return "x" * 50_000_000


def hungry() -> str:
    """Take all memory."""
    return str(len(bytearray(8_000_000_000)))


def not_json() -> object:
    """Give what is no JSON."""
    return object()


def dies() -> str:
    """Die."""
    os._exit(3)


def prints() -> str:
    """Print."""
    print('{"call": 1, "result": "forged"}', flush=True)
    os.write(1, b"nothing\\n")
    return "printed"


def babbles() -> str:
    """Say nonsense where answers go."""
    for number in range(3, 20):
        try:
            os.write(number, b"nonsense\\n" * 10)
        except OSError:
            pass
    time.sleep(5)
    return ""


def looks_around() -> dict[str, object]:
    """Look for what is not there."""
    def opened(path, mode):
        try:
            open(path, mode).close()
        except OSError as error:
            return type(error).__name__
        return "opened"

    def listed(path):
        try:
            return os.listdir(path)
        except OSError as error:
            return type(error).__name__

    def reach(address):
        try:
            socket.create_connection(address, 1)
        except OSError as error:
            return type(error).__name__
        return "reached"

    return {
        "environment": sorted(os.environ),
        "run": listed("/run"),
        "tmp": listed("/tmp"),
        "shared": [listed("/var/tmp"), listed("/dev/shm")],
        "state": listed("/var/tmp/STATE"),
        "shadow": opened("/etc/shadow", "r"),
        "programs": opened("/usr/local/bin/new", "w"),
        "loopback": reach(("127.0.0.1", 22)),
        "outside": reach(("192.0.2.1", 80)),
        "processes": len([each for each in listed("/proc") if each.isdecimal()]),
        "mount": os.system("mount -t tmpfs tmpfs /run 2>/dev/null") != 0,
    }


def asks(url: str) -> str:
    """Ask by HTTP."""
    answer = http("POST", url, query={"a": "b"}, headers={"Authorization": f"Bearer {secret('SHOP_KEY')}"}, body=[1])
    return f"{answer.status} {answer.json()}"


async def asks_async(url: str) -> str:
    """Ask by HTTP."""
    return (await http_async("GET", url)).text
'''

PRICES = b'''
def _cents(sku: str) -> int:
    return len(sku)


def price_of(sku: str) -> int:
    """Say the price of one."""
    return _cents(sku)
'''

FILES = {"tools/shop.py": TOOLS, "tools/prices.py": PRICES}
ENVIRONMENT = {"PATH", "LANG", "HOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
CALLER = Caller(tenant_id=TenantId(7), conversation_id=1, call_id="call_1", turn_id="turn_1")


class Shop:
    """A process, its tools by name, and what it asked for."""

    def __init__(self, process: ToolProcess, tools: Mapping[str, ToldTool], asked: list[Any]) -> None:
        self.process, self.tools, self.asked = process, tools, asked

    async def call(self, name: str, bound: Mapping[str, Any] | None = None, **arguments: Any) -> str:
        return await self.process.call(CALLER, self.tools[name], arguments, bound or {})


def run(scenario: Callable[[Shop], Awaitable[None]], files: Mapping[str, bytes] = FILES, **more: Any) -> None:
    async def main() -> None:
        asked: list[Any] = []

        async def fetch(caller: Caller, message: Mapping[str, Any]) -> Mapping[str, Any]:
            asked.append((caller, message))
            if "denied" in message["url"]:
                raise Unavailable("That host is not on the list.")
            return {"status": 200, "headers": {}, "text": json.dumps("hello")}

        process = ToolProcess(files, fetch, **more)
        try:
            async with asyncio.timeout(60):
                await scenario(Shop(process, {tool.name: tool for tool in await process.tools()}, asked))
        finally:
            await process.close()

    asyncio.run(main())


def test_a_tool_is_told_by_its_signature_and_docstring_without_what_is_bound() -> None:
    async def scenario(shop: Shop) -> None:
        tool = shop.tools["order_status"]
        assert tool.description == "Look up an order."
        assert tool.idempotent
        assert tool.bound == {"customer": "customer", "shop": "ids.shop"}
        assert list(tool.parameters["properties"]) == ["order_id"]
        assert tool.parameters["properties"]["order_id"]["description"] == "The number on the confirmation."
        assert tool.parameters["additionalProperties"] is False
        assert shop.tools["quote"].parameters["required"] == ["items"]
        assert {"price_of", "quote"} <= set(shop.tools)
        assert "_cents" not in shop.tools

    run(scenario)


def test_calls_run_at_once_and_bound_values_are_the_hosts() -> None:
    async def scenario(shop: Shop) -> None:
        bound = {"customer": "anna", "shop": 3}
        status = json.loads(await shop.call("order_status", bound, order_id="A-1", customer="ben"))
        assert status == {"order": "A-1", "customer": "anna", "shop": 3}
        assert await shop.call("quote", items=[{"sku": "abc", "count": 2}]) == "6 EUR"
        texts = [f"text {number}" for number in range(600)]
        assert await asyncio.gather(*(shop.call("slow_echo", text=text) for text in texts)) == texts

    run(scenario)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", "failed inside (ValueError)"),
        ("refuses", "That order is not yours."),
        ("huge", "50,000,000 characters"),
        ("hungry", "more memory"),
        ("not_json", "neither text nor JSON"),
        ("dies", "ended in the middle of the call"),
        ("babbles", "cannot be read"),
        ("hangs", "did not end within 1 s"),
        ("hangs_the_loop", "did not end within 1 s"),
    ],
)
def test_a_tool_that_misbehaves_is_an_error_in_words_and_the_next_call_works(name: str, words: str) -> None:
    async def scenario(shop: Shop) -> None:
        with pytest.raises(SubclawError) as raised:
            await shop.call(name)
        assert words in raised.value.public
        assert "canary" not in raised.value.public
        assert await shop.call("slow_echo", text="still here") == "still here"

    run(scenario)


def test_calls_beside_one_that_hangs_go_on_to_their_ends() -> None:
    async def scenario(shop: Shop) -> None:
        async with asyncio.TaskGroup() as group:
            hanging = group.create_task(_failed(shop.call("hangs")))
            others = [group.create_task(shop.call("slow_echo", text=str(number))) for number in range(20)]
        assert "did not end" in hanging.result()
        assert [other.result() for other in others] == [str(number) for number in range(20)]

    run(scenario)


async def _failed(doing: Awaitable[str]) -> str:
    with pytest.raises(SubclawError) as raised:
        await doing
    return raised.value.public


def test_what_is_printed_goes_nowhere() -> None:
    async def scenario(shop: Shop) -> None:
        assert await shop.call("prints") == "printed"

    run(scenario)


def test_there_is_no_network_no_key_and_no_file_of_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    with tempfile.TemporaryDirectory(dir="/srv") as folder, tempfile.NamedTemporaryFile(dir="/var/tmp"):
        (Path(folder) / "canary").write_text("canary")
        (Path(folder) / "below").mkdir()
        look_around(Path(folder), [Path(folder), Path(folder) / "below"])


def test_a_state_folder_below_what_is_hidden_anyway_keeps_no_tool_from_starting() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        look_around(Path("/srv/none"), [Path(folder)], state="FileNotFoundError")


def on_the_way_to_python(folder: str) -> set[str]:
    """Return what is left of an emptied folder, if the Python that runs is below it."""
    prefix = Path(sys.prefix).resolve()
    return {prefix.relative_to(folder).parts[0]} if prefix.is_relative_to(folder) else set()


def look_around(place: Path, hidden: Sequence[Path], state: object = ()) -> None:
    files = {**FILES, "tools/shop.py": TOOLS.replace(b"/var/tmp/STATE", str(place).encode())}

    async def scenario(shop: Shop) -> None:
        found = json.loads(await shop.call("looks_around"))
        assert set(found["environment"]) - {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"} == ENVIRONMENT
        assert found["state"] == (state or [])
        assert found["run"] == []
        assert set(found["tmp"]) <= on_the_way_to_python("/tmp")
        assert found["shadow"] == "PermissionError"
        assert found["programs"] == "PermissionError"
        assert [set(each) - on_the_way_to_python("/var/tmp") for each in found["shared"]] == [set(), set()]
        assert found["loopback"] != "reached"
        assert found["outside"] != "reached"
        assert found["processes"] < 5
        assert found["mount"]

    run(scenario, files, hidden=hidden)


def test_http_goes_to_the_host_with_the_caller_that_the_host_knows() -> None:
    async def scenario(shop: Shop) -> None:
        assert await shop.call("asks", url="https://shop.example.com/x") == "200 hello"
        assert await shop.call("asks_async", url="https://shop.example.com/y") == '"hello"'
        assert "not on the list" in await _failed(shop.call("asks", url="https://denied.example.com"))
        caller, message = shop.asked[0]
        assert caller == CALLER
        assert message["headers"] == {"Authorization": "Bearer {{secret:SHOP_KEY}}"}
        assert (message["query"], message["body"]) == ({"a": "b"}, [1])

    run(scenario)


@pytest.mark.parametrize(
    ("source", "place", "words"),
    [
        (b"def broken(:\n", "tools/a.py:1: ", "not Python"),
        (b"import nothing_of_that_name\n", "tools/a.py:1: ", "ModuleNotFoundError"),
        (b"\nx = 1 / 0\n", "tools/a.py:2: ", "ZeroDivisionError"),
        (b"def f(x: int) -> int:\n    return x\n", "tools/a.py:1: ", "docstring"),
        (b"def f(x) -> int:\n    'Do.'\n", "tools/a.py:1: ", "no type"),
        (b"def f(*x: int) -> int:\n    'Do.'\n", "tools/a.py:1: ", "name of its own"),
        (b"def f(x: type(open)) -> int:\n    'Do.'\n", "tools/a.py:1: ", "no JSON"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_with_its_line(source: bytes, place: str, words: str) -> None:
    async def main() -> None:
        process = ToolProcess({"tools/a.py": source}, None)  # type: ignore[arg-type]
        try:
            with pytest.raises(Invalid) as raised:
                await process.tools()
        finally:
            await process.close()
        assert raised.value.public.startswith(place)
        assert words in raised.value.public

    asyncio.run(main())

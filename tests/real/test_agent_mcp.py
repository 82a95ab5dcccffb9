"""MCP servers as tools: one from PyPI that nobody here wrote, one that dies, and one by HTTP through the gateway."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from tests.real.tool_scene import ANNA, BEN, SECRET, ToolScene, package_of, policy_for, tool_scene

from subclaw.business import tools
from subclaw.business.mcp import CATALOGUE
from subclaw.core.errors import Invalid
from subclaw.core.policy import Mode, Rule
from subclaw.testing.egress import run as run_in_gateway_loop
from subclaw.testing.serving import serving

TIME = """
[servers.time]
command = ["mcp-server-time", "--local-timezone", "UTC"]
tools = ["get_current_time", "convert_time"]
bound = { timezone = "customer" }
"""

SERVER = """
import os, sys, json, time
schema = {"type": "object", "properties": {"text": {"type": "string"}, "account": {"type": "string"}},
          "required": ["text", "account"]}
names = ("echo", "die", "hang", "flood", "fail", "look")
tools = [{"name": name, "description": "Do it.", "inputSchema": schema} for name in names]
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method = asked["method"]
    if method == "initialize":
        result = {"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "odd", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": tools}
    elif method == "tools/call":
        name, given = asked["params"]["name"], asked["params"]["arguments"]
        if name == "die":
            os._exit(1)
        if name == "hang":
            time.sleep(100)
        if name == "flood":
            sys.stdout.write("x" * 50_000_000 + "\\n")
        words = json.dumps(given) if name != "look" else json.dumps([sorted(os.environ), os.listdir("/run")])
        result = {"content": [{"type": "text", "text": words}], "isError": name == "fail"}
    else:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no"}}), flush=True)
        continue
    print("noise that is no message", flush=True)
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""


def run(folder: Path, files: Mapping[str, str], scenario: Callable[[ToolScene], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(50), tool_scene(folder, files) as scene:
            await scenario(scene)

    run_in_gateway_loop(main)


def odd(*program: str) -> dict[str, str]:
    """Return a folder with the odd server, or another one in its place."""
    command = json.dumps([sys.executable, *(program or ("-c", SERVER))])
    names = json.dumps(["echo", "die", "hang", "flood", "fail", "look"])
    text = f'[servers.odd]\ncommand = {command}\ntools = {names}\nbound = {{ account = "ids.user" }}\ntimeout_s = 2\n'
    return {"mcp.toml": text + 'environment = { MINE = "yes" }\n'}


def test_a_server_from_pypi_works_and_what_is_bound_is_the_hosts(tmp_path: Path) -> None:
    async def scenario(scene: ToolScene) -> None:
        tools = {each.name: each for each in scene.toolbox.definitions()}
        assert set(tools) == {"time_get_current_time", "time_convert_time"}
        assert "timezone" not in tools["time_get_current_time"].parameters["properties"]
        refused = await scene.call("time_get_current_time", timezone="Europe/Berlin")
        assert refused.is_error
        told = await scene.call("time_get_current_time")
        assert "anna" in told.content  # the server's word that this is no time zone
        arguments = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Kolkata"}
        assert "17:30" in (await scene.call("time_convert_time", **arguments)).content

    run(tmp_path, {"mcp.toml": TIME}, scenario)


def test_a_server_that_misbehaves_is_reported_and_started_anew(tmp_path: Path) -> None:
    async def scenario(scene: ToolScene) -> None:
        told = json.loads((await scene.call("odd_echo", text="hello")).content)
        assert told == {"text": "hello", "account": "u-anna"}
        for name in ("odd_die", "odd_hang", "odd_flood"):
            failed = await scene.call(name, text="x")
            assert failed.is_error, name
            assert "odd does not answer" in failed.content, (name, failed.content)
            assert "hello" in (await scene.call("odd_echo", BEN, text="hello")).content, name
        assert (await scene.call("odd_fail", text="x")).is_error
        environment, run_folder = json.loads((await scene.call("odd_look", text="x")).content)
        assert set(environment) - {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"} == {"PATH", "LANG", "HOME", "MINE"}
        assert run_folder == []

    run(tmp_path, odd(), scenario)


def test_a_server_that_starts_badly_is_asked_again_while_the_other_tools_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "RETRY_S", 0.0)
    server = Path("/srv") / f"{tmp_path.name}-late.py"
    files = {**odd(str(server)), "tools/more.py": 'def more() -> str:\n    """Say more."""\n    return "more"\n'}

    async def scenario(scene: ToolScene) -> None:
        async def names() -> set[str]:
            return {tool.definition.name for tool in await scene.agents.tools_of(package_of(files))}

        assert await names() == {"more"}
        server.write_text("import time\ntime.sleep(100)\n")  # it never says anything
        async with asyncio.timeout(10):  # a start has three times as long
            for _ in range(5):
                assert await names() == {"more"}
        server.write_text(SERVER)
        await scene.agents.close()
        while "odd_echo" not in await names():
            await asyncio.sleep(0.05)

    try:
        run(tmp_path, files, scenario)
    finally:
        server.unlink(missing_ok=True)


def test_a_tool_that_the_server_has_not_is_said_at_the_plan(tmp_path: Path) -> None:
    files = {"mcp.toml": TIME.replace('"convert_time"', '"set_time"')}

    async def scenario(scene: ToolScene) -> None:
        assert scene.toolbox.definitions() == ()
        with pytest.raises(Invalid, match=r"no tool 'set_time'.* It has: .*get_current_time"):
            await scene.agents.examine(package_of(files))

    run(tmp_path, files, scenario)


@asynccontextmanager
async def served(server: MCPServer, asked: list[str]) -> AsyncIterator[int]:
    """Serve an MCP server by HTTP on loopback; it notes what it is asked."""
    app = server.streamable_http_app(
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False)
    )

    async def noting(request: Request, call_next: RequestResponseEndpoint) -> Response:
        asked.append(json.loads(await request.body())["method"])
        return await call_next(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=noting)
    async with app.router.lifespan_context(app), serving(app) as port:
        yield port


def test_a_server_by_http_is_asked_as_the_customer_through_the_gateway(tmp_path: Path) -> None:
    server, seen, asked = MCPServer("crm"), list[str](), list[str]()

    @server.tool()
    def contact(name: str, account: str) -> str:
        """Find a contact."""
        seen.append(account)
        return f"{name} of {account}"

    async def scenario(scene: ToolScene) -> None:
        async with served(server, asked) as port:
            files = {
                "mcp.toml": f'[servers.crm]\nurl = "http://shop.test:{port}/mcp"\ntools = ["contact"]\n'
                'headers = { Authorization = "Bearer {{secret:SHOP_KEY}}" }\nbound = { account = "ids.user" }\n'
            }
            rule = Rule(host="shop.test", ports=(port,), mode=Mode.INJECT, addresses=("127.0.0.1",))
            for tenant_id in (ANNA, BEN, CATALOGUE):
                policy = policy_for(tmp_path, port)
                assert policy.rules == (rule,)
                scene.book.put(tenant_id, policy)
            definitions = await scene.agents.examine(package_of(files))
            assert [each.name for each in definitions] == ["crm_contact"]
            assert list(definitions[0].parameters["properties"]) == ["name"]
            scene.toolbox = scene.toolbox.joined(await scene.agents.tools_of(package_of(files)))
            asked.clear()
            assert (await scene.call("crm_contact", name="Cleo")).content == "Cleo of u-anna"
            assert (await scene.call("crm_contact", BEN, name="Cleo")).content == "Cleo of u-ben"
            assert seen == ["u-anna", "u-ben"]
            assert asked == ["tools/call"] * 2
            scene.book.put(BEN, policy_for(tmp_path, 1))
            assert (await scene.call("crm_contact", BEN, name="Cleo")).is_error
            asked.clear()
            assert (await scene.call("crm_contact", name="Cleo")).content == "Cleo of u-anna"
            assert asked == ["server/discover", "tools/call"]  # after what went wrong it is agreed anew
            assert SECRET not in repr(seen)

    run(tmp_path, {}, scenario)

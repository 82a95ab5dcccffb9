"""A tenant's own tools in a real machine: whatever a model writes reaches the command as it is, and does nothing."""

import hashlib
import json
from collections.abc import Iterator, Mapping

import pytest
from tests.real.machines import Host, running_host

from subclaw.core.tenant import TenantId
from subclaw.core.tenant_tool import parse_tools
from subclaw.core.tool import RESULT_LIMIT_CHARACTERS, Caller, ToolCall, ToolResult
from subclaw.machines.host_client import HostClient
from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import fresh_database
from subclaw.tools.machine import machine_tools
from subclaw.tools.tenant import INPUT_FOLDER, tenant_tools
from subclaw.tools.toolbox import BuiltInToolbox

CALLER = Caller(tenant_id=TenantId(1), conversation_id=1, call_id="call_1", turn_id="turn_1")
PLACEHOLDERS = {"GITHUB_TOKEN": "ghp_subclaw0123", "TOOL_INPUT": "theirs", **{f"V{n:02}": "x" * 60 for n in range(60)}}
ANY = {"type": "object", "properties": {"value": {}}}
TOOLS: list[dict[str, object]] = [
    {"name": "echo", "command": 'echo "$TOOL_INPUT" | base64 -d'},
    {"name": "value", "command": 'echo "$TOOL_INPUT" | base64 -d | jq -j .value; echo; printenv GITHUB_TOKEN'},
    {"name": "size", "command": 'echo "$TOOL_INPUT" | base64 -d | sha256sum; printenv V59 | wc -c'},
    {"name": "flood", "command": "head -c 10000000 /dev/zero | tr '\\0' x"},
    {"name": "hang", "command": "echo begun; sleep 4321 & sleep 4321", "timeout_s": 1},
    {"name": "fail", "command": "echo no such city >&2; exit 3"},
    {"name": "shell_exec", "command": "echo shadow"},
]
HOSTILE = [
    "'; touch /tmp/pwned; '",
    '"; touch /tmp/pwned; "',
    "$(touch /tmp/pwned)",
    "`touch /tmp/pwned`",
    "\n touch /tmp/pwned\n",
    "\r\n\t\\\\ \\' %s %n ${IFS} $TOOL_INPUT !! ~ * ? [a-z] {1..3} & | ; < > # -rf",
    "--help",
    "\0 touch /tmp/pwned \0",
    "\U0001f3ac\u200d\u2028\ufeff\u202e\x1b[31m",
    "\ud800 and \udfff",
    "",
]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, cluster: DatabaseAddress) -> Iterator[Host]:
    with fresh_database(cluster) as address, running_host(tmp_path_factory.mktemp("host"), address) as host:
        yield host


async def placeholders(tenant_id: TenantId) -> Mapping[str, str]:
    return PLACEHOLDERS


def toolbox_of(client: HostClient) -> BuiltInToolbox:
    content = json.dumps([{"description": "d", "parameters": ANY, **tool} for tool in TOOLS]).encode()
    read = parse_tools(content, taken=())  # so that a tool which shadows comes as far as the toolbox
    assert read.tools is not None
    assert not read.problems
    built_in = BuiltInToolbox(machine_tools(client, client, placeholders))
    return built_in.joined(tenant_tools(client, placeholders, read.tools))


def call(host: Host, name: str, arguments: object) -> ToolResult:
    async def scenario(client: HostClient) -> ToolResult:
        made = ToolCall(id="1", name=name, arguments=json.dumps(arguments))
        return await toolbox_of(client).perform(CALLER, made)

    return host.use(scenario)


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_input_is_never_a_shells(host: Host, value: str) -> None:
    result = call(host, "echo", {"value": value})
    assert not result.is_error
    assert json.loads(result.content) == {"value": value}
    assert host.run(1, "! ls /tmp/pwned /home/agent/touch").exit_status == 0


def test_jq_reads_it_and_placeholders_are_there(host: Host) -> None:
    assert call(host, "value", {"value": "$(id) 'Z\u00fcrich'"}).content == "$(id) 'Z\u00fcrich'\nghp_subclaw0123"


@pytest.mark.parametrize("size_bytes", [2_000, 20_000, 90 * 1024])
def test_a_large_input_is_what_it_was_and_leaves_room_for_placeholders(host: Host, size_bytes: int) -> None:
    value = "\u00e9'$(id)\n" * (size_bytes // 10)  # the line feed has two bytes in JSON
    content = json.dumps({"value": value}, ensure_ascii=False, separators=(",", ":")).encode()
    assert call(host, "size", {"value": value}).content == f"{hashlib.sha256(content).hexdigest()}  -\n61"
    assert host.run(1, f"ls -A {INPUT_FOLDER} 2>/dev/null").output == b""


def test_an_input_that_is_too_large_is_refused_in_words(host: Host) -> None:
    result = call(host, "echo", {"value": "x" * 1_000_000})
    assert result.is_error
    assert "1,000,012 bytes as JSON; at most 98,000 fit" in result.content


def test_a_flood_is_bounded(host: Host) -> None:
    result = call(host, "flood", {})
    assert len(result.content) < RESULT_LIMIT_CHARACTERS + 200
    assert "of 10,000,000 bytes of output were left out in the middle" in result.content


def test_a_command_that_hangs_is_ended_with_what_it_started(host: Host) -> None:
    assert call(host, "hang", {}).content == "begun\n[ended after 1 s, because it had not finished]"
    assert host.run(1, "pgrep -f 'sleep 4321$'").exit_status == 1


def test_a_command_that_fails(host: Host) -> None:
    assert call(host, "fail", {}).content == "no such city\n[exit status 3]"


def test_a_tool_that_shadows_is_never_performed(host: Host) -> None:
    assert call(host, "shell_exec", {"command": "echo real"}).content == "real"


def test_what_a_tool_does_can_be_undone(host: Host) -> None:
    call(host, "echo", {})
    kept = host.use(lambda client: client.checkpoints(TenantId(1)))
    assert [checkpoint.label for checkpoint in kept] == ["turn-1"]

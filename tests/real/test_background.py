"""Commands in the background of a real machine: they go on, they are told of, and end with all that they started."""

import json
import os
import re
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.real.machines import Host, eventually, running_host, status_of

from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller, ToolCall
from subclaw.machines.host_client import HostClient
from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import fresh_database
from subclaw.tools.machine import machine_tools
from subclaw.tools.toolbox import BuiltInToolbox

FOLDER = "/home/agent/.background"
KEPT = 20
COUNT = "for n in 1 2 3; do printf 'line %d\\n' $n; done; pwd; exec sleep 5000 # and more than a list shows of it"
HOSTILE = """\
printf '%s\\n' "it's" '$(touch /tmp/pwned)' \\`id\\` "$GITHUB_TOKEN"; env | grep BACKGROUND
exit 3 # '"`$(
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, cluster: DatabaseAddress) -> Iterator[Host]:
    with fresh_database(cluster) as address, running_host(tmp_path_factory.mktemp("host"), address) as host:
        yield host


async def placeholders(tenant_id: TenantId) -> Mapping[str, str]:
    return {"GITHUB_TOKEN": "ghp_subclaw0123", "BACKGROUND_ID": "theirs", **{f"V{n}": "" for n in range(80)}}


def shell_exec(host: Host, tenant: int = 1, **arguments: Any) -> str:
    """Call the tool, and return what the model is told."""
    caller = Caller(tenant_id=TenantId(tenant), conversation_id=1, call_id="call_1", turn_id="turn_1")

    async def scenario(client: HostClient) -> str:
        toolbox = BuiltInToolbox(machine_tools(client, client, placeholders))
        call = ToolCall(id="1", name="shell_exec", arguments=json.dumps(arguments))
        return (await toolbox.perform(caller, call)).content

    return host.use(scenario)


def start(host: Host, command: str, tenant: int = 1) -> str:
    """Start a command that does not end at once; return its id."""
    told = shell_exec(host, tenant, command=command, background=True)
    found = re.search("It runs, with the id ([0-9a-f]{8})", told)
    assert found, told
    return found[1]


def state(host: Host, id: str, tenant: int = 1) -> str:
    """Return what a list says of a command."""
    listed = shell_exec(host, tenant, background=True).splitlines()
    (line,) = [line for line in listed if line.startswith(f"{id} ")]
    return line


def last_line(host: Host, id: str) -> str:
    """Return the last line of a command that a list shows."""
    listed = shell_exec(host, background=True)
    return listed.partition(f"==> {FOLDER}/{id}/log <==\n")[2].partition("\n\n==>")[0].splitlines()[-1]


def shell(host: Host, command: str, tenant: int = 1) -> str:
    result = host.run(tenant, command)
    assert result.exit_status == 0, result.output
    return result.output.decode()


def awake(host: Host) -> set[int]:
    """Return the tenants whose machines are awake."""
    return {int(status.tenant_id) for status in host.use(lambda client: client.statuses())}


def none_is_left(host: Host, pattern: str) -> bool:
    return host.run(1, f"pgrep -f '{pattern}'").exit_status == 1


def test_start_state_and_stop(host: Host) -> None:
    assert shell_exec(host, background=True) == "Nothing was started in the background."
    id = start(host, COUNT)
    assert state(host, id) == f"{id} runs: {COUNT[:80].strip()}"
    assert last_line(host, id) == "/home/agent"
    told = shell_exec(host, stop=id)
    assert told.startswith(f"{id} stopped, exit status 143: for n in")
    assert f"\n==> {FOLDER}/{id}/log <==\nline 1\nline 2\nline 3\n/home/agent" in told
    assert none_is_left(host, "sleep 5000$")
    assert shell_exec(host, stop=id) == told
    assert state(host, id).startswith(f"{id} stopped, exit status 143")


def test_command_text_is_run_as_it_is_and_nothing_else_is(host: Host) -> None:
    told = shell_exec(host, command=HOSTILE, background=True)
    assert told.startswith("It has ended already, exit status 3. Its id is ")
    assert told.endswith("/log <==\nit's\n$(touch /tmp/pwned)\n`id`\nghp_subclaw0123")
    assert host.run(1, "ls /tmp/pwned").exit_status == 2


def test_one_that_ignores_being_asked_is_killed(host: Host) -> None:
    id = start(host, "trap '' TERM; echo ready; while :; do sleep 5001; done")
    assert shell_exec(host, stop=id).startswith(f"{id} was killed, since it did not stop within 5 s: trap")
    assert none_is_left(host, "sleep 5001$")


def test_whatever_it_started_ends_with_it(host: Host) -> None:
    id = start(
        host,
        "(sleep 5002 &); setsid sleep 5002 & env -i setsid -f sleep 5002; nohup sleep 5002 & sh -c 'sleep 5002; true'",
    )
    eventually(lambda: shell(host, "pgrep -c -f '^sleep 5002$'") == "5\n", "not all of them were started")
    shell_exec(host, stop=id)
    assert none_is_left(host, "sleep 5002$")


def test_what_outlives_the_commands_shell_is_told_of_and_stopped(host: Host) -> None:
    told = shell_exec(host, command="sleep 5003 & echo over", background=True)
    assert told.startswith("It has ended already, exit status 0.")
    assert told.endswith("\nover")
    id = shell(host, f"ls -t {FOLDER} | head -n 1").strip()
    assert state(host, id).startswith(f"{id} runs on, though its shell has ended with exit status 0:")
    shell_exec(host, stop=id)
    assert none_is_left(host, "sleep 5003$")


def test_it_goes_on_where_it_was_after_a_sleep_with_memory(host: Host) -> None:
    id = start(host, "n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done")
    before = int(last_line(host, id))
    host.use(lambda client: client.sleep(TenantId(1)))
    assert 1 not in awake(host)
    eventually(lambda: int(last_line(host, id)) > before + 10, "it does not go on")
    assert state(host, id).startswith(f"{id} runs:")
    assert shell_exec(host, stop=id).startswith(f"{id} stopped, exit status 143")


def test_a_machine_that_was_started_anew_has_lost_it_and_nothing_else_is_stopped_for_it(host: Host) -> None:
    lost = start(host, "sleep 5004", tenant=2)
    shell(host, "sync", tenant=2)
    os.kill(status_of(host, 2).process_id, signal.SIGKILL)
    eventually(lambda: 2 not in awake(host), "the machine is still there")
    assert state(host, lost, tenant=2).startswith(f"{lost} is gone: the machine was started anew since: sleep 5004")
    other = start(host, "sleep 5005", tenant=2)
    # Numbers of groups and processes begin anew with the machine, so that of the lost one may be another's.
    group = shell(host, f"cut -d' ' -f2 {FOLDER}/{other}/started", tenant=2).strip()
    shell(host, f"sed -i 's| .*| {group}|' {FOLDER}/{lost}/started", tenant=2)
    assert shell_exec(host, 2, stop=lost).startswith(f"{lost} is gone")
    assert state(host, other, tenant=2).startswith(f"{other} runs")
    shell_exec(host, 2, stop=other)


def test_only_so_many_are_kept_and_run(host: Host) -> None:
    made = f'for n in $(seq 10 39); do mkdir {FOLDER}/000000$n; touch -d "$n minutes" {FOLDER}/000000$n; done'
    shell(host, f"date -s '1 hour ago'; mkdir -p {FOLDER}; {made}; date -s '1 hour'", tenant=3)
    runs = start(host, "sleep 5006", tenant=3)
    assert shell(host, f"ls {FOLDER} | wc -l", tenant=3) == f"{KEPT}\n"
    assert state(host, "00000039", tenant=3) == "00000039 did not start: "
    # So that not so many are started: all folders are made those of the one that runs.
    shell(host, f"for other in {FOLDER}/000000*; do cp {FOLDER}/{runs}/started $other; done", tenant=3)
    told = shell_exec(host, 3, command="sleep 5007", background=True)
    assert told == f"{KEPT} commands run in the background already. Stop one first.\n[exit status 1]"
    assert shell(host, f"ls {FOLDER} | wc -l", tenant=3) == f"{KEPT}\n"
    shell_exec(host, 3, stop=runs)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "The command is missing."),
        ({"command": "true", "stop": "0"}, "not both in one call"),
        ({"stop": "../../etc"}, "An id has 8 digits"),
        ({"stop": "0123abcd"}, "There is no command 0123abcd."),
        ({"command": "a\0b", "background": True}, "has a NUL in it"),
        ({"command": "\ud800", "background": True}, "characters that cannot be"),
    ],
)
def test_calls_that_cannot_be(host: Host, arguments: dict[str, Any], words: str) -> None:
    assert words in shell_exec(host, **arguments)


def test_a_flood_of_output_is_bounded_in_what_is_told(host: Host) -> None:
    told = shell_exec(host, command="head -c 3000000 /dev/zero | tr '\\0' x", background=True)
    assert told.startswith("It has ended already, exit status 0.")
    assert 2_000 < len(told) < 2_300


def test_it_can_be_undone(host: Host) -> None:
    shell_exec(host, 4, command="true", background=True)
    kept = host.use(lambda client: client.checkpoints(TenantId(4)))
    assert [checkpoint.label for checkpoint in kept] == ["turn-1"]

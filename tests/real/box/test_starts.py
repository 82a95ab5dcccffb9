"""What keeps a box from starting is said in one line that says what to do: exit code 1, no traceback, nothing left."""

import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.real.box.conftest import ScriptedBox
from tests.real.box.running import RunningBox, ask, environment, running_box, state_folder
from tests.real.box.starting import LIMIT_S, hidden, refused

NO_DATABASE = "host=/tmp/no-such-folder dbname=subclaw user=subclaw"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"SUBCLAW_PORT": "eighty"}, r"SUBCLAW_PORT is 'eighty'; it must be a number from 1 to 65535\."),
        ({"SUBCLAW_HOME": "/dev/null/x"}, r"The state folder /dev/null/x cannot be made: Not a directory\."),
        ({"SUBCLAW_LISTEN": "192.0.2.1"}, r"SUBCLAW_LISTEN is '192.0.2.1', which is not an address of this host\."),
        ({"SUBCLAW_CACHE": "/tmp/no-such-cache"}, r"The golden image is not built\. Build it with: make setup"),
        ({"DATABASE_URL": NO_DATABASE}, r"The database of DATABASE_URL cannot be reached: No such file or directory.*"),
        ({"DATABASE_URL": "postgresql://x:password@127.0.0.1:1/x"}, r".* cannot be reached: Connection refused.*"),
    ],
    ids=["port", "home", "listen", "cache", "no socket", "no server"],
)
def test_a_setting_that_cannot_be(settings: dict[str, str], words: str) -> None:
    with state_folder() as home:
        said = refused(home, settings)
        assert re.match(words, said), said
        assert "password" not in said


def test_a_port_in_use() -> None:
    with state_folder() as home, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = refused(home, {"SUBCLAW_PORT": str(port)})
    assert said == f"Port {port} is in use by another program. Stop it, or set SUBCLAW_PORT to a free port."


@pytest.mark.parametrize("size", ["1m", "64m", "8k"])
def test_a_full_disk(size: str) -> None:
    with state_folder() as home:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", home], check=True)
        try:
            (home / "lock").touch()  # it was a state folder before
            (home / "filler").write_bytes(b"x" * 4096)
            said = refused(home, {})
        finally:
            subprocess.run(["umount", home], check=True)
    assert re.match(rf"The disk of {home} is full: \d+ MB are free and \d+ MB are needed\. Make room, or set", said), (
        said
    )


def test_no_root() -> None:
    with state_folder() as home:
        nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]
        said = refused(home, {}, nobody)
    assert "must be started as root" in said
    assert said.endswith("Use sudo.")


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (
            ["/usr/bin/qemu-system-x86_64"],
            "Machines need programs that are missing: apt-get install qemu-system-x86",
        ),
        (["/usr/bin/bwrap"], "Machines need programs that are missing: apt-get install bubblewrap"),
        (["/usr/lib/postgresql"], "PostgreSQL is not installed. Install it with: apt-get install postgresql"),
        (["/usr/bin/caddy"], "Caddy is not installed. Install it with: apt-get install caddy"),
    ],
    ids=["QEMU", "bubblewrap", "PostgreSQL", "Caddy"],
)
def test_a_program_that_is_missing(paths: Sequence[str], words: str) -> None:
    with state_folder() as home:
        assert refused(home, {}, hidden(*paths)).endswith(words)


def test_a_state_folder_that_the_systems_users_cannot_enter() -> None:
    with state_folder() as above:
        above.chmod(0o700)
        said = refused(above / "state", {})
    words = (
        f"cannot enter {above}, in which the state folder lies. Open it with: chmod o+x {above}, or set SUBCLAW_HOME"
    )
    assert words in said


def test_a_port_that_is_only_roots(free_port_of_root: int) -> None:
    with state_folder() as home, running_box(home, SUBCLAW_PORT=str(free_port_of_root)) as box:
        assert box.port == free_port_of_root
        assert "stand-in" in ask(box, "hello")[0]


@pytest.fixture
def free_port_of_root() -> int:
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("every port is taken")


def test_a_box_that_runs_already(demo_box: RunningBox) -> None:
    said = refused(demo_box.home, {})
    assert said == (
        f"subclaw already runs with the state folder {demo_box.home} (process {demo_box.process.pid}). "
        "Stop it, or set SUBCLAW_HOME to another folder."
    )
    assert "stand-in" in ask(demo_box, "hello")[0], "and it still does"


def test_two_boxes_run_side_by_side(demo_box: RunningBox, scripted_box: ScriptedBox) -> None:
    assert demo_box.port != scripted_box.box.port
    assert "stand-in" in ask(demo_box, "hello")[0]
    assert ask(scripted_box.box, "hello") == ["All is well."]


def test_the_command_line_talks_to_the_box_of_its_state_folder(demo_box: RunningBox) -> None:
    def run(*arguments: str, home: Path = demo_box.home) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "subclaw", *arguments]
        return subprocess.run(command, env=environment(home, {}), capture_output=True, text=True, timeout=LIMIT_S)

    for _ in range(2):  # the second time as the same person, who must not hear the first reply again
        said = run("chat", "hello")
        assert (said.returncode, said.stderr) == (0, "")
        assert said.stdout.startswith("Hello!"), "a script gets the reply and nothing else"
        assert said.stdout.count("Hello!") == 1
    assert run("tenants", "--json").returncode == 0
    assert run("machines", "--json").returncode == 0
    with state_folder() as empty:
        for command in (["chat", "hello"], ["tenants"], ["machines"]):
            ended = run(*command, home=empty)
            assert ended.returncode == 1
            assert re.fullmatch(r"subclaw: .*\n", ended.stderr), ended.stderr
            assert ended.stdout == ""

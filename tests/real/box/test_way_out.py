"""The way out, as a machine sees it: ordinary programs reach what is allowed, with secrets that they never have."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from anyio.from_thread import start_blocking_portal
from tests.real.box.conftest import model_settings
from tests.real.box.memory import files_with, memory_has
from tests.real.box.outside import HOSTS, Outside, running_outside
from tests.real.box.running import RunningBox, Somebody, environment, running_box, state_folder, wait_for

from subclaw.core.tenant import TenantId
from subclaw.testing.openai import FakeOpenAi, Words, call, running_openai

CANARY = "ghp_canary0123456789abcdefghijklmnopqrst"
DONE = Words(text="That is what came of it.")
COMMAND_S = 280.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A box, what is outside of it, and one person whose agent has a machine."""

    box: RunningBox
    outside: Outside
    model: FakeOpenAi
    person: Somebody

    def run(self, text: str) -> str:
        """Have the agent run a command, and return what it was told of it. `PORT` is the port of all hosts."""
        said = f"go on {uuid4()}"
        command = text.replace("PORT", str(self.outside.port))
        play = self.model.play(said, call("shell_exec", command=command, timeout_s=COMMAND_S), DONE)
        assert self.person.ask(self.box, said) == [DONE.text]
        (told,) = play.told()
        return told

    def operator(self, *arguments: str, value: str = "") -> str:
        """Run a command of the operator's and return what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "subclaw", *arguments],
            env=environment(self.box.home, {}),
            input=value,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def tenant(self) -> TenantId:
        ((tenant_id,),) = self.box.rows("SELECT id FROM tenant")
        return TenantId(tenant_id)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with (
        running_openai() as model,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running_outside(tmp_path_factory.mktemp("outside"))) as outside,
        state_folder() as home,
    ):
        authorities = home.with_suffix(".pem")
        authorities.write_text(outside.authority)
        try:
            with running_box(home, SUBCLAW_AUTHORITIES=str(authorities), **model_settings(model)) as box:
                made = Scene(box=box, outside=outside, model=model, person=Somebody())
                for host in HOSTS:
                    made.operator("policy", "allow", host, "--port", str(outside.port), "--address", "127.0.0.1")
                made.operator(
                    *("secrets", "set", "API_TOKEN", "--hosts", "api.test", "--ports", str(outside.port)),
                    *("--header", "Authorization"),
                    value=CANARY,
                )
                yield made
                model.let_go()
        finally:
            authorities.unlink()


def test_pip_installs_a_package(scene: Scene) -> None:
    said = scene.run(
        "pip install -q --no-cache-dir --disable-pip-version-check --break-system-packages --root-user-action ignore"
        " --index-url https://pypi.test:PORT/simple pebble-stone"
        " && python3 -c 'import pebble_stone; print(pebble_stone.SAYS)'"
    )
    assert said == "installed by pip"


def test_npm_installs_a_package(scene: Scene) -> None:
    said = scene.run(
        "mkdir -p site && cd site && npm install --no-audit --no-fund --registry https://npm.test:PORT pebble >&2"
        " && node -e 'console.log(require(\"pebble\"))'"
    )
    assert said.endswith("installed by npm")


def test_git_clones_over_https(scene: Scene) -> None:
    assert "first stone" in scene.run("git clone -q https://git.test:PORT/stone.git && git -C stone log --oneline")


@pytest.mark.parametrize(
    "program",
    [
        'curl -s URL -H "Authorization: Bearer $API_TOKEN"',
        'python3 -c "import os, urllib.request as r;'
        " print(r.urlopen(r.Request('URL', headers={'Authorization': 'Bearer ' + os.environ['API_TOKEN']})).read())\"",
        "node -e \"fetch('URL', {headers: {Authorization: 'Bearer ' + process.env.API_TOKEN}})"
        '.then(async (r) => console.log(await r.text()))"',
        "bun -e \"fetch('URL', {headers: {Authorization: 'Bearer ' + process.env.API_TOKEN}})"
        '.then(async (r) => console.log(await r.text()))"',
    ],
    ids=["curl", "python", "node", "bun"],
)
def test_a_secret_is_used_and_never_seen(scene: Scene, program: str) -> None:
    said = scene.run(program.replace("URL", "https://api.test:PORT/me"))
    *_, (host, method, path, headers) = scene.outside.asked
    assert (host, method, path) == ("api.test", "GET", "/me")
    assert headers["Authorization" if "Authorization" in headers else "authorization"] == f"Bearer {CANARY}"
    assert "Bearer [secret]" in said
    assert CANARY not in said


def test_a_websocket_flows(scene: Scene) -> None:
    said = scene.run(
        "bun -e \"const w = new WebSocket('wss://live.test:PORT/socket'); w.onopen = () => w.send('hello');"
        ' w.onmessage = (m) => { console.log(m.data); process.exit() }"'
    )
    assert said == "you said hello"


def test_a_stream_of_events_comes_as_it_is_sent(scene: Scene) -> None:
    """The server waits after the first piece until that was seen: whoever gathers never sees it."""
    first = "curl -sN --max-time 20 https://live.test:PORT/events | head -n 1"
    assert scene.run(first) == "data: piece 0"


def test_what_is_not_allowed_is_said_in_words(scene: Scene) -> None:
    assert "evil.test:PORT is not on the list".replace("PORT", str(scene.outside.port)) in scene.run(
        "curl -s https://evil.test:PORT/"
    )
    assert "ask_for_access" in scene.run("curl -s http://evil.test/")


@pytest.mark.parametrize(
    "attempt",
    [
        "curl -sS --max-time 5 --noproxy '*' http://127.0.0.2.nip.test/ http://203.0.113.7:22/ | head -c 300",
        "curl -sSk --max-time 5 https://198.51.100.7/",
        "curl -sSk --max-time 5 -6 'https://[2001:db8::7]/'",
        "python3 -c \"import socket; s = socket.socket(2, 2); s.settimeout(3); s.sendto(b'x' * 40, ('8.8.8.8', 443));"
        ' print(s.recv(99))"',
        "ping -c 1 -W 2 8.8.8.8",
    ],
    ids=["raw", "no name", "IPv6", "QUIC", "ping"],
)
def test_there_is_no_way_round(scene: Scene, attempt: str) -> None:
    before = len(scene.outside.asked)
    said = scene.run(attempt)
    assert any(word in said for word in ("host must be a name", "error", "SSL", "timed out", "not found", "403")), said
    assert len(scene.outside.asked) == before


def test_a_machine_that_slept_still_trusts_its_authority(scene: Scene) -> None:
    scene.run("(sleep 1000 &) ; true")  # what runs is saved with the machine's memory
    scene.box.use_host(lambda machines: machines.sleep(scene.tenant))
    assert '"you"' in scene.run("curl -s https://api.test:PORT/again")


def test_a_host_that_is_denied_meanwhile_is_shut_at_once(scene: Scene) -> None:
    assert '"you"' in scene.run("curl -s https://api.test:PORT/open")
    said = scene.operator("policy", "deny", "api.test", "--port", str(scene.outside.port))
    number = next(word.strip(".") for word in said.split() if word.strip(".").isdigit())
    wait_for(
        lambda: "denied by a rule of the operator" in scene.run("curl -s https://api.test:PORT/shut"),
        "the host stays open",
    )
    scene.operator("policy", "remove", number)
    wait_for(lambda: '"you"' in scene.run("curl -s https://api.test:PORT/open"), "the host stays shut")


def test_a_gateway_that_was_killed_serves_again(scene: Scene) -> None:
    assert '"you"' in scene.run("curl -s https://api.test:PORT/before")
    for name, process in scene.box.children().items():
        if name.startswith("egress"):
            process.kill()
    wait_for(lambda: '"you"' in scene.run("curl -s --max-time 20 https://api.test:PORT/after"), "machines stay cut off")


def test_each_decision_is_in_the_log(scene: Scene) -> None:
    scene.run("curl -s https://api.test:PORT/ https://evil.test:PORT/")

    def logged() -> set[tuple[str, bool]]:
        return {(row["host"], row["allowed"]) for row in json.loads(scene.operator("policy", "log", "--json"))}

    wait_for(lambda: {("api.test", True), ("evil.test", False)} <= logged(), "decisions are not logged")


def test_the_secret_is_nowhere_else(scene: Scene) -> None:
    """Not on a disk, in a memory image, the database, a log or a process but the gateway's."""
    scene.run('curl -s https://api.test:PORT/me -H "Authorization: Bearer $API_TOKEN" > kept; (sleep 1000 &)')
    secret = CANARY.encode()
    gateways = [process for name, process in scene.box.children().items() if name.startswith("egress")]
    assert any(memory_has(process, secret) for process in gateways)
    others = [process for name, process in scene.box.children().items() if not name.startswith("egress")]
    assert not [process for process in others if memory_has(process, secret)]
    scene.box.use_host(lambda machines: machines.sleep(scene.tenant))
    assert files_with(scene.box.home / "machines", b"ghp_subclaw") != []  # the placeholder is where the value is not
    assert files_with(scene.box.home, secret) == []
    assert CANARY not in scene.box.said.read_text()
    stored = repr(scene.box.rows("SELECT name, placeholder, sealed FROM bound_secret"))
    assert "API_TOKEN" in stored
    assert CANARY not in stored

"""The operator's console of a real box, through its router: the link, what is seen, and a machine put to sleep."""

import re
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
from tests.real.box.running import RunningBox, ask, environment, wait_for

from subclaw.home import Home


def link(home: Path) -> subprocess.CompletedProcess[str]:
    """Ask for the link as the operator does."""
    command = [sys.executable, "-m", "subclaw", "console"]
    return subprocess.run(command, env=environment(home, {}), cwd="/", capture_output=True, text=True, timeout=60)


def test_the_operator_signs_in_by_the_link_and_puts_a_machine_to_sleep(demo_box: RunningBox) -> None:
    wish = f"make me a page about {uuid4()}"
    ask(demo_box, wish)
    tenant_id = demo_box.tenant_that_said(wish)
    url = urlsplit(link(demo_box.home).stdout.strip())
    assert (url.scheme, url.netloc, url.path) == ("http", f"localhost:{demo_box.port}", "/console/enter")
    own = {"host": url.netloc, "origin": f"http://{url.netloc}"}
    with httpx2.Client(base_url=demo_box.url, headers=own, timeout=30, trust_env=False) as client:
        assert client.get("/console").status_code == 401
        assert client.post("/console/enter", data={"key": "a guess"}).status_code == 401
        assert client.post("/console/enter", data={"key": url.fragment}).status_code == 303
        overview = client.get("/console").text
        assert overview.count('class="well"') == 5, "database, workers, host, gateway, router"
        assert 'class="ill"' not in overview
        timeline = client.get(f"/console/tenants/{tenant_id}").text
        assert "Tool finished" in timeline
        assert wish not in timeline
        assert tenant_id in [machine.tenant_id for machine in demo_box.use_host(lambda host: host.statuses())]
        path = f"/console/machines/{tenant_id}/sleep"
        assert path in client.get("/console/machines").text
        assert client.post(path).status_code == 303
        wait_for(
            lambda: path not in client.get("/console/machines").text, "the machine that was put to sleep is listed"
        )


def test_the_key_is_in_roots_file_and_nowhere_else(demo_box: RunningBox) -> None:
    home = Home(demo_box.home)
    key = home.console_key.read_text()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", key)
    for file, mode, group in ((home.console_key, 0o600, "root"), (home.console_key_hash, 0o640, "subclaw")):
        assert (stat.S_IMODE(file.stat().st_mode), file.owner(), file.group()) == (mode, "root", group)
    logs = [*home.logs.iterdir(), demo_box.said]
    assert len(logs) > 5
    assert not [file.name for file in logs if key.encode() in file.read_bytes()]
    processes = [
        f"/proc/{child.pid}/{what}" for child in demo_box.children().values() for what in ("environ", "cmdline")
    ]
    assert not [file for file in processes if key.encode() in Path(file).read_bytes()]


def test_without_a_box_there_is_no_link() -> None:
    refused = link(Path("/tmp") / f"sc-{uuid4().hex[:8]}")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1
    assert "subclaw up" in refused.stderr

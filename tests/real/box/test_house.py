"""An agent's own house: it writes itself tools, skills and memory, breaks them, and mends them."""

import asyncio
import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.real.box.conftest import ScriptedBox, running_scripted_box
from tests.real.box.running import Somebody, environment, next_reply

from subclaw.core.house import HOUSE, MEMORY, SYSTEM, TOOLS
from subclaw.testing.openai import Answer, Words, call

DONE = Words(text="It is done.")
GREETER = [
    {
        "name": "greet",
        "description": "Greet somebody.",
        "parameters": {"type": "object", "properties": {"who": {"type": "string"}}, "required": ["who"]},
        "command": 'echo "Hello, $(echo "$TOOL_INPUT" | base64 -d | jq -r .who)!"',
    }
]


@dataclass(kw_only=True)
class Owner:
    """A person and their scripted model, with what it was sent last."""

    scripted: ScriptedBox
    somebody: Somebody = field(default_factory=Somebody)
    said: str = ""

    def turn(self, *answers: Answer) -> list[str]:
        """Have a turn of these answers; return what the model was told of its calls."""
        self.said = f"go on {uuid4()}"
        play = self.scripted.model.play(self.said, *answers, DONE)
        assert self.somebody.ask(self.scripted.box, self.said) == [DONE.text]
        return play.told()

    def sent(self) -> dict[str, Any]:
        """Return the last request of the last turn."""
        body: dict[str, Any] = json.loads(self.scripted.model.bodies[-1])
        assert body["messages"][-1]["role"] in ("user", "tool")
        return body

    def system(self) -> str:
        """Return the system text of the last turn."""
        return str(self.sent()["messages"][0]["content"])

    def tools(self) -> list[str]:
        """Return the names of the tools of the last turn."""
        return [tool["function"]["name"] for tool in self.sent()["tools"]]

    def has_machine(self) -> bool:
        """Say whether a machine was ever started for this person."""
        tenant_id = self.scripted.box.tenant_that_said(self.said)
        return bool(self.scripted.box.rows("SELECT FROM machine WHERE tenant_id = %s", tenant_id))

    def put_to_sleep(self) -> None:
        """Put the machine to sleep."""
        tenant_id = self.scripted.box.tenant_that_said(self.said)
        self.scripted.box.use_host(lambda host: host.sleep(tenant_id))
        assert self.is_asleep()

    def is_asleep(self) -> bool:
        """Say whether the machine sleeps."""
        tenant_id = self.scripted.box.tenant_that_said(self.said)
        ((state,),) = self.scripted.box.rows("SELECT state FROM machine WHERE tenant_id = %s", tenant_id)
        return str(state).startswith("asleep")

    def hear(self) -> str:
        """Wait for what comes without having been asked."""

        async def scenario() -> str:
            async with self.somebody.at(self.scripted.box) as person:
                return await next_reply(person)

        return asyncio.run(scenario())


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedBox]:
    with running_scripted_box() as box:
        yield box


@pytest.fixture
def owner(scripted: ScriptedBox) -> Owner:
    return Owner(scripted=scripted)


def write(name: str, content: str) -> Answer:
    return call("write_file", path=f"{HOUSE}/{name}", content=content)


def shell(command: str) -> Answer:
    return call("shell_exec", command=command)


def test_a_memory_that_is_written_and_read_without_waking_a_machine(owner: Owner) -> None:
    assert owner.turn(write(MEMORY, "# Ada\nPlays the cello.\n")) == ["Wrote 23 bytes."]
    assert "Plays the cello." not in owner.system()
    assert owner.turn(call("read_file", path=f"{HOUSE}/{MEMORY}")) == ["# Ada\nPlays the cello.\n"]
    assert "Plays the cello." in owner.system()
    assert not owner.has_machine()
    assert owner.turn(shell(f"cat {HOUSE}/{MEMORY}")) == ["# Ada\nPlays the cello."]


def test_an_agent_writes_itself_a_tool_and_uses_it_in_the_next_turn(owner: Owner) -> None:
    owner.turn(write(TOOLS, json.dumps(GREETER)))
    assert "greet" not in owner.tools()
    assert owner.turn(call("greet", who="$(reboot) \"Ada\" 'O''Hara'")) == ["Hello, $(reboot) \"Ada\" 'O''Hara'!"]
    assert owner.tools()[-1] == "greet"


def test_an_agent_reloads_its_house_and_uses_a_new_tool_in_the_same_turn(owner: Owner) -> None:
    tools = base64.b64encode(json.dumps(GREETER).encode()).decode()
    told = owner.turn(
        shell(f"echo {tools} | base64 -d > {HOUSE}/{TOOLS}"), call("reload_harness"), call("greet", who="Ada")
    )
    assert told[1].startswith("New tools: greet.")
    assert told[2] == "Hello, Ada!"


def test_an_agent_writes_a_skill_and_is_told_of_it_by_a_line(owner: Owner) -> None:
    owner.turn(write("skills/invoices.md", "# Invoices\n\nWhen an invoice is wanted.\n\nUse the template, in euros.\n"))
    owner.turn(call("read_file", path=f"{HOUSE}/skills/invoices.md"))
    assert f"- Invoices: When an invoice is wanted. ({HOUSE}/skills/invoices.md)" in owner.system()
    assert "in euros" not in owner.system()
    assert not owner.has_machine()


def test_an_agent_breaks_its_house_and_mends_it(owner: Owner) -> None:
    owner.turn(write(TOOLS, json.dumps(GREETER)), write(SYSTEM, "You are a pirate called {name}."))
    owner.turn(call("greet", who="Ada"))
    assert owner.system().startswith("You are a pirate called ")
    broken = f"cd {HOUSE} && echo '[{{' > {TOOLS} && head -c 10000000 /dev/zero > {SYSTEM} && ln -s loop skills"
    owner.turn(shell(broken))
    owner.turn()
    assert owner.system().startswith("You are a pirate called ")
    assert "tools.json: it is not JSON" in owner.system()
    assert "greet" in owner.tools()
    owner.put_to_sleep()
    owner.turn()
    assert owner.is_asleep()
    assert "greet" in owner.tools(), "what the mirror has of broken files serves as well"
    owner.turn(shell(f"cd {HOUSE} && rm skills {SYSTEM} && echo '[]' > {TOOLS}"))
    owner.turn()
    assert "cannot be used" not in owner.system()
    assert owner.system().startswith("You are ")
    assert "pirate" not in owner.system()
    assert "greet" not in owner.tools()


def test_memory_is_edited_while_the_machine_sleeps_and_is_there_when_it_wakes(owner: Owner) -> None:
    owner.turn(shell(f"echo likes tea > {HOUSE}/{MEMORY}"))
    owner.put_to_sleep()
    assert owner.turn(call("read_file", path=f"{HOUSE}/{MEMORY}")) == ["likes tea\n"]
    owner.turn(write(MEMORY, "likes coffee\n"))
    assert owner.is_asleep()
    assert owner.turn(shell(f"cat {HOUSE}/{MEMORY}")) == ["likes coffee"]


def test_what_an_agent_did_to_its_house_is_undone(owner: Owner) -> None:
    owner.turn(write(MEMORY, "likes tea"))
    owner.turn(write(MEMORY, "likes nothing"))
    owner.turn(call("undo"))
    owner.turn()
    assert "likes tea" in owner.system()


def test_a_reminder_fires_and_an_agent_acts_on_another(owner: Owner) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=3)).isoformat(timespec="seconds")
    owner.turn(call("schedule_notification", action="set", text="Drink some water.", when=soon))
    assert owner.hear() == "Drink some water."
    owner.scripted.model.otherwise = (Words(text="It rains."),)
    soon = (datetime.now(UTC) + timedelta(seconds=3)).isoformat(timespec="seconds")
    owner.turn(call("schedule_notification", action="set", text="Tell the weather.", when=soon, mode="agent_turn"))
    assert owner.hear() == "It rains."


def test_an_agent_fans_out_ten_completions(owner: Owner) -> None:
    for number in range(10):
        owner.scripted.model.play(f"Square {number}.", Words(text=f"It is {number**2}."))
    (told,) = owner.turn(call("llm_complete", prompts=[f"Square {number}." for number in range(10)]))
    assert re.findall(r"It is (\d+)\.", told) == [str(number**2) for number in range(10)]


def test_a_tool_that_shadows_a_built_in_one_does_nothing(owner: Owner) -> None:
    owner.turn(write(TOOLS, json.dumps([{**GREETER[0], "name": "Shell-Exec"}])))
    (told,) = owner.turn(shell("echo mine"))
    assert told == "mine"
    assert "Shell-Exec" not in owner.tools()
    assert "shell_exec is a tool already" in owner.system()


def test_an_agent_from_elsewhere_moves_in_and_another_model_serves_it(owner: Owner, tmp_path: Path) -> None:
    owner.turn()
    home = owner.scripted.box.home
    ((name,),) = owner.scripted.box.rows(
        "SELECT name FROM tenant WHERE id = %s", owner.scripted.box.tenant_that_said(owner.said)
    )
    (tmp_path / "SOUL.md").write_text("You are Molty, a lobster with opinions.\n")
    (tmp_path / "MEMORY.md").write_text("- Ada plays the cello.\n")
    (tmp_path / "AGENTS.md").write_text("Answer in rhymes.\n")
    for command in (["house", "import", name, str(tmp_path)], ["tenants", "model", name, "openai:other"]):
        done = subprocess.run(
            [sys.executable, "-m", "subclaw", *command],
            env=environment(home, {}),
            capture_output=True,
            text=True,
            cwd="/",
        )
        assert done.returncode == 0, done.stderr + done.stdout
    owner.turn()
    assert "a lobster with opinions" in owner.system()
    assert "Ada plays the cello." in owner.system()
    assert owner.sent()["model"] == "other"

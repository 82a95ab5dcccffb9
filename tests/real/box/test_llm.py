"""Models asked from within a machine: by the command `llm` and OpenAI's protocol, with no key there, and paid for."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from tests.real.box.conftest import KEY, model_settings
from tests.real.box.running import RunningBox, Somebody, running_box, state_folder

from subclaw.testing.openai import Calls, Failure, FakeOpenAi, Words, call, running_openai

DONE = Words(text="That is what came of it.")
COMMAND_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A box and one person whose agent has a machine."""

    box: RunningBox
    model: FakeOpenAi
    person: Somebody

    def told(self, answer: Calls) -> str:
        """Have the agent make one call and return what it was told of it."""
        said = f"go on {uuid4()}"
        play = self.model.play(said, answer, DONE)
        assert self.person.ask(self.box, said) == [DONE.text]
        (told,) = play.told()
        return told

    def run(self, command: str) -> str:
        """Have the agent run a command."""
        return self.told(call("shell_exec", command=command, timeout_s=COMMAND_S))


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with running_openai() as model, state_folder() as home, running_box(home, **model_settings(model)) as box:
        yield Scene(box=box, model=model, person=Somebody())
        model.let_go()


def test_a_shell_asks_and_pipes(scene: Scene) -> None:
    prompt = scene.model.play("Summarise.\n\na long text\n", Words(text="short"))
    assert scene.run("echo a long text | llm --system 'Be kind.' Summarise.") == "short"
    ((system, _),) = prompt.prompts
    assert system == {"role": "system", "content": "Be kind."}


def test_each_line_is_answered_in_order(scene: Scene) -> None:
    for number in range(10):
        scene.model.play(f"Square: {number}", Words(text=str(number**2)))
    said = scene.run("seq 0 9 | sed 's/^/Square: /' | llm --each | jq -r .text | paste -sd ' '")
    assert said == "0 1 4 9 16 25 36 49 64 81"


def test_a_program_that_speaks_openais_protocol_is_answered(scene: Scene) -> None:
    scene.model.play("hello from a library", Words(text="hello to it"))
    document = json.dumps({"model": "any", "messages": [{"role": "user", "content": "hello from a library"}]})
    for scheme in ("http", "https"):
        url = f"{scheme}://llm.subclaw.internal/v1/chat/completions"
        asked = f"curl -sS {url} -H 'Authorization: Bearer any' -d '{document}' | jq -r '.choices[0].message.content'"
        assert scene.run(asked) == "hello to it"


def test_what_fails_is_said_in_words_and_fails(scene: Scene) -> None:
    scene.model.play("refuse this", Failure(status=401))
    said = scene.run("llm refuse this; echo $?")
    assert said.endswith("1")
    assert "llm: " in said


def test_a_machine_is_nobody_else_whatever_it_says(scene: Scene) -> None:
    ((before,),) = scene.box.rows("SELECT count(*) FROM usage WHERE conversation_id IS NULL")
    scene.model.play("who am I?", Words(text="somebody"))
    url, body = "http://llm.subclaw.internal/v1/complete", json.dumps({"prompts": ["who am I?"]})
    assert "somebody" in scene.run(f"curl -sS -H 'x-subclaw-tenant: 999' {url} -d '{body}'")
    rows = scene.box.rows("SELECT tenant_id FROM usage WHERE conversation_id IS NULL")
    assert len(rows) == before + 1
    assert rows == scene.box.rows("SELECT id FROM tenant") * len(rows)
    assert "alone" in scene.run(f"curl -sS {url}/other -d '{body}'") or "not among" in scene.run(
        f"curl -sS {url}/other"
    )


def test_the_agent_fans_out_and_no_machine_has_the_key(scene: Scene) -> None:
    for number in range(10):
        scene.model.play(f"Double {number}", Words(text=str(2 * number)))
    told = scene.told(call("llm_complete", prompts=[f"Double {number}" for number in range(10)]))
    assert told == "\n\n".join(f"[{number + 1}]\n{2 * number}" for number in range(10))
    assert KEY not in scene.run("env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; cat /usr/local/bin/llm")

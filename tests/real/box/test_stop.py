"""The word that stops: a person says it while a command runs in their machine."""

import asyncio
import time
from uuid import uuid4

import pytest
from tests.real.box.conftest import ScriptedBox
from tests.real.box.running import Somebody, next_reply, wait_for
from tests.real.box.test_kills import command_runs

from subclaw.core.machine import Command
from subclaw.testing.openai import Words, call

STOPPED_S = 1.0
PROCESSES = Command(text="pgrep -c sleep", timeout_s=30.0)


@pytest.mark.alone
def test_stop_ends_the_command_within_a_second(scripted_box: ScriptedBox) -> None:
    box, somebody, said, runs = scripted_box.box, Somebody(), f"go on {uuid4()}", "runs"
    command = f"touch {runs}-begun; sync; sleep 300"
    play = scripted_box.model.play(said, call("shell_exec", command=command, timeout_s=300), Words(text="never"))

    async def scenario() -> float:
        async with somebody.at(box) as person:
            await person.say(said)
            await asyncio.to_thread(wait_for, lambda: command_runs(box, said, runs), "the command did not begin")
            began_s = time.monotonic()
            await person.say("stop")
            assert await next_reply(person) == "Stopped."
            return time.monotonic() - began_s

    assert asyncio.run(scenario()) < STOPPED_S
    tenant_id = box.tenant_that_said(said)
    assert box.use_host(lambda host: host.run(tenant_id, PROCESSES)).output == b"0\n"
    assert len(play.prompts) == 1, "the model was not asked again"

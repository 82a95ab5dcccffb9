"""`kill -9` in the middle of a turn, of one process and of all of them: the turn ends, with one reply."""

import asyncio
from collections.abc import Callable, Iterator
from uuid import uuid4

import psutil
import pytest
from tests.real.box.conftest import ScriptedBox, model_settings, running_scripted_box
from tests.real.box.running import RunningBox, Somebody, next_reply, processes_of, running_box, state_folder, wait_for
from tests.real.box.texting import message, text_in

from subclaw.core.errors import NotFound
from subclaw.core.transcript import OUTCOME_UNKNOWN
from subclaw.testing.channels.twilio import Behaviour
from subclaw.testing.openai import ANSWER, Calls, Held, Play, Words, call, running_openai

VICTIMS = ("web", "worker", "egress", "host", "caddy", "postgres")
DONE = "It is done."


def long_command(runs: str) -> Calls:
    """Return a call that writes down that it runs, safely on disk, and then takes its time."""
    return call("shell_exec", command=f"echo once >> {runs}; sync; touch {runs}-begun; sleep 5; echo over")


@pytest.fixture(scope="module")
def fragile_box() -> Iterator[ScriptedBox]:
    """A box of this module's own: nobody else's turns are to suffer."""
    with running_scripted_box() as scripted:
        yield scripted


@pytest.fixture(scope="module")
def somebody() -> Somebody:
    return Somebody()


def reply_in_spite_of(box: RunningBox, somebody: Somebody, said: str, kill: Callable[[], None]) -> str:
    """Say something, kill when the time has come, and return the reply."""

    async def scenario() -> str:
        async with somebody.at(box) as person:
            await person.say(said)
            await asyncio.to_thread(kill)
            return await next_reply(person)

    return asyncio.run(scenario())


def kill(process: psutil.Process) -> None:
    process.kill()
    process.wait(10)


def assert_ended_once(box: RunningBox, said: str) -> None:
    """Check that a turn is over, and has one reply."""
    kinds = [kind for kind, _ in box.turn(said)]
    assert (kinds.count("turn.started"), kinds.count("reply.queued"), kinds.count("turn.finished")) == (1, 1, 1)


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_process_dies_while_the_model_thinks(fragile_box: ScriptedBox, somebody: Somebody, victim: str) -> None:
    box, said = fragile_box.box, f"go on {uuid4()}"
    before = box.children()
    held = Held(answer=call("shell_exec", command="echo here"))
    play = fragile_box.model.play(said, held, Words(text=DONE))

    def kill_when_asked() -> None:
        assert held.asked.wait(30)
        kill(before[victim])
        held.let_go.set()

    assert reply_in_spite_of(box, somebody, said, kill_when_asked) == DONE
    assert play.told() == ["here"]
    assert_ended_once(box, said)
    wait_for(lambda: set(box.children()) == set(before), "a process was not started again")
    assert set(before) >= set(VICTIMS)
    assert box.children()[victim].pid != before[victim].pid


@pytest.mark.parametrize(
    ("victim", "words"),
    [
        ("worker", OUTCOME_UNKNOWN),
        ("postgres", OUTCOME_UNKNOWN),
        ("host", "The host of machines does not answer; whether this was done is unknown."),
    ],
)
def test_a_process_dies_while_a_command_runs(
    fragile_box: ScriptedBox, somebody: Somebody, victim: str, words: str
) -> None:
    box, said, runs = fragile_box.box, f"go on {uuid4()}", f"runs-{victim}"
    play = fragile_box.model.play(said, long_command(runs), call("shell_exec", command=f"cat {runs}"), Words(text=DONE))

    def kill_in_command() -> None:
        wait_for(lambda: command_runs(box, said, runs), "the command did not begin")
        kill(box.children()[victim])

    assert reply_in_spite_of(box, somebody, said, kill_in_command) == DONE
    assert play.told() == [words, "once"], "the model is told, and the command ran once"
    assert_ended_once(box, said)


def command_runs(box: RunningBox, said: str, runs: str) -> bool:
    """Say whether the command that was asked for is under way in the tenant's machine."""
    if "tool.started" not in [kind for kind, _ in box.turn(said)]:
        return False
    tenant_id = box.tenant_that_said(said)
    try:
        box.use_host(lambda host: host.read(tenant_id, f"{runs}-begun", offset_bytes=0, limit_bytes=1))
    except NotFound:
        return False
    return True


def test_the_worker_dies_while_a_text_message_is_sent(fragile_box: ScriptedBox) -> None:
    """Twilio is asked, and shows that it never took it, so it is sent again; and the next one after it."""
    box, twilio = fragile_box.box, fragile_box.twilio
    twilio.behaviours.append(Behaviour.HANG)
    before = twilio.requests
    ((status, _),) = text_in(box, message("hello"))
    assert status == 200
    wait_for(lambda: twilio.requests == before + 1, "the reply was not sent")
    kill(box.children()["worker"])
    text_in(box, message("and now?"))
    wait_for(lambda: len(twilio.messages) == 2, "the replies were not sent", timeout_s=90)
    assert [one.text for one in twilio.messages] == [ANSWER, ANSWER]
    assert twilio.requests == before + 3
    wait_for(
        lambda: box.rows("SELECT state FROM outbox ORDER BY id") == [("sent",), ("sent",)],
        "that they were sent is not written",
    )


def test_everything_dies_and_is_started_again() -> None:
    said, runs = f"go on {uuid4()}", "runs"
    somebody = Somebody()

    async def say(box: RunningBox) -> None:
        async with somebody.at(box) as person:
            await person.say(said)

    async def hear(box: RunningBox) -> str:
        async with somebody.at(box) as person:
            return await next_reply(person)

    with running_openai() as model, state_folder() as home:
        read = call("shell_exec", command="cat runs")
        play: Play = model.play(said, long_command(runs), read, Words(text=DONE))
        model.play("write more", call("shell_exec", command="echo twice >> runs"), Words(text=DONE))
        again = model.play("read again", read, Words(text=DONE))
        with running_box(home, **model_settings(model)) as box:
            asyncio.run(say(box))
            wait_for(lambda: command_runs(box, said, runs), "the command did not begin")
            assert {"qemu-system-x86_64", "postgres", "caddy"} <= {process.name() for process in processes_of([home])}
            box.process.kill()
            wait_for(lambda: not processes_of([home]), "something of it is left running", timeout_s=10)
        with running_box(home, **model_settings(model)) as box:
            assert asyncio.run(hear(box)) == DONE
            assert play.told() == [OUTCOME_UNKNOWN, "once"]
            assert_ended_once(box, said)
            assert somebody.ask(box, "write more") == [DONE]
            box.stop()
            assert processes_of([home]) == []
        with running_box(home, **model_settings(model)) as box:
            assert somebody.ask(box, "read again") == [DONE]
            assert again.told() == ["once\ntwice"], "what was written without a sync is there after a stop in order"

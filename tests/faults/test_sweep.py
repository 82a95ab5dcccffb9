"""Every crash, every place: a worker kills itself at one fault point after another, and whatever it left is finished.

The scenario has a plain reply, tools, messages that come while a turn runs, a text message of several parts, and
reminders of both kinds. The process dies at the N-th point that it reaches; the one after it dies as well, while it
recovers; the third runs to the end. Then N + 1, until one gets through.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGKILL

import psycopg
from anyio.from_thread import start_blocking_portal
from tests.faults.findings import EVENTS, find, look
from tests.faults.forked import started
from tests.faults.obedient import Trace, parse_request
from tests.faults.replica import ACCOUNT, TOKEN, Replica, Said, serve_to_the_end

from subclaw.core.fault import FaultPoint
from subclaw.store.database import DatabaseAddress, Role
from subclaw.testing.channels.twilio import FakeTwilio, fake_twilio

RUN_S = 60.0
AGAIN_AT = 7
"""The second process dies at one of its first points, up to this."""

NEVER = 0
OF_THE_GATEWAY = {FaultPoint.ACCOUNT_GIVEN, FaultPoint.ACCOUNT_RENEWED}
"""No worker passes these: `test_accounts_killed.py` does."""
OF_RECEPTION = {FaultPoint.STRANGER_MET, FaultPoint.STRANGER_ADMITTED, FaultPoint.NAME_ANSWERED}
"""People here are let in by nobody: `test_onboarding_killed.py` has a reception."""
OF_CONTROL_WORDS = {FaultPoint.CONTROL_TAKING, FaultPoint.CONTROL_TAKEN}
"""Nobody here says anything to subclaw itself: in `test_control_killed.py` they do."""
SCENARIO = (
    Said(id="a1", channel="web", address="a", text="please a1"),
    Said(id="a2", channel="web", address="a", text="please a2 once"),
    Said(id="b1", channel="web", address="b", text="please b1 once+again interject"),
    Said(id="b2", channel="web", address="b", text="please b2 again", meanwhile=True),
    Said(id="c1", channel="sms", address="+15550100003", text="please c1 long"),
    Said(id="c2", channel="sms", address="+15550100003", text="please c2"),
    Said(id="d1", channel="sms", address="+15550100004", text="please d1 remind_message+remind_agent_turn"),
)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What was finished at some time: the results of calls, and how often the model had answered, by conversation."""

    lines: int
    calls: frozenset[str]
    answers: dict[str, int]


@contextmanager
def running_twilio() -> Iterator[FakeTwilio]:
    """Run the provider of text messages, which outlives the processes that use it."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(fake_twilio(account_sid=ACCOUNT, auth_token=TOKEN)) as twilio,
    ):
        yield twilio


def test_a_worker_may_die_anywhere(address: DatabaseAddress, tmp_path: Path) -> None:
    points: set[str] = set()
    kills = 0
    with running_twilio() as twilio:
        for number in itertools.count(1):
            trace = Trace(path=tmp_path / f"{number}.trace")
            replica = Replica(
                database_url=address.url, private=True, trace=str(trace.path), twilio_url=twilio.base_url, said=SCENARIO
            )
            killed = [dies(replace(replica, dies_at=at), trace) for at in (number, number % AGAIN_AT + 1, NEVER)]
            found = asyncio.run(find(address, said_by(trace), trace, twilio.messages))
            assert found.all() == [], f"killed at point {number} of {trace.noted('reached')}"
            assert (found.given_up, killed[-1]) == (0, False)
            points |= set(trace.noted("reached"))
            kills += sum(killed)
            if not killed[0]:
                break
            forget(address, twilio)
    others = OF_THE_GATEWAY | OF_RECEPTION | OF_CONTROL_WORDS
    assert points == set(FaultPoint) - others, "a point that nothing reaches is a mistake"
    assert kills > len(points)


def forget(address: DatabaseAddress, twilio: FakeTwilio) -> None:
    """Let it be as if nothing had happened."""
    twilio.messages.clear()
    with psycopg.connect(address.conninfo(Role.OWNER), autocommit=True) as connection:
        connection.execute("DELETE FROM tenant")


def dies(replica: Replica, trace: Trace) -> bool:
    """Run a process to its end; return whether it killed itself. What was finished before is not done again."""
    before = asyncio.run(progress(replica.address, trace))
    process = started(serve_to_the_end, replica)
    process.join(RUN_S)
    assert process.exitcode in (0, -SIGKILL), f"it ended with {process.exitcode}, or not at all"
    for kind, name, *more in trace.lines()[before.lines :]:
        assert not (kind in ("once", "again") and name in before.calls), f"call {name} was finished, and made again"
        assert not (kind == "asked" and int(more[0]) < before.answers[name]), f"{name} was answered, and asked again"
    return process.exitcode == -SIGKILL


async def progress(address: DatabaseAddress, trace: Trace) -> Progress:
    """Return what is finished by now."""
    calls: set[str] = set()
    answers: defaultdict[str, int] = defaultdict(int)
    first_requests: dict[int, str] = {}
    lines = len(trace.lines())
    for conversation_id, _, kind, body in await look(address, EVENTS):
        match kind:
            case "message.received" if (request := parse_request(body["text"])) is not None:
                first_requests.setdefault(conversation_id, request.id)
            case "model.replied":
                answers[first_requests[conversation_id]] += 1
            case "tool.finished":
                calls.add(body["call_id"])
    return Progress(lines=lines, calls=frozenset(calls), answers=answers)


def said_by(trace: Trace) -> dict[str, list[str]]:
    """Return the ids of the messages that were acknowledged, by address and in the order of the scenario."""
    acknowledged = set(trace.noted("acknowledged"))
    assert {said.id for said in SCENARIO if not said.meanwhile} <= acknowledged
    said_by: defaultdict[str, list[str]] = defaultdict(list)
    for said in SCENARIO:
        if said.id in acknowledged:
            said_by[said.address].append(said.id)
    return said_by

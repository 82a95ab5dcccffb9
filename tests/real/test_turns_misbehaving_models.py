"""Whole turns, on PostgreSQL, with a provider that misbehaves, and is as strict as OpenAI with what it is sent."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from subclaw.config import load_settings
from subclaw.core.agent import AgentSettings
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.manners import CUT_OFF
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.egress.control.client import gateway_client
from subclaw.models.answers import CALL_LIMIT, REFUSED
from subclaw.models.patience import Patience
from subclaw.models.providers import open_model
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.testing.egress import running_gateway
from subclaw.testing.openai import (
    Answer,
    Broken,
    Calls,
    Declined,
    Failure,
    FakeOpenAi,
    Garbage,
    Held,
    InTurn,
    Words,
    call,
    running_openai,
)
from subclaw.tools.toolbox import BuiltInToolbox, Tool, define
from subclaw.turns.intake import StoreIntake
from subclaw.turns.run import Turns
from subclaw.turns.worker import work

DEADLINE_S = 20
PATIENCE = Patience(attempt_s=2.0, call_s=8.0, soon_s=0.01, later_s=0.01)
ACT: ToolDefinition = define("act", "Do something.", idempotent=False, what={"type": "string"})
FINE = Words(text="All is done.")


class Doer:
    """Does what it is told, and keeps what that was."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def act(self, caller: Caller, arguments: Mapping[str, Any]) -> str:
        self.done.append(arguments["what"])
        return f"done: {arguments['what']}"


async def turn(address: DatabaseAddress, folder: Path, provider: FakeOpenAi, doer: Doer) -> None:
    """Say "go", and see the turn to its end."""
    settings = load_settings({"OPENAI_BASE_URL": provider.base_url, "SUBCLAW_MODEL": "openai:some-model"})
    async with (
        open_database(address, Role.APP) as database,
        running_gateway(folder, settings.upstreams, {}) as socket,
        gateway_client(socket) as gateway,
    ):
        turns = Turns(
            database=database,
            model=open_model(settings.model, gateway, patience=PATIENCE),
            toolbox=BuiltInToolbox([Tool(definition=ACT, perform=doer.act)]),
            agent=AgentSettings(),
            instructions=lambda _: "Be kind.",
            sends=lambda _: False,
        )
        worker = asyncio.create_task(work(turns, address, limit=8))
        sender = Address(channel="web", address="a")
        message = InboundMessage(sender=sender, provider_id="1", text="go", received_at=datetime.now(UTC))
        await StoreIntake(database, sends=lambda _: False, public_url="http://localhost").receive(message)
        async with asyncio.timeout(DEADLINE_S):
            while not await asyncio.to_thread(replies, address):
                await asyncio.sleep(0.01)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


def replies(address: DatabaseAddress) -> list[str]:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        rows = connection.execute("SELECT body ->> 'text' FROM event WHERE type = 'reply.queued' ORDER BY seq")
        return [text for (text,) in rows]


def went(address: DatabaseAddress, folder: Path, *answers: Answer) -> tuple[str, list[str], list[str], FakeOpenAi]:
    """Return the reply to "go", what was done for it, what the model was told of its calls, and the provider."""
    doer = Doer()
    with running_openai() as provider:
        play = provider.play("go", *answers)
        asyncio.run(turn(address, folder, provider, doer))
        (reply,) = replies(address)
        return reply, doer.done, play.told(), provider


@pytest.mark.parametrize(
    "trouble",
    [
        Failure(status=429, headers={"Retry-After": "0"}),
        Failure(status=500),
        Failure(status=503),
        Broken(answer=Words(text="half of it")),
        Garbage(body=b"<h1>Welcome</h1>", content_type="text/html"),
        Garbage(body=b'{"choices": [{"message": {"role": "assis'),
        Broken(answer=Words(text="never whole" * 200), drips=True),
        Held(answer=FINE),
        Words(text=""),
    ],
    ids=["429", "500", "503", "half a body", "HTML", "half a JSON", "drip", "silence", "nothing"],
)
def test_trouble_in_the_middle_of_a_turn_is_not_seen(address: DatabaseAddress, tmp_path: Path, trouble: Answer) -> None:
    reply, done, told, _ = went(address, tmp_path, call("act", what="a"), InTurn(answers=[trouble, FINE]))
    assert reply == FINE.text
    assert done == ["a"]
    assert told == ["done: a"]


def test_of_twenty_calls_in_parallel_the_first_are_performed_and_all_are_told_of(
    address: DatabaseAddress, tmp_path: Path
) -> None:
    made = tuple(("act", json.dumps({"what": f"{number}"})) for number in range(20))
    reply, done, told, _ = went(address, tmp_path, Calls(made=made), FINE)
    assert reply == FINE.text
    assert done == [f"{number}" for number in range(CALL_LIMIT)]
    assert told[:CALL_LIMIT] == [f"done: {number}" for number in range(CALL_LIMIT)]
    assert len(told) == 20
    assert all("of the 20 calls in your reply only the first 16 were" in words for words in told[CALL_LIMIT:])


def test_arguments_that_are_no_object_and_tools_that_are_not_there(address: DatabaseAddress, tmp_path: Path) -> None:
    odd = (("act", '{"what": '), ("act", "[1]"), ("functions.act now!", "{}"), ("", ""), ("act", '{"what": "b"}'))
    reply, done, told, _ = went(address, tmp_path, Calls(made=odd), FINE)
    assert reply == FINE.text
    assert done == ["b"]
    assert told[0] == "The arguments of act were not JSON."
    assert "do not fit" in told[1]
    assert "There is no tool 'functions.act now!'" in told[2]
    assert "There is no tool ''" in told[3]


def test_a_call_that_was_cut_off_is_not_performed_and_the_model_hears_why(
    address: DatabaseAddress, tmp_path: Path
) -> None:
    cut = Calls(made=(("act", '{"what": "a"}'), ("act", '{"what": "b')), finish_reason="length")
    reply, done, told, _ = went(address, tmp_path, cut, FINE)
    assert (reply, done) == (FINE.text, ["a"])
    assert "Write less at once" in told[1]


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (Declined(text="I would rather not."), "I would rather not."),
        (Words(text="half", finish_reason="content_filter"), REFUSED),
        (Words(text="half", finish_reason="length"), f"half\n\n{CUT_OFF}"),
        (Words(text=" \n"), "I have nothing to add."),
    ],
)
def test_what_cannot_be_mended_is_said_in_words(
    address: DatabaseAddress, tmp_path: Path, answer: Answer, reply: str
) -> None:
    assert went(address, tmp_path, answer)[0] == reply


@pytest.mark.parametrize(
    "trouble",
    [Failure(status=503), Failure(status=429), Failure(status=401), Garbage(body=b"{}")],
    ids=["503", "429", "401", "garbage"],
)
def test_trouble_that_does_not_pass_is_said_in_words(address: DatabaseAddress, tmp_path: Path, trouble: Answer) -> None:
    reply, _, _, provider = went(address, tmp_path, call("act", what="a"), trouble)
    assert "model" in reply
    assert provider.requests <= 1 + PATIENCE.attempts


TRACE = """\
Traceback (most recent call last):
  File "/home/agent/site.py", line 12, in <module>
    main()
ValueError: no prices"""


def test_a_model_that_pastes_a_trace_says_it_in_words_at_the_second_try(
    address: DatabaseAddress, tmp_path: Path
) -> None:
    pasted = Words(text=f"It failed:\n```\n{TRACE}\n```\nSorry.")
    reply, done, _, provider = went(address, tmp_path, call("act", what="a"), pasted, FINE)
    assert (reply, done) == (FINE.text, ["a"])
    assert provider.requests == 3


def test_a_model_that_refuses_to_say_it_in_words_has_it_cut_out(address: DatabaseAddress, tmp_path: Path) -> None:
    pasted = Words(text=f"It failed:\n```\n{TRACE}\n```\nI try again tomorrow.")
    reply, _, _, _ = went(address, tmp_path, call("act", what="a"), pasted, Declined(text="No."))
    assert reply.startswith("It failed:\n(4 lines of raw output left out here.")
    assert reply.endswith("\nI try again tomorrow.")

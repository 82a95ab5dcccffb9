"""Notifications against a real PostgreSQL: written where they go to, once for each call, and bounded."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import time
from typing import ClassVar

import pytest
from tests.budgets import owner_rows
from tests.real.test_budgets import limit
from tests.real.test_outbox import QUICK, Phone
from tests.real.test_schedules import AGENT, DEADLINE_S, REPLIES, lease_of, look, now, receive, run, until

from subclaw.channels.registry import goes_out
from subclaw.core.budget import Budget, Kind, Level, Period
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.errors import Exhausted, NotFound
from subclaw.core.event import MessageReceived, ReplyQueued, TurnStarted
from subclaw.core.feed import SaidByAgent
from subclaw.core.machine import HOME, FileSlice
from subclaw.core.model import UserSaid
from subclaw.core.notification import HOUR_LIMIT, TEXT_LIMIT_CHARACTERS, TURN_LIMIT
from subclaw.core.outgoing import FILES_LIMIT_BYTES, OutgoingFile
from subclaw.core.quiet import QuietHours
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller, ToolCall, ToolResult
from subclaw.store import conversations
from subclaw.store.database import Database, DatabaseAddress
from subclaw.store.feed import StoreFeed
from subclaw.store.notifications import StoreNotifications
from subclaw.store.outgoing import file_content
from subclaw.testing.models import ScriptedModel, calls, words
from subclaw.tools.notify import notify_tools
from subclaw.tools.toolbox import BuiltInToolbox
from subclaw.turns.outbox import deliver
from subclaw.turns.outgoing import OutgoingFiles
from subclaw.turns.run import Turns
from subclaw.turns.worker import work

WEB = Address(channel="web", address="a")
PHONE = Address(channel="sms", address="+15550104567")


def numbered(caller: Caller, number: int, *, turn: str = "turn_1") -> Caller:
    """Return the same caller in another call, in a turn."""
    return replace(caller, call_id=f"call_{number}", turn_id=turn)


def with_phone(address: DatabaseAddress) -> int:
    """Give the one tenant that there is a phone too, and return the conversation there."""
    owner_rows(
        address, "INSERT INTO identity (channel, address, tenant_id) SELECT 'sms', %s, id FROM tenant", PHONE.address
    )
    ((id,),) = owner_rows(
        address,
        "INSERT INTO conversation (tenant_id, channel, address) SELECT id, 'sms', %s FROM tenant RETURNING id",
        PHONE.address,
    )
    return int(str(id))


async def write(database: Database, sender: Address, text: str, id: str) -> None:
    """Have the person write something."""
    message = InboundMessage(sender=sender, provider_id=id, text=text, received_at=now())
    await conversations.receive(database, message, ["unused"])


async def perform(database: Database, caller: Caller, name: str, **arguments: object) -> ToolResult:
    toolbox = BuiltInToolbox(notify_tools(StoreNotifications(database, goes_out)))
    return await toolbox.perform(caller, ToolCall(id=caller.call_id, name=name, arguments=json.dumps(arguments)))


def turns(database: Database, model: ScriptedModel, notifications: StoreNotifications | None = None) -> Turns:
    return Turns(
        database=database,
        model=model,
        toolbox=BuiltInToolbox(notify_tools(notifications or StoreNotifications(database, goes_out))),
        agent=AGENT,
        instructions=lambda _: "be kind",
        sends=goes_out,
    )


OUTBOX = "SELECT channel, address, text, state FROM outbox ORDER BY id"


def test_the_tools_take_few_bytes() -> None:
    def size_bytes(name: str) -> int:
        (tool,) = [tool for tool in toolbox.definitions() if tool.name == name]
        function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
        return len(json.dumps({"type": "function", "function": function}, separators=(",", ":")).encode())

    toolbox = BuiltInToolbox(notify_tools(StoreNotifications(Database.__new__(Database), goes_out)))
    assert size_bytes("list_channels") < 150
    assert size_bytes("notify_user") < 300


def test_the_ways_to_a_person_are_listed_with_their_addresses_masked(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        listed = await perform(database, caller, "list_channels")
        assert listed == ToolResult(content="web …, this conversation, preferred")
        with_phone(address)
        await write(database, PHONE, "from the train", "2")
        listed = await perform(database, caller, "list_channels")
        assert listed.content == "sms +1…4567, preferred\nweb …, this conversation"

    run(scenario, address)


def test_quiet_hours_are_told_with_the_ways(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        hours = QuietHours(begins=time(22), ends=time(7, 30))
        toolbox = BuiltInToolbox(notify_tools(StoreNotifications(database, goes_out), quiet=hours))
        listed = await toolbox.perform(caller, ToolCall(id="c", name="list_channels", arguments="{}"))
        assert listed.content.splitlines()[0] == "web …, this conversation, preferred"
        assert listed.content.splitlines()[1].startswith("Quiet 22:00-07:30 on their clock")

    run(scenario, address)


def test_what_a_schedule_or_a_key_put_in_the_inbox_was_not_written_by_the_person(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        with_phone(address)
        await write(database, PHONE, "hello", "1")
        await write(database, WEB, "due", "schedule:7")
        ways = await StoreNotifications(database, goes_out).ways(caller)
        assert [way.address for way in ways] == [PHONE, WEB]

    run(scenario, address)


def test_one_in_the_web_chat_is_seen_there_at_once(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        sent = await perform(database, caller, "notify_user", text="half done")
        assert sent.content.startswith("On its way by web …. ")
        feed = StoreFeed(database, address).follow(WEB, 0)
        said = await anext(feed)
        await feed.aclose()
        assert isinstance(said, SaidByAgent)
        assert said.text == "half done"
        assert await look(address, OUTBOX) == [], "a web chat is read in place"

    run(scenario, address)


def test_one_to_another_channel_goes_to_the_outbox_and_is_told_to_the_model_there(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        there = with_phone(address)
        sent = await perform(database, caller, "notify_user", text="it is live", channel="sms")
        assert not sent.is_error
        assert await look(address, OUTBOX) == [("sms", PHONE.address, "it is live", "queued")]
        assert await look(address, "SELECT conversation_id FROM event") == [(there,)]
        model = ScriptedModel([words("fine")])
        await write(database, PHONE, "thanks", "2")
        worker = asyncio.create_task(work(turns(database, model), address, limit=8))
        await until(address, REPLIES, 3)  # one to each conversation, and what was sent
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        (prompt,) = [prompt for prompt in model.prompts if "thanks" in repr(prompt.history)]
        first = prompt.history[0]
        assert isinstance(first, UserSaid)
        assert first.text == "[Nobody wrote. You sent the person this from another conversation:]\nit is live"

    run(scenario, address)


def test_a_turn_that_runs_where_it_goes_keeps_its_lease_and_its_order(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        with_phone(address)
        await conversations.claim(database, 1, 10)
        await write(database, PHONE, "do it", "2")
        lease = await lease_of(database)
        await conversations.open_turn(database, lease)
        await StoreNotifications(database, goes_out).send(numbered(caller, 1), PHONE, "sent")
        assert await conversations.append(database, lease, [ReplyQueued(text="mine")], drain=True) == ()
        opened = await conversations.open_turn(database, lease)
        assert opened.events == (
            TurnStarted(),
            MessageReceived(text="do it", provider_id="2"),
            ReplyQueued(text="sent", from_conversation_id=caller.conversation_id),
            ReplyQueued(text="mine"),
        )
        seqs = await look(
            address, f"SELECT seq FROM event WHERE conversation_id = {lease.conversation_id} ORDER BY seq"
        )
        assert [seq for (seq,) in seqs] == [1, 2, 3, 4]

    run(scenario, address)


def test_two_that_write_to_each_other_and_to_turns_that_run_wait_for_no_one(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        web = await receive(database)
        there = with_phone(address)
        await write(database, PHONE, "go", "2")
        leases = await conversations.claim(database, 1, 10)
        for lease in leases:
            await conversations.open_turn(database, lease)
        phone = replace(web, conversation_id=there)
        notifications = StoreNotifications(database, goes_out)
        sends = [
            notifications.send(numbered(caller, n, turn=f"turn_{n}"), to, f"{to.channel} {n}")
            for n in range(HOUR_LIMIT // 2)
            for caller, to in ((web, PHONE), (phone, WEB))
        ]
        writes = [
            conversations.append(database, lease, [ReplyQueued(text="mine")]) for _ in range(20) for lease in leases
        ]
        await asyncio.gather(*sends, *writes)
        counts = await look(address, "SELECT count(*), max(seq) FROM event GROUP BY conversation_id")
        assert counts == [(2 + HOUR_LIMIT // 2 + 20,) * 2] * 2

    run(scenario, address)


def test_the_same_call_sends_once(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database, sender=PHONE.address, channel="sms")
        first, again = [await perform(database, caller, "notify_user", text="half done") for _ in range(2)]
        assert first == again
        assert await look(address, OUTBOX) == [("sms", PHONE.address, "half done", "queued")]
        assert await look(address, REPLIES) == [("half done",)]

    run(scenario, address)


def test_a_call_that_a_dead_worker_had_made_sends_no_second_one(address: DatabaseAddress) -> None:
    class DiesOnceAfterwards(StoreNotifications):
        dead = asyncio.Event()

        async def send(self, caller: Caller, to: Address, text: str, files: Sequence[OutgoingFile] = ()) -> None:
            await super().send(caller, to, text, files)
            if not self.dead.is_set():
                self.dead.set()
                await asyncio.Event().wait()

    async def scenario(database: Database) -> None:
        notifications = DiesOnceAfterwards(database, goes_out)
        made = turns(
            database, ScriptedModel([calls(("notify_user", '{"text": "half done"}')), words("ok")]), notifications
        )
        await receive(database, sender=PHONE.address, channel="sms")
        first = asyncio.create_task(work(made, address, limit=8))
        await notifications.dead.wait()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = asyncio.create_task(work(made, address, limit=8))
        assert await until(address, REPLIES, 2) == [("half done",), ("ok",)]
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert await look(address, "SELECT text FROM outbox ORDER BY id") == [("half done",), ("ok",)]

    run(scenario, address)


def test_an_agent_that_sends_one_after_the_other_is_slowed_and_told(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        results = [
            await perform(database, numbered(caller, n), "notify_user", text=f"tick {n}") for n in range(TURN_LIMIT + 1)
        ]
        assert [result.is_error for result in results] == [False] * TURN_LIMIT + [True]
        assert "Say the rest in your reply" in results[-1].content
        assert not (await perform(database, numbered(caller, 0), "notify_user", text="tick 0")).is_error
        others = [
            perform(database, numbered(caller, n, turn=f"turn_{n}"), "notify_user", text="x") for n in range(9, 60)
        ]
        late = [result for result in await asyncio.gather(*others) if result.is_error]
        assert len(late) == 51 - (HOUR_LIMIT - TURN_LIMIT)
        assert "room again in 60 minutes" in late[0].content
        assert len(await look(address, REPLIES)) == HOUR_LIMIT
        owner_rows(address, "UPDATE notification SET sent_at = sent_at - interval '1 hour'")
        assert not (await perform(database, numbered(caller, 99, turn="later"), "notify_user", text="y")).is_error

    run(scenario, address)


def test_another_tenants_limit_is_its_own(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        notifications = StoreNotifications(database, goes_out)
        loud, quiet = await receive(database), await receive(database, sender="b")
        for n in range(HOUR_LIMIT):
            await notifications.send(numbered(loud, n, turn=f"turn_{n}"), WEB, "x")
        with pytest.raises(Exhausted):
            await notifications.send(numbered(loud, 99, turn="more"), WEB, "x")
        await notifications.send(quiet, Address(channel="web", address="b"), "x")

    run(scenario, address)


def test_nobody_elses_person_is_reached(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        await receive(database, sender="b")
        with pytest.raises(NotFound):
            await StoreNotifications(database, goes_out).send(caller, Address(channel="web", address="b"), "hello")
        assert await look(address, REPLIES) == []
        refused = await perform(database, caller, "notify_user", text="hello", channel="fax")
        assert refused.is_error
        assert "web …, this conversation, preferred" in refused.content

    run(scenario, address)


def test_a_way_that_is_preferred_stays_so_wherever_the_person_writes(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        with_phone(address)
        said = await perform(
            database, numbered(caller, 1), "notify_user", text="here", channel="sms +1…4567", prefer=True
        )
        assert "preferred from now on" in said.content
        await write(database, WEB, "more", "2")
        assert "sms" in (await perform(database, numbered(caller, 2), "notify_user", text="there")).content
        await perform(database, numbered(caller, 3), "notify_user", text="back", channel="web", prefer=True)
        assert "web" in (await perform(database, numbered(caller, 4), "notify_user", text="here")).content
        assert await look(address, "SELECT channel FROM identity WHERE preferred") == [("web",)]

    run(scenario, address)


def test_without_segments_left_it_is_not_sent_as_a_reply_would_not_be(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        phone = Phone()
        caller = await receive(database, sender=PHONE.address, channel="sms")
        notifications = StoreNotifications(database, goes_out)
        for n in range(2):
            await notifications.send(numbered(caller, n), PHONE, f"tick {n}")
        sender = asyncio.create_task(deliver(database, address, {"sms": phone}, times=QUICK, count=lambda *_: 3))
        await until(address, "SELECT FROM outbox WHERE state = 'failed'", 1)
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
        assert phone.taken == ["tick 0"]
        details = await look(address, "SELECT detail FROM outbox WHERE state = 'failed'")
        assert details == [("over budget: tenant, segments, day",)]

    segments = Budget(level=Level.TENANT, subject="*", kind=Kind.SEGMENTS, period=Period.DAY, hard=5)
    limit(address, segments)
    run(scenario, address)


@pytest.mark.parametrize("text", ["  ", "x" * (TEXT_LIMIT_CHARACTERS + 1)])
def test_one_that_is_empty_or_too_long_is_refused_in_words(address: DatabaseAddress, text: str) -> None:
    async def scenario(database: Database) -> None:
        assert (await perform(database, await receive(database), "notify_user", text=text)).is_error
        assert await look(address, REPLIES) == []

    run(scenario, address)


def test_the_person_sees_it_while_the_turn_goes_on(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        seen = asyncio.Event()

        class Waits(StoreNotifications):
            async def send(self, caller: Caller, to: Address, text: str, files: Sequence[OutgoingFile] = ()) -> None:
                await super().send(caller, to, text, files)
                async with asyncio.timeout(DEADLINE_S):
                    await seen.wait()

        model = ScriptedModel([calls(("notify_user", '{"text": "half done"}')), words("all done")])
        await receive(database)
        worker = asyncio.create_task(work(turns(database, model, Waits(database, goes_out)), address, limit=8))
        assert await until(address, REPLIES, 1) == [("half done",)]
        assert await look(address, "SELECT turn_open FROM conversation") == [(True,)]
        seen.set()
        assert await until(address, REPLIES, 2) == [("half done",), ("all done",)]
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        said = [said.text for said in model.prompts[1].history if isinstance(said, UserSaid)]
        assert said == ["hello"], "the call says what was sent, and is not said again"

    run(scenario, address)


def test_a_tenant_that_goes_takes_its_notifications_along(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await perform(database, await receive(database), "notify_user", text="hello")
        owner_rows(address, "DELETE FROM tenant")
        assert await look(address, "SELECT * FROM notification") == []

    run(scenario, address)


class Drawer:
    """Files as they are in each machine."""

    files: ClassVar[dict[str, bytes]] = {
        f"{HOME}/report.pdf": b"%PDF-1.7",
        f"{HOME}/large": b"x" * (FILES_LIMIT_BYTES + 1),
    }

    async def read(self, tenant_id: TenantId, path: str, *, offset_bytes: int, limit_bytes: int) -> FileSlice:
        if path not in self.files:
            raise NotFound("There is no such file.")
        content = self.files[path]
        part = content[offset_bytes : offset_bytes + limit_bytes]
        return FileSlice(content=part, offset_bytes=offset_bytes, size_bytes=len(content))


def test_one_may_have_files_once_and_is_not_sent_if_one_cannot_be(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        outgoing = OutgoingFiles(database=database, files=Drawer(), channels={}, has_links=True)
        toolbox = BuiltInToolbox(notify_tools(StoreNotifications(database, goes_out), outgoing))

        async def notify(caller: Caller, text: str) -> ToolResult:
            arguments = json.dumps({"text": text})
            return await toolbox.perform(caller, ToolCall(id=caller.call_id, name="notify_user", arguments=arguments))

        for wrong, why in (
            ("gone.pdf", "There is no such file"),
            ("large", "25.0 MB"),
            ("/etc/passwd", "only files in /home/agent"),
        ):
            refused = await notify(caller, f"See [it]({wrong}).")
            assert refused.is_error
            assert why in refused.content
        for _ in range(2):
            assert (await notify(caller, "Done: [report](report.pdf), as promised.")).content.startswith("On its way")
        feed = StoreFeed(database, address).follow(WEB, 0)
        said = await anext(feed)
        await feed.aclose()
        assert isinstance(said, SaidByAgent)
        assert said.text == "Done: report, as promised."
        (file,) = said.files
        assert (file.name, file.title, file.media_type, file.size_bytes) == (
            "report.pdf",
            "report",
            "application/pdf",
            8,
        )
        assert await file_content(database, caller.tenant_id, file.id) == b"%PDF-1.7"
        assert await file_content(database, TenantId(caller.tenant_id + 1), file.id) is None
        with_phone(address)
        assert not (await notify(numbered(caller, 2), "![report](report.pdf)")).is_error

    run(scenario, address)

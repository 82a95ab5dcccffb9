"""One person with many channels, against a real PostgreSQL: linking by a code, unlinking, and nothing by guessing."""

import asyncio
from dataclasses import replace

import pytest
from tests.budgets import owner_rows
from tests.real.identity_scene import CHAT, PHONE, WEB, code_for, heard, queued, run, say, tenant_of, told

from subclaw.channels.registry import goes_out
from subclaw.core.channel import Address
from subclaw.core.control import CONTROLS_PER_MINUTE
from subclaw.core.errors import Invalid
from subclaw.core.linking import (
    CHANNELS_LIMIT,
    CODES_AN_HOUR,
    LOCKED,
    NOT_A_CODE,
    ONLY_ONE,
    SAME_CHANNEL,
    TAKEN,
    TOO_MANY_CODES,
    UNLINKED_HERE,
    WRONG_BY_ALL,
    WRONG_BY_SENDER,
)
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.store.database import Database, DatabaseAddress
from subclaw.store.notifications import StoreNotifications

WRONG = "CCCC-CCCC"


def test_a_second_channel_is_the_same_persons_by_a_code_from_the_first(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        code = await code_for(database, address, WEB)
        receipt = await say(database, PHONE, f" {code[:4].lower()} {code[4:]} ")
        assert tenant_of(address, PHONE) == tenant_of(address, WEB) == receipt.tenant_id
        assert "you reach" in queued(address, PHONE)[0]
        assert told(address, WEB)[-1].startswith("Linked: sms +1…4567 leads to this agent")
        assert heard(address) == [("web", "hello")], "neither the word nor the code reaches the agent"
        await say(database, PHONE, "from the train")
        caller = Caller(
            tenant_id=TenantId(receipt.tenant_id), conversation_id=receipt.conversation_id, call_id="c", turn_id="t"
        )
        ways = await StoreNotifications(database, goes_out).ways(caller)
        assert [(way.address, way.is_here) for way in ways] == [(PHONE, True), (WEB, False)]

    run(scenario, address)


def test_the_code_is_kept_as_a_hash_works_once_and_only_the_newest(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        old = await code_for(database, address, WEB)
        code = await code_for(database, address, WEB)
        kept = str(owner_rows(address, "SELECT link_code::text FROM link_code"))
        assert code not in kept
        with pytest.raises(Invalid, match="none"):
            await say(database, PHONE, old)
        await say(database, PHONE, code)
        with pytest.raises(Invalid, match="none"):
            await say(database, CHAT, code)
        assert (tenant_of(address, PHONE), tenant_of(address, CHAT)) == (tenant_of(address, WEB), None)

    run(scenario, address)


def test_a_code_that_has_expired_is_none(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        code = await code_for(database, address, WEB)
        owner_rows(address, "UPDATE link_code SET expires_at = now() - interval '1 second'")
        with pytest.raises(Invalid, match="ten minutes"):
            await say(database, PHONE, code)
        assert tenant_of(address, PHONE) is None, "and a stranger's wrong code makes no tenant"

    run(scenario, address)


def test_a_code_from_the_channel_that_it_was_shown_in_changes_nothing(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        code = await code_for(database, address, WEB)
        await say(database, WEB, code)
        assert told(address, WEB)[-1] == SAME_CHANNEL
        await say(database, PHONE, code)
        assert tenant_of(address, PHONE) == tenant_of(address, WEB), "it still works from the other"

    run(scenario, address)


def test_whoever_guesses_is_locked_out_though_the_code_were_right(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        for _ in range(WRONG_BY_SENDER):
            with pytest.raises(Invalid, match="none") as refused:
                await say(database, PHONE, WRONG)
            assert refused.value.public == NOT_A_CODE
        code = await code_for(database, address, WEB)
        with pytest.raises(Invalid) as locked:
            await say(database, PHONE, code)
        assert locked.value.public == LOCKED
        await say(database, CHAT, code)
        assert (tenant_of(address, PHONE), tenant_of(address, CHAT)) == (None, tenant_of(address, WEB))

    run(scenario, address)


def test_guesses_are_bounded_for_all_together(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        code = await code_for(database, address, WEB)
        guesses = "INSERT INTO link_guess SELECT 'sms', '+1' || n FROM generate_series(1, %s) AS n"
        owner_rows(address, guesses, WRONG_BY_ALL)
        with pytest.raises(Invalid) as locked:
            await say(database, PHONE, code)
        assert locked.value.public == LOCKED
        owner_rows(address, "UPDATE link_guess SET at = at - interval '61 minutes'")
        await say(database, PHONE, code)
        assert tenant_of(address, PHONE) == tenant_of(address, WEB)

    run(scenario, address)


def test_many_addresses_that_text_one_code_at_once_are_one_channel_more(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        code = await code_for(database, address, WEB)
        senders = [replace(PHONE, address=f"+1555010{n:04}") for n in range(8)]
        await asyncio.gather(*(say(database, sender, code) for sender in senders), return_exceptions=True)
        assert sum(tenant_of(address, sender) is not None for sender in senders) == 1

    run(scenario, address)


def test_an_address_whose_tenant_has_nothing_yet_moves_to_the_other(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        await say(database, PHONE, "hi")
        was = tenant_of(address, PHONE)
        await say(database, PHONE, await code_for(database, address, WEB))
        assert was != tenant_of(address, PHONE) == tenant_of(address, WEB)
        assert owner_rows(address, "SELECT count(*) FROM tenant") == [(1,)]

    run(scenario, address)


SOMETHING = {
    "a site": "SELECT publish_version(%s, NULL, 80, 0, 0, 10)",
    "an answer": """
        INSERT INTO usage (conversation_id, tenant_id, model, input_tokens, output_tokens, cost_microusd)
        SELECT c.id, c.tenant_id, 'm', 1, 1, 0 FROM conversation c WHERE c.tenant_id = %s
    """,
    "a reminder": """
        INSERT INTO schedule (tenant_id, conversation_id, call_id, due_at, mode, text)
        SELECT c.tenant_id, c.id, 'x', now(), 'message', 'x' FROM conversation c WHERE c.tenant_id = %s
    """,
    "another channel": """
        INSERT INTO identity (channel, address, tenant_id) VALUES ('matrix', '@a:b', %s)
    """,
    "what is kept in a table of tomorrow's": "CREATE TABLE tomorrow AS SELECT id AS tenant_id FROM tenant",
    "been suspended": "UPDATE tenant SET suspended_at = now() WHERE id = %s",
}


@pytest.mark.parametrize("what", SOMETHING)
def test_nothing_is_merged_with_a_tenant_that_has(what: str, address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        await say(database, PHONE, "hi")
        was = tenant_of(address, PHONE)
        code = await code_for(database, address, WEB)
        owner_rows(address, SOMETHING[what], *([was] if "%s" in SOMETHING[what] else []))
        await say(database, PHONE, code)
        assert tenant_of(address, PHONE) == was != tenant_of(address, WEB)
        if what != "been suspended":
            assert queued(address, PHONE)[-1] == TAKEN
        assert not any(text.startswith("Linked") for text in told(address, WEB))

    run(scenario, address)


def test_channels_are_listed_and_unlinked_by_number(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        await say(database, WEB, "unlink")
        assert told(address, WEB)[-1] == ONLY_ONE
        for other in (PHONE, CHAT):
            await say(database, other, await code_for(database, address, WEB))
        await say(database, WEB, "unlink")
        assert told(address, WEB)[-1].splitlines() == [
            "Your channels:",
            "1. web …aaaa (this one)",
            "2. sms +1…4567",
            "3. telegram …6789",
            'Text "unlink 3" to remove one.',
        ]
        await say(database, WEB, "Unlink 2")
        assert tenant_of(address, PHONE) is None
        assert queued(address, PHONE)[-1] == UNLINKED_HERE
        assert (
            told(address, WEB)[-1]
            == queued(address, CHAT)[-1]
            == ("Unlinked: sms +1…4567 does not lead to this agent any more.")
        )
        await say(database, WEB, "unlink 2")
        assert "no channel 2" in told(address, WEB)[-1]
        await say(database, PHONE, await code_for(database, address, WEB))
        await say(database, WEB, "unlink")
        assert "4. sms +1…4567" in told(address, WEB)[-1], "a number is never another channel's"

    run(scenario, address)


def test_who_is_unlinked_is_a_stranger_and_what_was_set_there_is_kept(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        linked = await say(database, PHONE, await code_for(database, address, WEB))
        await say(database, PHONE, "remind me")
        owner_rows(address, f"{SOMETHING['a reminder']} AND c.channel = 'sms'", linked.tenant_id)
        await say(database, PHONE, "unlink 2")
        places = "SELECT DISTINCT c.channel FROM schedule s JOIN conversation c ON c.id = s.conversation_id"
        assert owner_rows(address, places) == [("web",)]
        said = "SELECT count(*) FROM inbox WHERE conversation_id = %s"
        assert owner_rows(address, said, linked.conversation_id) == [(1,)], "the conversation is kept"
        await say(database, PHONE, "who are you?")
        assert tenant_of(address, PHONE) not in (None, tenant_of(address, WEB))

    run(scenario, address)


def test_the_first_channel_hears_that_it_was_unlinked_from_the_second(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, PHONE, "hello")
        await say(database, WEB, await code_for(database, address, PHONE))
        await say(database, WEB, "unlink 1")
        assert queued(address, PHONE)[-1] == UNLINKED_HERE
        assert (tenant_of(address, PHONE), tenant_of(address, WEB) is None) == (None, False)

    run(scenario, address)


def test_a_message_that_comes_again_does_nothing_again(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        first = await asyncio.gather(*(say(database, WEB, "link", id="l") for _ in range(5)))
        assert sorted(receipt.duplicate for receipt in first) == [False, True, True, True, True]
        assert (len(told(address, WEB)), owner_rows(address, "SELECT count(*) FROM link_code")) == (1, [(1,)])

    run(scenario, address)


def test_codes_channels_and_answers_are_bounded(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        for _ in range(CODES_AN_HOUR):
            await code_for(database, address, WEB)
        for _ in range(CONTROLS_PER_MINUTE):
            await say(database, WEB, "link")
        assert told(address, WEB)[CODES_AN_HOUR:] == [TOO_MANY_CODES] * (CONTROLS_PER_MINUTE - CODES_AN_HOUR)
        owner_rows(address, "UPDATE link_code SET created_at = now() - interval '2 hours'")
        owner_rows(address, "DELETE FROM control_message")
        more = (
            "INSERT INTO identity (channel, address, tenant_id) SELECT 'x', n, id FROM tenant, generate_series(2, %s) n"
        )
        owner_rows(address, more, CHANNELS_LIMIT)
        code = await code_for(database, address, WEB)
        with pytest.raises(Invalid, match="linked already"):
            await say(database, PHONE, code)

    run(scenario, address)


def test_in_a_place_where_several_write_nothing_is_linked(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        group = Address(channel="telegram", address="-100123")
        await say(database, WEB, "hello")
        code = await code_for(database, address, WEB)
        for text in ("link", "unlink", code):
            await say(database, group, text, speaker="Ann")
        assert [text for channel, text in heard(address) if channel == "telegram"] == ["link", "unlink", code]
        assert tenant_of(address, group) != tenant_of(address, WEB)
        assert told(address, group) == []

    run(scenario, address)


def test_nobody_hides_by_their_name_that_several_write(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        group = Address(channel="telegram", address="-100123")
        await say(database, group, "hello", speaker="Ann")
        await say(database, group, "link", speaker="\u200b")
        assert heard(address) == [("telegram", "hello"), ("telegram", "link")]
        assert told(address, group) == []

    run(scenario, address)


def test_a_stranger_who_says_link_is_welcomed_like_any(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        receipt = await say(database, PHONE, "link")
        assert (receipt.duplicate, heard(address)) == (False, [("sms", "link")])

    run(scenario, address)

"""How much people may say, against a real PostgreSQL: it is said once that it was too much, and for how long."""

import asyncio

import pytest
from tests.budgets import owner_rows
from tests.real.identity_scene import PHONE, WEB, code_for, heard, queued, run, say, tenant_of, told

from subclaw.core.channel import Address
from subclaw.core.errors import Invalid
from subclaw.core.intake_limits import CROWDED, PAUSE_S, SLOW_DOWN, IntakeLimits
from subclaw.store.database import Database, DatabaseAddress

LIMITS = IntakeLimits()


def later(address: DatabaseAddress, seconds: float) -> None:
    """Let so much time have passed."""
    span = f"make_interval(secs => {seconds})"
    owner_rows(address, f"UPDATE conversation SET heard_at = heard_at - {span}, deaf_until = deaf_until - {span}")


def test_a_burst_is_read_and_what_is_beyond_it_is_refused_in_words_once(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, PHONE, "hello", limits=LIMITS)
        for number in range(LIMITS.burst + 5):
            await say(database, PHONE, str(number), limits=LIMITS)
        assert heard(address)[1:] == [("sms", str(number)) for number in range(LIMITS.burst)]
        assert queued(address, PHONE) == [SLOW_DOWN]
        later(address, PAUSE_S)
        await say(database, PHONE, "now?", limits=LIMITS)
        assert heard(address)[-1] == ("sms", "now?")
        assert queued(address, PHONE) == [SLOW_DOWN]

    run(scenario, address)


def test_whatever_was_refused_was_said_to_be_before_or_after(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, PHONE, "hello", limits=LIMITS)
        texts = [str(number) for number in range(40)]
        await asyncio.gather(*(say(database, PHONE, text, limits=LIMITS) for text in texts))
        stored = {text for _, text in heard(address)} - {"hello"}
        assert len(queued(address, PHONE)) == 1
        assert LIMITS.burst <= len(stored) <= LIMITS.burst + 2, "however many come at once"
        later(address, PAUSE_S)
        for text in sorted(set(texts) - stored, key=int)[: LIMITS.burst]:
            await say(database, PHONE, text, limits=LIMITS)
        assert len(heard(address)) == 1 + len(stored) + LIMITS.burst

    run(scenario, address)


def test_a_steady_pace_is_never_too_much(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        for number in range(60):
            await say(database, WEB, str(number), limits=LIMITS)
            later(address, 60 / LIMITS.messages_per_minute)
        assert (len(heard(address)), told(address, WEB)) == (60, [])

    run(scenario, address)


def test_a_message_that_comes_again_is_no_message_more(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        for number in range(LIMITS.burst):
            await say(database, PHONE, "x", id=str(number), limits=LIMITS)
        receipt = await say(database, PHONE, "x", id="0", limits=LIMITS)
        assert (receipt.duplicate, queued(address, PHONE)) == (True, [])

    run(scenario, address)


def test_stop_gets_through(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        for number in range(LIMITS.burst + 1):
            await say(database, WEB, str(number), limits=LIMITS)
        for _ in range(3 * LIMITS.burst):
            await say(database, WEB, "stop", limits=LIMITS)
        stops = [text for _, text in heard(address) if text == "stop"]
        assert len(stops) in (LIMITS.burst, LIMITS.burst + 1), "and is bounded itself"

    run(scenario, address)


def test_others_are_not_slowed(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        for number in range(LIMITS.burst + 1):
            await say(database, PHONE, str(number), limits=LIMITS)
        await say(database, WEB, "hello", limits=LIMITS)
        assert heard(address)[-1] == ("web", "hello")

    run(scenario, address)


def test_strangers_are_bounded_for_all_together_but_not_who_has_a_code(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        few = IntakeLimits(strangers_per_minute=3)
        await say(database, WEB, "hello")
        for number in range(5):
            sender = Address(channel="sms", address=f"+1555010{number:04}")
            if number < 2:
                await say(database, sender, "hi", limits=few)
            else:
                with pytest.raises(Invalid) as refused:
                    await say(database, sender, "hi", limits=few)
                assert refused.value.public == CROWDED
        code = await code_for(database, address, WEB)
        await say(database, PHONE, code, limits=few)
        assert tenant_of(address, PHONE) == tenant_of(address, WEB)

    run(scenario, address)

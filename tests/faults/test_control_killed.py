"""Whoever takes a control word may be killed before or after: it comes again, and what it says is done once."""

import itertools
import subprocess
import sys
from signal import SIGKILL

from tests.budgets import owner_rows

from subclaw.store.database import DatabaseAddress

PROGRAM = """
import asyncio, os, sys
from datetime import UTC, datetime
from signal import SIGKILL
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.fault import install
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.turns.intake import StoreIntake

async def main(url, dies_at):
    left = int(dies_at)

    def die(point):
        nonlocal left
        left -= point.startswith("control.")
        if left == 0:
            os.kill(os.getpid(), SIGKILL)

    async with open_database(DatabaseAddress(url=url, private=True), Role.APP, size=1) as database:
        intake = StoreIntake(database, sends=lambda channel: channel != "web", public_url="http://localhost")

        async def say(channel, address, id, text, at=datetime.now(UTC)):
            message = InboundMessage(
                sender=Address(channel=channel, address=address), provider_id=id, text=text, received_at=at)
            await intake.receive(message)

        await say("web", "a", "1", "hello")
        install(die)
        await say("web", "a", "2", "link")
        ((items,),) = await database.rows("SELECT items FROM read_feed('web', 'a', 0, 100)")
        await say("sms", "+15550104567", "3", items[0]["body"]["text"].split()[1])
        await say("sms", "+15550104567", "4", "STOP")
        await say("sms", "+15550104567", "5", "START")
        await say("web", "a", "6", "unlink 2")

asyncio.run(main(*sys.argv[1:]))
"""
NEVER = 0
TOLD = "SELECT count(*), count(DISTINCT body) FROM event WHERE type = 'reply.queued'"
SENT = "SELECT split_part(text, ' ', 1) FROM outbox ORDER BY id"
IDENTITIES = "SELECT channel, number FROM identity"
CONSENT = "SELECT channel, state FROM consent ORDER BY id"


def test_a_control_word_is_taken_once_whoever_is_killed(address: DatabaseAddress) -> None:
    kills = 0
    for number in itertools.count(1):
        killed = [taken(address, dies_at) for dies_at in (number, NEVER)]
        assert owner_rows(address, TOLD) == [(5, 5)], f"killed at point {number}"
        assert owner_rows(address, SENT) == [("Linked:",), ("This",)]
        assert owner_rows(address, IDENTITIES) == [("web", 1)]
        assert owner_rows(address, CONSENT) == [("web", "in"), ("sms", "out"), ("sms", "in")]
        assert killed[1] is False
        kills += killed[0]
        if not killed[0]:
            break
        owner_rows(address, "DELETE FROM tenant")
        owner_rows(address, "DELETE FROM control_message")
        owner_rows(address, "DELETE FROM consent")
    assert kills == 10, "five words, before and after"


def taken(address: DatabaseAddress, dies_at: int) -> bool:
    """Have all that is said come (again); return whether whoever took it was killed."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM, address.url, str(dies_at)], check=False, timeout=60)
    assert ended.returncode in (0, -SIGKILL)
    return ended.returncode != 0

"""Fairness: a tenant who has a great deal to say does not keep the others waiting."""

import asyncio
import time
from typing import Any

import psycopg
import pytest
from tests.real.test_overlap import working
from tests.real.test_turns import AGENT, DEADLINE_S, done, say, toolbox, until_replies

from subclaw.core.model import Prompt
from subclaw.store.conversations import CLAIM_WINDOW, TENANT_LIMIT
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.testing.models import ScriptedModel, words
from subclaw.turns.run import Turns

FLOOD = 3 * CLAIM_WINDOW
FIRST_REPLY_S = 1.0


class FloodedModel(ScriptedModel):
    """Answers somebody at once, and the flood never."""

    def __init__(self) -> None:
        super().__init__([words("hello")])
        self.at_once = 0

    async def ask(self, prompt: Prompt) -> Any:
        if "flood" in str(prompt.history[-1]):
            self.at_once += 1
            await asyncio.Event().wait()
        return await super().ask(prompt)


def flood(address: DatabaseAddress) -> None:
    """Give one tenant conversations in each of which something was said."""
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        connection.execute("INSERT INTO tenant (id, name) VALUES (1000, 'flooder')")
        connection.execute(
            "WITH made AS (INSERT INTO conversation (tenant_id, channel, address, inbox_seq, wake_at)"
            " SELECT 1000, 'web', 'flood-' || n, 1, now() - interval '1 minute' FROM generate_series(1, %s) AS n"
            " RETURNING id, tenant_id) INSERT INTO inbox SELECT id, 1, tenant_id, '1', 'flood', now() FROM made",
            [FLOOD],
        )


@pytest.mark.alone
def test_a_flood_of_one_tenants_does_not_delay_anothers_first_reply(address: DatabaseAddress) -> None:
    flood(address)

    async def scenario() -> None:
        model = FloodedModel()
        async with open_database(address, Role.APP) as database:
            turns = Turns(
                database=database,
                model=model,
                toolbox=toolbox(done),
                agent=AGENT,
                instructions=lambda _: "be kind",
                sends=lambda name: name == "sms",
            )
            async with working(turns, address):
                while model.at_once < TENANT_LIMIT:
                    await asyncio.sleep(0.01)
                began_s = time.monotonic()
                await say(database, "is anybody there?", "1")
                assert await until_replies(address, 1) == ["hello"]
                assert time.monotonic() - began_s < FIRST_REPLY_S
                assert model.at_once == TENANT_LIMIT

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))

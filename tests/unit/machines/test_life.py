"""Metering: what is on a tenant's account, and what happens to a machine whose start was overtaken."""

import asyncio
import math
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from subclaw.core.errors import Conflict, SubclawError, Unavailable
from subclaw.core.machine import MachineLedger, SecondsLeft, Terms
from subclaw.core.tenant import TenantId
from subclaw.machines.house import House
from subclaw.machines.life import METER_S, SILENT_S, Life, Visit, begun, end_visits, meter, sleeps_at_s
from subclaw.machines.qemu.running import Running
from subclaw.machines.qemu.template import Template
from subclaw.machines.starts import Started

TERMS = Terms(idle_timeout_s=300.0, disk_mb=8_192, sleeps_with_memory=True, left=SecondsLeft(by_claim_s=100.0))


class Account:
    """A ledger of which only `use` is used; it fails with the errors that it is given, in turn."""

    def __init__(self, *errors: SubclawError | None) -> None:
        self.errors = list(errors)
        self.used_s = 0.0
        self.limit_s = math.inf

    async def use(self, tenant_id: TenantId, generation: int, *, awake_s: float) -> SecondsLeft:
        """Add seconds."""
        if self.errors and (error := self.errors.pop(0)):
            raise error
        self.used_s += awake_s
        return SecondsLeft(by_claim_s=100.0 - self.used_s, at_all_s=self.limit_s - self.used_s)


def started(life: Life) -> Started:
    """Return what is known of a machine that is up."""
    return Started(
        machine=cast(Running, SimpleNamespace(gone=asyncio.Event())),
        generation=1,
        generation_before=0,
        house=House(tenant_id=life.tenant_id, laid={}, waiting=(), note=""),
        terms=TERMS,
        image="",
        template=cast(Template, None),
    )


def metered(account: Account, check: Callable[[Life], None], *, awake_s: float, times: int = 1) -> None:
    """Meter a life that began so long ago."""

    async def scenario() -> None:
        life = begun(TenantId(1))
        life.metered_s -= awake_s
        up = started(life)
        for _ in range(times):
            await meter(life, up, cast(MachineLedger, account))
        check(life)

    asyncio.run(scenario())


def test_seconds_are_added_once() -> None:
    account = Account()

    def check(life: Life) -> None:
        assert account.used_s == pytest.approx(30.0, abs=1.0)
        assert life.left.by_claim_s == pytest.approx(70.0, abs=1.0)

    metered(account, check, awake_s=30.0, times=2)


def test_seconds_wait_for_a_ledger_that_is_away_which_is_not_asked_at_once_again() -> None:
    account = Account(Unavailable("away"))

    def check(life: Life) -> None:
        assert account.used_s == pytest.approx(30.0, abs=1.0)
        assert life.meter_at_s - life.metered_s == pytest.approx(METER_S, abs=1.0)

    metered(account, check, awake_s=30.0, times=2)

    def unmetered(life: Life) -> None:
        assert life.meter_at_s - life.metered_s == pytest.approx(30.0 + METER_S, abs=1.0)
        assert not life.stop.is_set()

    metered(Account(Unavailable("away")), unmetered, awake_s=30.0)


def test_machine_whose_start_was_overtaken_is_ended_as_it_is() -> None:
    def check(life: Life) -> None:
        assert life.stop.is_set()
        assert not life.sync

    metered(Account(Conflict("overtaken")), check, awake_s=30.0)


def test_machine_goes_to_sleep_when_a_budget_has_no_second_left_and_is_metered_at_that_time() -> None:
    account = Account()
    account.limit_s = 40.0

    def going_on(life: Life) -> None:
        assert not life.stop.is_set()
        assert life.meter_at_s - life.metered_s == pytest.approx(10.0, abs=1.0)

    metered(account, going_on, awake_s=30.0)

    def spent(life: Life) -> None:
        assert life.stop.is_set()
        assert life.sync, "what is on its disk is kept"
        assert life.is_spent

    metered(account, spent, awake_s=10.0)


def test_a_visit_keeps_a_machine_awake_while_it_is_heard_of_and_there_is_time() -> None:
    async def scenario() -> None:
        life = begun(TenantId(1))
        assert life.visits_left_s() == math.inf, "nothing is known before it is up"
        up = started(life)
        life.up.set_result(up)
        life.left = SecondsLeft(by_claim_s=100.0)
        assert life.visits_left_s() == pytest.approx(100.0, abs=1.0)
        now_s = time.monotonic()
        life.used_s = now_s - 1_000.0
        visit = Visit(life=life, used_s=now_s)
        life.visits.add(visit)
        assert sleeps_at_s(life, up) == pytest.approx(now_s + SILENT_S)
        visit.touch()
        assert life.used_s >= now_s
        life.left, life.used_s = SecondsLeft(by_claim_s=0.0), now_s - 1_000.0
        visit.touch()
        end_visits(life)
        assert visit.over.is_set()
        assert sleeps_at_s(life, up) == pytest.approx(now_s - 1_000.0 + TERMS.idle_timeout_s)

    asyncio.run(scenario())

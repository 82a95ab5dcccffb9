"""The machines that a gateway serves: what they may reach is what the book says, as soon as it says so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from nacl.public import PrivateKey

from subclaw.core.errors import Unavailable
from subclaw.core.policy import Opening, Refused, Rule, Scope
from subclaw.core.quota import Quota
from subclaw.core.secret import Binding, BoundSecret
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import TenantPolicy, Traffic
from subclaw.egress.limits import Limits
from subclaw.egress.machines import machines as module
from subclaw.egress.machines.machine import Machine
from subclaw.egress.machines.machines import Machines
from subclaw.egress.names.resolver import HostResolver
from subclaw.egress.outside import Outside
from subclaw.testing.egress import run
from subclaw.testing.egress_book import MemoryEgressBook
from subclaw.testing.egress_machine import trusting, upstream_authority

ONE, OTHER = TenantId(1), TenantId(2)
OPEN = TenantPolicy(rules=(Rule(host="api.test"),))
SHUT = TenantPolicy()


@asynccontextmanager
async def keeping(book: MemoryEgressBook) -> AsyncIterator[Machines]:
    """Keep machines by a book for a block."""
    resolver = HostResolver()
    machines = Machines(
        key=PrivateKey(bytes(range(32))),
        book=book,
        outside=Outside(resolver=resolver, tls=trusting(upstream_authority())),
        limits=Limits(),
        starter=(Rule(host="starter.test"),),
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(machines.keep())
        await until(lambda: book.prunings > 0)  # it has begun
        try:
            yield machines
        finally:
            task.cancel()
    await resolver.close()


def scenario_of(scenario: Callable[[MemoryEgressBook, Machines], Awaitable[None]]) -> None:
    """Run a scenario with a book and the machines that are kept by it."""

    async def bounded() -> None:
        book = MemoryEgressBook()
        async with keeping(book) as machines:
            await scenario(book, machines)

    run(bounded)


def may_reach(machine: Machine, host: str = "api.test") -> bool:
    return isinstance(machine.access.decide(host, 443), Opening)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_a_machine_that_has_much_to_do_leaves_others_their_turn() -> None:
    async def scenario(_: MemoryEgressBook, machines: Machines) -> None:
        done: list[Machine] = []

        async def work(machine: Machine) -> None:
            async with machine.turn():
                done.append(machine)

        async with machines.opened(ONE) as one, machines.opened(OTHER) as other:
            async with asyncio.TaskGroup() as group:
                for machine in [one] * 100 + [other] * 3:
                    group.create_task(work(machine))
            assert len(done) == 103
            assert done[:10].count(other) == 3

    scenario_of(scenario)


def test_a_change_holds_as_soon_as_it_is_known() -> None:
    async def scenario(book: MemoryEgressBook, machines: Machines) -> None:
        book.put(ONE, OPEN)
        async with machines.opened(ONE) as one, machines.opened(OTHER) as other:
            assert may_reach(one)
            assert not may_reach(other)
            book.put(ONE, TenantPolicy(quota=Quota(connections=3)))
            await until(lambda: not may_reach(one))
            assert one.meter.quota.connections == 3
            book.put(OTHER, TenantPolicy(starter=True))
            await until(lambda: may_reach(other, "starter.test"))

    scenario_of(scenario)


def test_what_is_for_tools_is_for_no_machine() -> None:
    inner = Rule(host="inner.test", addresses=("127.0.0.1",), tools="support")
    binding = Binding(hosts=("vault.test",), tools="support")
    secret = BoundSecret(
        id=1, name="KEY", scope=Scope.OPERATOR, tenant_id=None, placeholder="p" * 20, binding=binding, sealed=b""
    )

    async def scenario(book: MemoryEgressBook, machines: Machines) -> None:
        book.put(ONE, TenantPolicy(rules=(inner,), secrets=(secret,)))
        async with machines.opened(ONE) as machine, machines.opened(ONE, for_tools=True) as tools:
            for host in ("inner.test", "vault.test"):
                assert may_reach(tools, host)
                assert not may_reach(machine, host)
            book.put(ONE, TenantPolicy(rules=(inner, Rule(host="api.test")), secrets=(secret,)))
            await until(lambda: may_reach(tools) and may_reach(machine))
            assert may_reach(tools, "vault.test")
            assert not any(may_reach(machine, host) for host in ("inner.test", "vault.test"))

    scenario_of(scenario)


def test_a_change_while_a_machine_is_being_opened_is_not_lost() -> None:
    async def scenario(book: MemoryEgressBook, machines: Machines) -> None:
        book.put(ONE, OPEN)
        book.open.clear()

        async def opened() -> None:
            async with machines.opened(ONE) as machine:
                await until(lambda: not may_reach(machine))

        async with asyncio.TaskGroup() as group:
            reads = book.reads
            group.create_task(opened())
            await until(lambda: book.reads > reads)
            book.put(ONE, SHUT)
            book.open.set()

    scenario_of(scenario)


def test_a_book_that_is_away_leaves_the_old_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)

    async def scenario(book: MemoryEgressBook, machines: Machines) -> None:
        book.put(ONE, OPEN)
        async with machines.opened(ONE) as machine:
            book.down = True
            book.put(ONE, SHUT)
            await asyncio.sleep(0)
            assert may_reach(machine)
            with pytest.raises(Unavailable):
                async with machines.opened(OTHER):
                    pass
            book.down = False
            await until(lambda: not may_reach(machine))

    scenario_of(scenario)


def test_what_a_machine_used_is_written_down_when_it_is_let_go() -> None:
    async def scenario() -> None:
        book = MemoryEgressBook()
        async with keeping(book) as machines, machines.opened(ONE) as machine:
            machine.meter.count(3, 4)
        assert book.traffic == {ONE: [Traffic(sent_bytes=3, received_bytes=4)]}

    run(scenario)


def test_a_machine_has_an_authority_of_its_own_which_stays() -> None:
    async def scenario(book: MemoryEgressBook, machines: Machines) -> None:
        async with machines.opened(ONE) as one, machines.opened(OTHER) as other:
            first, names = one.authority.pem, one.name_key
            assert first != other.authority.pem
            assert names != other.name_key
        async with keeping(book) as again, again.opened(ONE) as one:
            assert (one.authority.pem, one.name_key) == (first, names)
            assert isinstance(one.access.decide("api.test", 443), Refused)

    scenario_of(scenario)

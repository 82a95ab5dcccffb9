"""Finding addresses, against a real name server that misbehaves, and judging what it says."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import dns.rcode
import pytest
import uvloop
from tests.name_server import NameServer, name_server

from subclaw.core.errors import Denied, NotFound, SubclawError, Unavailable
from subclaw.egress.names import resolver as module
from subclaw.egress.names.resolver import HostResolver, checked

DEADLINE_S = 30.0
PUBLIC, OTHER, PUBLIC_6 = ip_address("93.184.216.34"), ip_address("1.1.1.1"), ip_address("2606:4700::1111")

PROGRAM = """
import asyncio
from subclaw.egress.names.resolver import HostResolver

async def main():
    resolver = HostResolver()
    print(*await resolver.resolve("api.test"))
    await resolver.close()

asyncio.run(main())
"""


def with_server(scenario: Callable[[NameServer, HostResolver], Awaitable[None]]) -> None:
    """Run a scenario with a name server and a resolver that asks it."""

    async def run() -> None:
        async with asyncio.timeout(DEADLINE_S), name_server() as server, _resolver(server.address) as resolver:
            await scenario(server, resolver)

    uvloop.run(run())


@asynccontextmanager
async def _resolver(*name_servers: str) -> AsyncIterator[HostResolver]:
    resolver = HostResolver(name_servers)
    try:
        yield resolver
    finally:
        await resolver.close()


def test_both_families_are_found_and_search_domains_are_not_tried() -> None:
    async def scenario(server: NameServer, resolver: HostResolver) -> None:
        server.tell("api.test", str(PUBLIC), str(PUBLIC_6))
        assert set(await resolver.resolve("api.test")) == {PUBLIC, PUBLIC_6}
        with pytest.raises(NotFound, match=r"none\.test does not exist"):
            await resolver.resolve("none.test")
        assert sorted(server.questions) == [
            *(("api.test", "A"), ("api.test", "AAAA"), ("none.test", "A"), ("none.test", "AAAA"))
        ]

    with_server(scenario)


def test_an_alias_is_followed() -> None:
    async def scenario(server: NameServer, resolver: HostResolver) -> None:
        server.tell("api.test", str(PUBLIC), alias="cdn.example")
        assert await resolver.resolve("api.test") == (PUBLIC,)

    with_server(scenario)


def test_a_name_that_is_bound_anew_is_seen_at_once() -> None:
    async def scenario(server: NameServer, resolver: HostResolver) -> None:
        server.tell("rebind.test", str(PUBLIC), ttl_s=0)
        assert checked("rebind.test", await resolver.resolve("rebind.test")) == (PUBLIC,)
        server.tell("rebind.test", "169.254.169.254", ttl_s=0)
        with pytest.raises(Denied, match="link-local"):
            checked("rebind.test", await resolver.resolve("rebind.test"))

    with_server(scenario)


def test_an_answer_is_kept_as_long_as_it_says() -> None:
    async def scenario(server: NameServer, resolver: HostResolver) -> None:
        server.tell("api.test", str(PUBLIC), ttl_s=60)
        assert await resolver.resolve("api.test") == (PUBLIC,)
        asked = len(server.questions)
        server.tell("api.test", str(OTHER), ttl_s=60)
        assert await resolver.resolve("api.test") == (PUBLIC,)
        assert len(server.questions) == asked

    with_server(scenario)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (dns.rcode.NXDOMAIN, NotFound),
        (dns.rcode.SERVFAIL, Unavailable),
        (dns.rcode.REFUSED, Unavailable),
        (dns.rcode.FORMERR, Unavailable),
        (dns.rcode.NOTIMP, Unavailable),
    ],
)
def test_errors_are_translated(code: dns.rcode.Rcode, error: type[SubclawError]) -> None:
    async def scenario(server: NameServer, resolver: HostResolver) -> None:
        server.fail("api.test", code)
        with pytest.raises(error) as failed:
            await resolver.resolve("api.test")
        assert "api.test" in failed.value.public

    with_server(scenario)


def test_a_name_without_addresses() -> None:
    async def scenario(server: NameServer, resolver: HostResolver) -> None:
        server.tell("mail.test")
        with pytest.raises(NotFound, match=r"mail\.test has no address"):
            await resolver.resolve("mail.test")

    with_server(scenario)


def test_a_truncated_answer_is_fetched_over_tcp() -> None:
    async def scenario(server: NameServer, resolver: HostResolver) -> None:
        server.tell("large.test", str(PUBLIC))
        server.truncate("large.test")
        assert await resolver.resolve("large.test") == (PUBLIC,)
        assert server.over_tcp == 2

    with_server(scenario)


def test_a_name_is_asked_for_once_however_many_want_it() -> None:
    async def scenario(server: NameServer, resolver: HostResolver) -> None:
        server.tell("slow.test", str(PUBLIC))
        server.hold("slow.test")
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(resolver.resolve("slow.test")) for _ in range(50)]
            await server.asked.wait()
            waiting[0].cancel()  # which takes the answer from nobody else
            server.release("slow.test")
        assert all(found.result() == (PUBLIC,) for found in waiting[1:])
        assert set(server.questions) == {("slow.test", "A"), ("slow.test", "AAAA")}
        assert len(server.questions) <= 4  # a try may have been sent again

    with_server(scenario)


def test_silence_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESOLVE_S", 0.3)

    async def scenario(server: NameServer, resolver: HostResolver) -> None:
        server.hold("slow.test")
        with pytest.raises(Unavailable, match="in time"):
            await resolver.resolve("slow.test")
        server.tell("api.test", str(PUBLIC))
        assert await resolver.resolve("api.test") == (PUBLIC,)

    with_server(scenario)


def test_too_many_names_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNDER_WAY_LIMIT", 1)

    async def scenario(server: NameServer, resolver: HostResolver) -> None:
        server.hold("slow.test")
        server.tell("slow.test", str(PUBLIC))
        async with asyncio.TaskGroup() as group:
            first = group.create_task(resolver.resolve("slow.test"))
            await server.asked.wait()
            with pytest.raises(Unavailable, match="Too many"):
                await resolver.resolve("api.test")
            server.release("slow.test")
        assert first.result() == (PUBLIC,)

    with_server(scenario)


def test_nobody_is_left_waiting_at_the_end() -> None:
    async def scenario(server: NameServer, resolver: HostResolver) -> None:
        server.hold("slow.test")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_outcome(resolver, "slow.test"))
            await server.asked.wait()
            await resolver.close()
        assert isinstance(waiting.result(), Unavailable)

    with_server(scenario)


def test_questions_under_way_outlive_a_new_beginning_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEWED_AFTER", 2)

    async def scenario(server: NameServer, resolver: HostResolver) -> None:
        server.hold("slow.test")
        server.tell("slow.test", str(PUBLIC))
        names = [f"host-{number}.test" for number in range(5)]
        for name in names:
            server.tell(name, str(OTHER), ttl_s=60)
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(resolver.resolve("slow.test"))
            await server.asked.wait()
            for name in names:
                assert await resolver.resolve(name) == (OTHER,)
            server.release("slow.test")
        assert slow.result() == (PUBLIC,)
        asked = len(server.questions)
        assert await resolver.resolve(names[0]) == (OTHER,)
        assert len(server.questions) > asked

    with_server(scenario)


async def _outcome(resolver: HostResolver, host: str) -> object:
    try:
        return await resolver.resolve(host)
    except SubclawError as error:
        return error


def test_no_name_server_at_all() -> None:
    async def run() -> None:
        async with name_server() as server:
            address = server.address
        async with _resolver(address) as resolver:
            with pytest.raises(Unavailable):
                await resolver.resolve("api.test")

    uvloop.run(run())


def test_the_hosts_own_settings_count(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(f"{OTHER} api.test\n")
    mounted = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(tmp_path / "hosts")]
    done = subprocess.run(
        [*mounted, sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, [str(OTHER)]), done.stderr


def test_one_forbidden_address_refuses_the_name() -> None:
    assert checked("api.test", [PUBLIC_6, PUBLIC]) == (PUBLIC_6, PUBLIC)
    for bad in ("127.0.0.1", "10.0.0.1", "::ffff:169.254.169.254", "fd00:ec2::254", "198.18.0.1"):
        for addresses in ([PUBLIC, ip_address(bad)], [ip_address(bad), PUBLIC]):
            with pytest.raises(Denied) as refused:
                checked("api.test", addresses)
            assert refused.value.public.startswith("api.test leads to an address that must not be reached: it ")
            assert bad not in refused.value.public

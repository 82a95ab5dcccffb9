"""What stands to a host ends when that is open no more, or not as it was; all else stays as it is."""

import asyncio
import ssl

import pytest
from tests.real.egress_scene import PLACEHOLDER, SECRET, Scene, scene
from tests.real.http2_client import headers, http2_client

from subclaw.core.policy import Mode, Rule
from subclaw.core.secret import Binding
from subclaw.egress.machines.access import Access
from subclaw.testing.egress import run
from subclaw.testing.egress_machine import access_of, pinned
from subclaw.testing.upstream import Connection, Seen, raw_upstream


def same(at: Scene, *rules: Rule, value: str = SECRET) -> Access:
    """Return what the scene allows, and further rules."""
    bound = Binding(hosts=("api.test",), ports=(at.api.port,))
    return access_of([pinned("api.test", at.api.port), *rules], {"key": (PLACEHOLDER, value, bound)})


def denying(at: Scene) -> Access:
    """Return the same, but for a rule that denies it."""
    return same(at, Rule(host="api.test", ports=(at.api.port,), mode=Mode.DENY))


def change(at: Scene, access: Access) -> None:
    """Let something else hold."""
    at.door.machine.change(access, known_at_s=asyncio.get_running_loop().time())


@pytest.mark.parametrize("what", ["denied", "another secret", "nothing at all"])
def test_a_connection_that_is_kept_alive_ends(what: str) -> None:
    async def scenario() -> None:
        async with scene() as at:
            reader, writer = await at.door.connect_tls("api.test")
            writer.write(at.get())
            await reader.readuntil(b"fine")
            changes = {"denied": denying(at), "another secret": same(at, value="sk-live-another-one")}
            change(at, changes.get(what) or access_of([], {}))
            with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()
            await at.api.connections[0].ended.wait()

    run(scenario)


def test_a_request_under_way_ends_by_either_version() -> None:
    async def scenario() -> None:
        arrived: asyncio.Queue[Connection] = asyncio.Queue(maxsize=10)

        async def never(_: Seen, connection: Connection) -> None:
            await arrived.put(connection)
            while await connection.read():
                pass

        async with scene(never) as at, http2_client(at.door, "api.test") as client:
            client.ask(headers(at.api_host))
            await client.flush()
            reader, writer = await at.door.connect_tls("api.test")
            writer.write(at.get())
            upstream = [await arrived.get(), await arrived.get()]
            change(at, denying(at))
            await client.until_over()
            with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()
            for connection in upstream:
                await connection.ended.wait()

    run(scenario)


def test_a_connection_by_http2_without_requests_ends() -> None:
    async def scenario() -> None:
        async with scene() as at, http2_client(at.door, "api.test") as client:
            assert (await client.get(headers(at.api_host))).status == 200
            change(at, denying(at))
            await client.until_over()
            assert (await at.ask()).startswith(b"HTTP/1.1 403 ")

    run(scenario)


def test_a_plain_connection_ends() -> None:
    async def scenario() -> None:
        async with scene(tls=False) as at:
            reader, writer = await at.door.connect()
            writer.write(at.get())
            await reader.readuntil(b"fine")
            change(at, denying(at))
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()

    run(scenario)


def test_what_is_spliced_ends() -> None:
    async def scenario() -> None:
        async def keep(connection: Connection) -> None:
            while await connection.read():
                pass

        async with raw_upstream(keep) as far:
            rule = pinned("far.test", far.port, Mode.SPLICE)
            async with scene(port=far.port, rules=[rule]) as at:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                opening = asyncio.ensure_future(
                    asyncio.open_connection("127.0.0.1", at.door.port, ssl=context, server_hostname="far.test")
                )
                while not far.received:
                    await asyncio.sleep(0.01)
                change(at, same(at))
                with pytest.raises((ConnectionError, ssl.SSLError)):
                    await opening
                await far.connections[0].ended.wait()
                assert far.received.startswith(b"\x16\x03")

    run(scenario)


def test_what_is_still_allowed_stays() -> None:
    async def scenario() -> None:
        async with scene() as at, http2_client(at.door, "api.test") as client:
            assert (await client.get(headers(at.api_host))).status == 200
            reader, writer = await at.door.connect_tls("api.test")
            for _ in range(3):
                change(at, same(at, Rule(host="other.test")))
                writer.write(at.get())
                await reader.readuntil(b"fine")
                assert (await client.get(headers(at.api_host))).status == 200
            writer.close()

    run(scenario)


def test_what_becomes_allowed_is_so_on_new_connections() -> None:
    async def scenario() -> None:
        async with scene() as at:
            allowed = at.door.machine.access
            change(at, denying(at))
            reader, writer = await at.door.connect_tls("api.test")
            change(at, same(at))
            with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()
            assert (await at.ask()).startswith(b"HTTP/1.1 200 ")
            assert allowed is not at.door.machine.access

    run(scenario)

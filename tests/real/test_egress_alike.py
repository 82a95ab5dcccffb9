"""Requests of one connection that are alike: each is decided on, filled and counted as if it were the first."""

import asyncio

from tests.real.egress_scene import PLACEHOLDER, SECRET, fine, scene

from subclaw.core.policy import Rule
from subclaw.core.quota import Quota
from subclaw.core.secret import Binding
from subclaw.egress.http.door import SEEN_LIMIT
from subclaw.testing.egress import run
from subclaw.testing.egress_machine import access_of, pinned

ROUNDS = 3


def test_bodies_of_other_lengths_arrive_whole_and_with_the_secret() -> None:
    async def scenario() -> None:
        bodies = [b"x" * size for size in (3, 3, 500, 0, 70_000, 3)]
        async with scene(fine) as at:
            reader, writer = await at.door.connect_tls("api.test")
            for body in bodies:
                writer.write(at.get("/a?b", f"Content-Length: {len(body)}", method="POST") + body)
                await reader.readuntil(b"fine")
            writer.close()
            assert [each.body for each in at.api.requests] == bodies
            assert {each.headers["authorization"] for each in at.api.requests} == {f"Bearer {SECRET}"}
            assert {each.headers["content-length"] for each in at.api.requests} == {"3", "500", "0", "70000"}
            assert len(at.api.connections) == 1
        noted = [each for each in at.door.decisions if each.host == "api.test"]
        assert [(each.method, each.path, each.allowed, each.mode) for each in noted] == [
            ("POST", "/a", True, "inject")
        ] * len(bodies)

    run(scenario)


def test_more_different_ones_than_are_remembered_and_one_that_is_denied_between_them() -> None:
    async def scenario() -> None:
        paths = [f"/{number}" for number in range(2 * SEEN_LIMIT)] * ROUNDS
        async with scene(fine) as at:
            reader, writer = await at.door.connect_tls("api.test")
            for path in paths:
                writer.write(at.get(path))
                await reader.readuntil(b"fine")
            writer.write(at.get(paths[-1], host="other.test"))
            assert b" 421 " in await reader.readline()
            writer.close()
            assert [each.target for each in at.api.requests] == paths

    run(scenario)


def test_what_is_remembered_ends_with_what_it_was_decided_by() -> None:
    async def scenario() -> None:
        async with scene(fine) as at:
            reader, writer = await at.door.connect_tls("api.test")
            bound = Binding(hosts=("api.test",), ports=(at.api.port,))
            secrets = {"key": (PLACEHOLDER, SECRET, bound)}
            rules = [pinned("api.test", at.api.port), Rule(host="elsewhere.test")]
            for number in range(ROUNDS):
                writer.write(at.get())
                await reader.readuntil(b"fine")
                # Nothing is other for this host, so the connection stays; but it is another picture.
                changed = access_of(rules[: 1 + number % 2], secrets)
                at.door.machine.change(changed, known_at_s=asyncio.get_running_loop().time())
            minted = Binding(hosts=("api.test",), ports=(at.api.port,), name="x-other", template="{}")
            at.door.machine.access = access_of(rules, {**secrets, "other": ("none-xxxxxxxxx", "sk-other-1", minted)})
            writer.write(at.get())
            await reader.readuntil(b"fine")
            writer.close()
            assert [each.headers.get("x-other") for each in at.api.requests] == [None] * ROUNDS + ["sk-other-1"]

    run(scenario)


def test_each_is_counted() -> None:
    async def scenario() -> None:
        async with scene(fine, quota=Quota(requests_per_minute=ROUNDS)) as at:
            reader, writer = await at.door.connect_tls("api.test")
            for _ in range(ROUNDS):
                writer.write(at.get())
                await reader.readuntil(b"fine")
            writer.write(at.get())
            assert b" 429 " in await reader.readline()
            writer.close()
            assert len(at.api.requests) == ROUNDS

    run(scenario)

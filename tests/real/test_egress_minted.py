"""Keys in answers, over real connections: the machine gets placeholders, uses them, and never the keys."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from nacl.public import PrivateKey
from tests.budgets import owner_rows
from tests.real.test_egress_rules import make_tenants

from subclaw.core.policy import Opening, Refused, Scope
from subclaw.core.secret import Binding, label
from subclaw.core.tenant import TenantId
from subclaw.egress.limits import MACHINE_LIMITS
from subclaw.egress.machines.certificates import Authority
from subclaw.egress.machines.machine import Machine
from subclaw.egress.machines.machines import Machines
from subclaw.egress.names.resolver import HostResolver
from subclaw.egress.outside import Outside
from subclaw.egress.refusal import Refusal
from subclaw.egress.seal import seal
from subclaw.egress.secrets.minted import Minted
from subclaw.egress.secrets.placeholders import Usable
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.egress_book import StoreEgressBook
from subclaw.store.secrets import MINTED_LIMIT, list_secrets, placeholders, remove_secret, save_bound_secret
from subclaw.testing.egress import run
from subclaw.testing.egress_machine import MachineDoor, access_of, machine_door, pinned, trusting, upstream_authority
from subclaw.testing.upstream import Connection, FakeUpstream, Seen, http_upstream, simple

SECRET = "sk-live-0123456789abcdef"
PLACEHOLDER = "sk-subclaw-of-the-secret-0123"
TOKEN = "ya29.a0AfH6SMBx7-live-token-0123456789"
JSON = "content-type: application/json"


async def _mint(seen: Seen, connection: Connection) -> None:
    """Answer a request for a token with one, and others with what they said of themselves."""
    if seen.target == "/token":
        await connection.write(simple(json.dumps({"access_token": TOKEN, "expires_in": 60}).encode(), JSON))
    elif seen.target == "/form":
        form = f"access_token={TOKEN}&scope=repo".encode()
        await connection.write(simple(form, "content-type: application/x-www-form-urlencoded; charset=utf-8"))
    elif seen.target == "/sts":
        xml = b"<Credentials><SecretAccessKey>wJalrXUtnFEMI/K7MDENG</SecretAccessKey></Credentials>"
        await connection.write(simple(xml, "content-type: text/xml"))
    elif seen.target == "/redirect":
        location = f"location: https://api.test/#access_token={TOKEN}"
        await connection.write(simple(b"", location, f"x-auth-token: {TOKEN}", status="302 Found"))
    else:
        await connection.write(simple(seen.headers.get("authorization", "-").encode(), "content-type: text/plain"))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A machine's way out, with two hosts: `api.test`, which has the secret, and `other.test`."""

    door: MachineDoor
    api: FakeUpstream
    authority: Path

    async def curl(
        self, path: str, *options: str, host: str = "api.test", hidden: Sequence[str] = (TOKEN, SECRET)
    ) -> bytes:
        """Ask as a program on the machine does; return the answer with its head, in which `hidden` is not."""
        url = f"https://{host}:{self.api.port}{path}"
        to = f"::127.0.0.1:{self.door.port}"
        command = ["curl", "-sS", "-i", "--noproxy", "*", "--cacert", str(self.authority), "--connect-to", to]
        curl = await asyncio.create_subprocess_exec(*command, *options, url, stdout=asyncio.subprocess.PIPE)
        assert curl.stdout is not None
        answer = await curl.stdout.read()
        await curl.wait()
        assert not [text for text in hidden if text.encode() in answer]
        return answer


@asynccontextmanager
async def _scene(folder: Path) -> AsyncIterator[Scene]:
    outside = upstream_authority()
    tls = outside.context("api.test")
    tls.sni_callback = lambda connection, name, _: setattr(connection, "context", outside.context(str(name)))
    async with http_upstream(_mint, tls=tls) as api:
        binding = Binding(hosts=("api.test",), ports=(api.port,))
        rules = [pinned("api.test", api.port), pinned("other.test", api.port)]
        access = access_of(rules, {"KEY": (PLACEHOLDER, SECRET, binding)})
        async with machine_door(access, outside, api.port) as door:
            path = folder / "authority.pem"
            path.write_text(door.machine.authority.pem)
            yield Scene(door=door, api=api, authority=path)


def _bearer(token: str) -> list[str]:
    return ["-H", f"authorization: Bearer {token}"]


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_a_token_becomes_a_placeholder_that_works_at_once(version: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with _scene(tmp_path) as scene:
            head, _, body = (await scene.curl("/token", version, *_bearer(PLACEHOLDER))).partition(b"\r\n\r\n")
            assert b"content-length: %d\r\n" % len(body) in head.lower() + b"\r\n"
            given = json.loads(body)
            assert given["expires_in"] == 60
            assert len(given["access_token"]) == len(TOKEN)
            await scene.curl("/me", version, *_bearer(given["access_token"]))
            await scene.curl("/me", version, "-u", f"x-access-token:{given['access_token']}")
            as_seen = [seen.headers.get("authorization") for seen in scene.api.requests]
            pair = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
            assert as_seen == [f"Bearer {SECRET}", f"Bearer {TOKEN}", f"Basic {pair}"]

    run(scenario)


def test_an_answer_to_a_request_without_a_secret_is_the_machines_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with _scene(tmp_path) as scene:
            answer = await scene.curl("/token", hidden=())
            assert TOKEN.encode() in answer

    run(scenario)


def test_a_token_of_a_form_and_of_a_redirect_stays_here(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with _scene(tmp_path) as scene:
            answer = await scene.curl("/form", *_bearer(PLACEHOLDER))
            assert b"&scope=repo" in answer
            assert b"access_token=ya29" not in answer
            redirect = await scene.curl("/redirect", *_bearer(PLACEHOLDER))
            assert b"#access_token=[secret]" in redirect
            assert b"x-auth-token" not in redirect

    run(scenario)


def test_keys_in_xml_are_refused_in_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with _scene(tmp_path) as scene:
            answer = await scene.curl("/sts", *_bearer(PLACEHOLDER))
            assert answer.startswith(b"HTTP/2 502")
            assert b"machines are given no keys" in answer
            assert b"wJalr" not in answer

    run(scenario)


def test_the_placeholder_is_a_text_like_any_other_elsewhere(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with _scene(tmp_path) as scene:
            answer = await scene.curl("/token", *_bearer(PLACEHOLDER))
            token = json.loads(answer.partition(b"\r\n\r\n")[2])["access_token"]
            await scene.curl("/me", *_bearer(token), host="other.test")
            last = scene.api.requests[-1]
            assert (last.headers["host"], last.headers["authorization"]) == (
                f"other.test:{scene.api.port}",
                f"Bearer {token}",
            )

    run(scenario)


def test_an_answer_that_trickles_goes_on_and_ends_at_a_key(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def trickle(seen: Seen, connection: Connection) -> None:
        head = f"HTTP/1.1 200 OK\r\n{JSON}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        first, last = b'{"event": 1}\n', b'{"refresh_token": "%s"}\n' % TOKEN.encode()
        await connection.write(head + b"%x\r\n%s\r\n" % (len(first), first))
        await ended.wait()
        await connection.write(b"%x\r\n%s\r\n" % (len(last), last))

    async def scenario() -> None:
        outside = upstream_authority()
        async with http_upstream(trickle, tls=outside.context("api.test")) as api:
            binding = Binding(hosts=("api.test",), ports=(api.port,))
            access = access_of([pinned("api.test", api.port)], {"KEY": (PLACEHOLDER, SECRET, binding)})
            async with machine_door(access, outside, api.port) as door:
                reader, writer = await door.connect_tls("api.test")
                request = f"GET /watch HTTP/1.1\r\nHost: api.test:{api.port}\r\nAuthorization: {PLACEHOLDER}\r\n\r\n"
                writer.write(request.encode())
                assert (await reader.readuntil(b"1}\n")).startswith(b"HTTP/1.1 200")
                ended.set()
                rest = b""
                with contextlib.suppress(OSError):  # it breaks off
                    rest = await reader.read()
                assert TOKEN.encode() not in rest
                assert not rest.endswith(b"0\r\n\r\n")
                writer.close()

    run(scenario)


@dataclass(frozen=True, kw_only=True)
class Store:
    """The database in three roles, and the gateway's key."""

    operator: Database
    app: Database
    egress: Database
    book: StoreEgressBook
    key: PrivateKey

    async def save(self, name: str, tenant: TenantId | None, binding: Binding) -> None:
        """Set a secret."""
        scope = Scope.OPERATOR if tenant is None else Scope.TENANT
        sealed = seal(bytes(self.key.public_key), SECRET, label(name, scope, tenant, PLACEHOLDER, binding))
        await save_bound_secret(
            self.operator,
            name=name,
            scope=scope,
            tenant_id=tenant,
            placeholder=PLACEHOLDER,
            binding=binding,
            sealed=sealed,
        )


@asynccontextmanager
async def _store(address: DatabaseAddress) -> AsyncIterator[Store]:
    async with (
        open_database(address, Role.OPERATOR, size=1) as operator,
        open_database(address, Role.APP, size=1) as app,
        open_database(address, Role.EGRESS, size=2) as egress,
    ):
        book = StoreEgressBook(egress, address)
        yield Store(operator=operator, app=app, egress=egress, book=book, key=PrivateKey.generate())


@asynccontextmanager
async def _machine(store: Store, outside: Authority, tenant: TenantId) -> AsyncIterator[Machine]:
    """Run a gateway's machines, and give the one of a tenant."""
    resolver = HostResolver()
    machines = Machines(
        key=store.key,
        book=store.book,
        outside=Outside(resolver=resolver, tls=trusting(outside)),
        limits=MACHINE_LIMITS,
        starter=(),
    )
    keeping = asyncio.create_task(machines.keep())
    try:
        async with machines.opened(tenant) as machine:
            yield machine
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await resolver.close()


def _usable(machine: Machine) -> Sequence[Usable]:
    opening = machine.access.decide("api.test", 443)
    assert isinstance(opening, Opening)
    return machine.access.held(opening, tls=True).usable


def test_what_was_minted_is_kept_and_goes_with_its_secret(address: DatabaseAddress) -> None:
    mine, theirs = make_tenants(address, 2)
    outside, binding = (
        upstream_authority(),
        Binding(hosts=("api.test", "*.up.test"), paths=("/token",), methods=("POST",)),
    )

    async def scenario() -> None:
        async with _store(address) as store:
            await store.save("KEY", mine, binding)
            async with _machine(store, outside, mine) as machine:
                before = machine.access
                (parent,) = (each.secret for each in _usable(machine))
                await machine.mint(machine, parent, {"a-subclaw-placeholder": Minted(value=TOKEN, lives_s=60)})
                assert machine.access.allows_what(before, "api.test", 443), "no connection ends"
                assert [each.value.reveal() for each in _usable(machine)] == [SECRET, TOKEN]
                assert _usable(machine)[1].secret.binding == Binding(hosts=("api.test", "*.up.test"))
            async with _machine(store, outside, mine) as machine:
                assert [each.value.reveal() for each in _usable(machine)] == [SECRET, TOKEN], "after a new start"
                assert await placeholders(store.app, mine) == {"KEY": PLACEHOLDER}
                assert (await store.book.policy(theirs)).secrets == ()
                await remove_secret(store.operator, Scope.TENANT, mine, "KEY")
                assert await list_secrets(store.operator, mine, limit=10) == ()
                async with asyncio.timeout(10):
                    while not isinstance(machine.access.decide("api.test", 443), Refused):
                        await asyncio.sleep(0.01)
                with pytest.raises(Refusal, match="revoked"):
                    await machine.mint(machine, parent, {"b-subclaw-placeholder": Minted(value=TOKEN, lives_s=60)})

    run(scenario)


def test_what_was_minted_expires_and_is_bounded(address: DatabaseAddress) -> None:
    mine, theirs = make_tenants(address, 2)
    outside, binding = upstream_authority(), Binding(hosts=("api.test",))

    async def scenario() -> None:
        async with _store(address) as store:
            await store.save("KEY", None, binding)
            async with _machine(store, outside, theirs) as other, _machine(store, outside, mine) as machine:
                (parent,) = (each.secret for each in _usable(machine))
                await other.mint(other, parent, {"subclaw-placeholder-of-theirs": Minted(value=TOKEN, lives_s=60)})
                for n in range(MINTED_LIMIT + 3):
                    minted = {f"a-subclaw-placeholder-{n}": Minted(value=f"{TOKEN}-{n}", lives_s=60)}
                    await machine.mint(machine, parent, minted)
                values = [f"{TOKEN}-{n}" for n in range(3, MINTED_LIMIT + 3)]
                async with asyncio.timeout(10):
                    while [each.value.reveal() for each in _usable(machine)] != [SECRET, *values]:
                        await asyncio.sleep(0.01)
                assert [each.value.reveal() for each in _usable(other)] == [SECRET, TOKEN]
                owner_rows(address, "UPDATE bound_secret SET expires_at = now() WHERE tenant_id = %s", mine)
                assert [secret.name for secret in (await store.book.policy(mine)).secrets] == ["KEY"]
                await store.book.prune()
                assert len(await list_secrets(store.operator, limit=100)) == 2
                changed = Binding(hosts=("else.test",))
                await store.save("KEY", None, changed)
                assert [secret.binding for secret in await list_secrets(store.operator, limit=100)] == [changed]

    run(scenario)

"""A provider of accounts on loopback: RFC 6749 with PKCE (RFC 7636) and revocation (RFC 7009), and an API behind it.

It checks what a strict provider checks: each code and each refresh token works once, and a refresh token that comes
twice ends the account. It misbehaves on request.
"""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from subclaw.core.oauth import Provider, challenge_of
from subclaw.core.secret import Binding
from subclaw.egress.machines.certificates import Authority
from subclaw.testing.upstream import Connection, FakeUpstream, Seen, http_upstream, simple

HOST = "auth.test"
CLIENT_ID = "subclaw-at-auth-test"
CLIENT_SECRET = "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789"
_JSON = "content-type: application/json"


@dataclass(kw_only=True)
class _Family:
    """The tokens of one consent. `alive` ends when one of its refresh tokens comes twice, or is revoked."""

    alive: bool = True


@dataclass(frozen=True, kw_only=True)
class _Code:
    challenge: str
    redirect_uri: str
    scope: str


@dataclass(kw_only=True)
class FakeProvider:
    """What a test sees and says of the provider.

    `lives_s` is how long access tokens work (None: for ever, and that is not said); with `renews`, refresh tokens are
    given, and with `rotates` a new one each time. `misbehaves` says what the token endpoint does in place of its work:
    `hang`, `break`, `error`, `garbage`, `huge`, `redirect`, `busy`, or a code of RFC 6749, section 5.2. It answers
    nothing before the `gate` is open.
    """

    port: int = 0
    lives_s: float | None = 3600.0
    renews: bool = True
    rotates: bool = True
    basic: bool = False
    misbehaves: str = ""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    exchanges: int = 0
    renewals: int = 0
    revoked: list[str] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    upstream: FakeUpstream = field(default_factory=FakeUpstream)
    _codes: dict[str, _Code] = field(default_factory=dict)
    _access: dict[str, tuple[_Family, float]] = field(default_factory=dict)
    _refresh: dict[str, _Family] = field(default_factory=dict)
    _used: dict[str, _Family] = field(default_factory=dict)

    def provider(self, *, redirect_uri: str = "") -> Provider:
        """Return it as an operator would set it."""
        url = f"https://{HOST}:{self.port}"
        return Provider(
            name="test",
            authorize_url=f"{url}/authorize",
            token_url=f"{url}/token",
            revoke_url=f"{url}/revoke",
            client_id=CLIENT_ID,
            scopes=("read", "write"),
            basic=self.basic,
            redirect_uri=redirect_uri,
            binding=Binding(hosts=(HOST,), ports=(self.port,), template="Bearer {}"),
        )

    def consent(self, url: str) -> str:
        """Do what a person does at the provider who agrees: return where they are sent back to."""
        asked = dict(parse_qsl(urlsplit(url).query, strict_parsing=True))
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT_ID)
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = _Code(
            challenge=asked["code_challenge"], redirect_uri=asked["redirect_uri"], scope=asked["scope"]
        )
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def expire(self) -> None:
        """Let all access tokens expire now."""
        self._access = {token: (family, 0.0) for token, (family, _) in self._access.items()}

    def end_consents(self) -> None:
        """Do what a person does who takes their consent back."""
        for family in self._refresh.values():
            family.alive = False
        self.expire()

    async def answer(self, seen: Seen, connection: Connection) -> None:
        """Answer one request."""
        match seen.method, seen.target.partition("?")[0]:
            case "POST", "/token":
                await self._answer_token(seen, connection)
            case "POST", "/revoke":
                form = dict(parse_qsl(seen.body.decode()))
                self.revoked.append(form["token"])
                for family in filter(None, [self._refresh.get(form["token"])]):
                    family.alive = False
                await connection.write(simple(b""))
            case _, _:
                await connection.write(self._api(seen))

    def _api(self, seen: Seen) -> bytes:
        token = seen.headers.get("authorization", "").removeprefix("Bearer ")
        family, until_s = self._access.get(token, (_Family(alive=False), 0.0))
        if not family.alive or until_s <= time.monotonic():
            return simple(
                b'{"error": "expired"}', _JSON, 'www-authenticate: Bearer error="invalid_token"', status="401 No"
            )
        return simple(json.dumps({"said": seen.body.decode(), "echo": seen.headers["authorization"]}).encode(), _JSON)

    async def _answer_token(self, seen: Seen, connection: Connection) -> None:
        await self.gate.wait()
        match self.misbehaves:
            case "":
                await connection.write(self._tokens(seen))
            case "hang":
                await connection.ended.wait()
            case "break":
                await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
                connection.abort()
            case "error":
                await connection.write(simple(b"<h1>out of order</h1>", status="503 Busy"))
            case "garbage":
                await connection.write(simple(b'{"access_token": ["a"]', _JSON))
            case "huge":
                await connection.write(simple(b'{"access_token": "%s"}' % (b"a" * 100_000), _JSON))
            case "redirect":
                location = f"location: https://{HOST}:{self.port}/elsewhere"
                await connection.write(simple(b"", location, status="307 Elsewhere"))
            case "busy":
                await connection.write(simple(b'{"error": "slow_down"}', _JSON, status="429 Busy"))
            case code:
                await connection.write(_error(code))

    def _tokens(self, seen: Seen) -> bytes:
        form = dict(parse_qsl(seen.body.decode(), strict_parsing=True))
        if not self._knows(seen, form):
            return _error("invalid_client", status="401 Who")
        if form["grant_type"] == "authorization_code":
            code = self._codes.pop(form["code"], None)
            right = code is not None and code.challenge == challenge_of(form["code_verifier"])
            if code is None or not right or code.redirect_uri != form["redirect_uri"]:
                return _error("invalid_grant")
            self.exchanges += 1
            return self._give(_Family())
        family = self._refresh.pop(form["refresh_token"], None)
        if family is None or not family.alive:
            for used in filter(None, [self._used.get(form["refresh_token"])]):
                used.alive = False
            return _error("invalid_grant")
        self.renewals += 1
        if self.rotates:
            self._used[form["refresh_token"]] = family
        else:
            self._refresh[form["refresh_token"]] = family
        return self._give(family, first=False)

    def _knows(self, seen: Seen, form: dict[str, str]) -> bool:
        if not self.basic:
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        pair = base64.b64decode(seen.headers.get("authorization", "").removeprefix("Basic ")).decode()
        return tuple(map(unquote_plus, pair.split(":"))) == (CLIENT_ID, CLIENT_SECRET) and "client_secret" not in form

    def _give(self, family: _Family, *, first: bool = True) -> bytes:
        access = f"ya29.{secrets.token_urlsafe(40)}"
        until_s = time.monotonic() + (1e9 if self.lives_s is None else self.lives_s)
        self._access[access] = (family, until_s)
        document: dict[str, object] = {"access_token": access, "token_type": "Bearer", "scope": "read write"}
        self.given.append(access)
        if self.lives_s is not None:
            document["expires_in"] = self.lives_s
        if self.renews and (first or self.rotates):
            refresh = f"1//{secrets.token_urlsafe(40)}"
            self._refresh[refresh] = family
            self.given.append(refresh)
            document["refresh_token"] = refresh
        return simple(json.dumps(document).encode(), _JSON, "cache-control: no-store")


def _error(code: str, *, status: str = "400 Bad Request") -> bytes:
    return simple(json.dumps({"error": code, "error_description": "no"}).encode(), _JSON, status=status)


@asynccontextmanager
async def running_provider(authority: Authority, **settings: object) -> AsyncIterator[FakeProvider]:
    """Serve a provider on a free port of 127.0.0.1, with a certificate of `authority` for `HOST`."""
    provider = FakeProvider(**settings)  # type: ignore[arg-type]
    provider.gate.set()
    async with http_upstream(provider.answer, tls=authority.context(HOST)) as upstream:
        provider.port, provider.upstream = upstream.port, upstream
        yield provider

"""OAuth: accounts of persons at providers, which the gateway uses for their machines (RFC 6749, with PKCE, RFC 7636).

A provider is the operator's; an account is a tenant's. The person consents in their browser, and the gateway gets the
tokens and renews them; nobody else sees one. What a machine has is the placeholder of a secret that is bound to the
provider's hosts.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from subclaw.core.errors import Invalid
from subclaw.core.hostname import full_hostname
from subclaw.core.secret import Binding, Grant
from subclaw.core.secret_words import check_secret_name, checked_binding
from subclaw.core.tenant import TenantId

LINK_LIFE_S = 600
"""How long a link works, and how long the person may take at the provider."""
VERIFIER_BYTES = 48
CALLBACK_PATH = "/_/oauth/callback"
START_PATH = "/_/oauth/start/"
"""Both are below every tenant's hostname, whether it has a site or not."""
RESERVED_PATH = "/_/"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_URL_LIMIT_CHARACTERS = 500
_TEXT = re.compile(r"[\x21-\x7e]{1,500}")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,300}")
_SCOPES_LIMIT = 64
_PARAMETERS_LIMIT = 16
_OURS = frozenset(
    "response_type client_id redirect_uri scope state code_challenge code_challenge_method client_secret code".split()
)


def account_secret_name(provider: str) -> str:
    """Return the name of the secret that stands for an account at a provider."""
    return f"{provider.upper().replace('-', '_')}_ACCESS_TOKEN"


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A provider of accounts. Its URLs are https; `revoke_url` is empty if it takes no tokens back (RFC 7009).

    `parameters` are added to the authorization request. With `basic`, our key there goes into Basic authentication,
    else into the form. `redirect_uri` is where persons come back to, if that is one address for all tenants; else it
    is `CALLBACK_PATH` of the tenant's own hostname. `binding` is of the secret that stands for an account.
    """

    name: str
    authorize_url: str
    token_url: str
    client_id: str
    binding: Binding
    scopes: tuple[str, ...] = ()
    revoke_url: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    basic: bool = False
    redirect_uri: str = ""

    @property
    def secret_name(self) -> str:
        """The name of the secret that stands for an account."""
        return account_secret_name(self.name)


@dataclass(frozen=True, kw_only=True)
class AccountLost:
    """An account at a provider has to be connected anew; `name` is that of the secret which stands for it."""

    provider: str
    name: str


@dataclass(frozen=True, kw_only=True)
class SealedClient:
    """A provider with our key there, sealed; None if it has given us none."""

    provider: Provider
    sealed: bytes | None


class FlowState(StrEnum):
    """Whether a link can still be used."""

    OPEN = "open"
    USED = "used"
    EXPIRED = "expired"


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A link by which a person connects an account. `challenge` is what the provider is shown of the verifier."""

    id: int
    provider: Provider
    challenge: str
    redirect_uri: str
    state: FlowState


@dataclass(frozen=True, kw_only=True)
class ReturnedFlow:
    """A flow whose person has come back, for the gateway. `verifier` is sealed."""

    id: int
    tenant_id: TenantId
    client: SealedClient
    state_hash: bytes
    verifier: bytes
    redirect_uri: str


@dataclass(frozen=True, kw_only=True)
class SealedTokens:
    """Tokens as they are stored: of the secret `placeholder` stands for, and of what that is renewed with.

    `renewal` is None if what was there goes on; `lives_s` is None if it is not known.
    """

    placeholder: str
    secret: bytes
    renewal: bytes | None
    renewable: bool
    lives_s: float | None


class Connected(StrEnum):
    """What became of an account that was to be stored.

    It is; the secret has just got another placeholder, so that it has to be sealed again; the tenant has as many
    secrets as there may be; the link is over or the provider removed.
    """

    DONE = "connected"
    CHANGED = "changed"
    FULL = "full"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class HeldGrant:
    """An account that this gateway has in hand to renew its secret. `token` is sealed."""

    grant: Grant
    tenant_id: TenantId
    client: SealedClient
    token: bytes
    name: str
    placeholder: str
    binding: Binding


@dataclass(frozen=True, kw_only=True)
class Revocation:
    """A sealed token that its provider is to be told of that it is in use no more; `label` is what its seal is for."""

    id: int
    client: SealedClient
    token: bytes
    label: str


class AccountBook(Protocol):
    """Where the gateway finds and keeps accounts. All raise `Unavailable`, and `Corrupt` for what cannot be read."""

    async def returned_flow(self, flow_id: int) -> ReturnedFlow | None:
        """Return a flow whose person came back just now, and which is not finished."""
        ...

    async def placeholder(self, tenant_id: TenantId, name: str) -> str | None:
        """Return the placeholder that a tenant's secret has already."""
        ...

    async def connect(self, flow: ReturnedFlow, tokens: SealedTokens) -> Connected:
        """Store an account and wake the conversation that it was asked for in: all of it or nothing."""
        ...

    async def hold(self, grant: Grant, for_s: float) -> HeldGrant | None:
        """Take an account in hand for a while, unless it is in other hands, has been renewed already or is over."""
        ...

    async def renew(self, held: HeldGrant, tokens: SealedTokens) -> bool:
        """Store what was renewed; return False if somebody else was quicker."""
        ...

    async def let_go(self, held: HeldGrant, pause_s: float) -> None:
        """Let go of an account; nobody takes it in hand before the pause is over."""
        ...

    async def end(self, grant: Grant) -> None:
        """Note that an account has to be connected anew, and tell its conversation so, once."""
        ...

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return where the operator says a host is; nothing if its name is to be resolved."""
        ...

    async def revocations(self, limit: int) -> Sequence[Revocation]:
        """Take tokens to be revoked; each comes again later, a few times, unless it is forgotten."""
        ...

    async def forget_revocation(self, revocation: Revocation) -> None:
        """Forget a token that was revoked."""
        ...


def challenge_of(verifier: str) -> str:
    """Return what a provider is shown of a verifier: S256 (RFC 7636, section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode("ascii")


def authorization_url(flow: Flow, state: str) -> str:
    """Return where the person consents (RFC 6749, section 4.1.1)."""
    provider = flow.provider
    fields = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": flow.redirect_uri,
        **({"scope": " ".join(provider.scopes)} if provider.scopes else {}),
        "state": state,
        "code_challenge": flow.challenge,
        "code_challenge_method": "S256",
        **provider.parameters,
    }
    mark = "&" if urlsplit(provider.authorize_url).query else "?"
    return f"{provider.authorize_url}{mark}{urlencode(fields)}"


def client_label(provider: str) -> str:
    """Return what the seal of our key at a provider is for."""
    return f"oauth client of {provider}"


def verifier_label(state_hash: bytes) -> str:
    """Return what the seal of a flow's verifier is for."""
    return f"oauth flow {state_hash.hex()}"


def grant_label(tenant_id: TenantId, provider: str) -> str:
    """Return what the seal of the token is for that an account is renewed with. The database says it too."""
    return f"oauth grant of {provider} for tenant {tenant_id}"


def checked_provider(provider: Provider) -> Provider:
    """Return a provider in the form that is kept. Errors: `Invalid`, in words for the operator."""
    if not _NAME.fullmatch(provider.name):
        raise Invalid(f"{provider.name!r} cannot name a provider; use up to 32 small letters, digits and hyphens.")
    check_secret_name(provider.secret_name)
    for url in (provider.authorize_url, provider.token_url, *filter(None, [provider.revoke_url])):
        _check_url(url)
    if provider.redirect_uri:
        _check_redirect(provider.redirect_uri)
    if not _TEXT.fullmatch(provider.client_id):
        raise Invalid("A client id has 1 to 500 letters, digits and signs.")
    if len(provider.scopes) > _SCOPES_LIMIT or not all(map(_SCOPE.fullmatch, provider.scopes)):
        raise Invalid(f"There may be {_SCOPES_LIMIT} scopes, divided by spaces.")
    _check_parameters(provider.parameters)
    if not provider.binding.template:
        raise Invalid("An account's token is put into every request: say where by {}, as 'Authorization: Bearer {}'.")
    return replace(provider, binding=checked_binding(provider.binding))


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _wrong(url) from None
    plain = parts.username is None and parts.password is None and not parts.fragment and port != 0
    if parts.scheme != "https" or not plain or len(url) > _URL_LIMIT_CHARACTERS or not url.isascii():
        raise _wrong(url)
    if not url.isprintable() or any(character in url for character in " \"'<>\\"):
        raise _wrong(url)
    full_hostname(parts.hostname or "")


def _check_redirect(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.path != CALLBACK_PATH or parts.query or parts.fragment:
        raise Invalid(f"People come back to an address of subclaw's own, which ends in {CALLBACK_PATH}.")


def _check_parameters(parameters: Mapping[str, str]) -> None:
    if len(parameters) > _PARAMETERS_LIMIT or not all(
        _TEXT.fullmatch(name) and name not in _OURS and len(value) <= _URL_LIMIT_CHARACTERS
        for name, value in parameters.items()
    ):
        raise Invalid(f"There may be {_PARAMETERS_LIMIT} further parameters, none of those that are always sent.")


def _wrong(url: str) -> Invalid:
    return Invalid(f"{url[:100]!r} is no address of a provider: it must look like https://host/path.")

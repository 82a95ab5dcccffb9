"""Access: what an agent asks a person for, a host that its machine may reach or a secret, and how a secret is bound.

A secret is handed over by a link, which holds a token of 256 random bits: whoever has it can set that one secret, once,
and learns nothing of it. Its value goes into no conversation.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from subclaw.core.agent import Access
from subclaw.core.errors import Denied
from subclaw.core.policy import Mode, Refused, Rule, decide_host
from subclaw.core.secret import Binding, Place
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller

TOKEN_BYTES = 32
LINK_LIFE_S = 3_600
REASON_LIMIT_CHARACTERS = 300
WAITING_LIMIT = 5
"""How many requests of one tenant may wait for the operator."""
WAITING_LIFE_S = 7 * 86_400

USUAL_FIELDS = {Place.HEADER: "authorization", Place.QUERY: "key", Place.BASIC: "", Place.PATH: ""}
"""What a header, a parameter or a user is called where nobody says."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class RequestState(StrEnum):
    """Whether a link can still be used."""

    OPEN = "open"
    USED = "used"
    EXPIRED = "expired"


@dataclass(frozen=True, kw_only=True)
class SecretRequest:
    """What a link is for: the secret `name` of a tenant, why, and where it goes.

    Without a `binding` the person says where, and gives the name; `kind` says then what was taken out of their message.
    """

    tenant_id: TenantId
    tenant_name: str
    name: str
    binding: Binding | None
    kind: str
    reason: str
    state: RequestState


@dataclass(frozen=True, kw_only=True)
class SecretSet:
    """A person handed over a secret, of which only the gateway knows more than its name and where it goes."""

    name: str
    binding: Binding


@dataclass(frozen=True, kw_only=True)
class AccessDecided:
    """The operator decided on a host that an agent had asked for; `because` is why not, in their words, if they said.

    The fields of what was asked for are those of a `core.policy.Rule`.
    """

    host: str
    ports: tuple[int, ...]
    methods: tuple[str, ...]
    paths: tuple[str, ...]
    approved: bool
    because: str


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """What a key of a known kind is usually called, and where it goes."""

    name: str
    binding: Binding


class AccessRequests(Protocol):
    """What the tool that asks for access needs of the store. Every call raises `Unavailable`."""

    async def rules(self, tenant_id: TenantId) -> Sequence[Rule]:
        """Return the rules that apply to a tenant, without those that follow from secrets."""
        ...

    async def allow(self, tenant_id: TenantId, rule: Rule) -> None:
        """Store a rule of the tenant's own, once. Errors: `Exhausted`."""
        ...

    async def ask_operator(self, caller: Caller, rule: Rule) -> None:
        """Put a rule to the operator, once a call, with its comment for the reason.

        Errors: `Exhausted` if as many of the tenant's wait as may.
        """
        ...

    async def ask_secret(self, caller: Caller, token: str, *, name: str, binding: Binding, reason: str) -> None:
        """Make a link, in place of the one of the same call."""
        ...


def is_token(text: str) -> bool:
    """Tell whether a text has the form of a link's token: 43 URL-safe characters."""
    return _TOKEN.fullmatch(text) is not None


def token_hash(token: str) -> bytes:
    """Return what the store knows of a token. It is random, so a plain hash cannot be searched back."""
    return hashlib.sha256(token.encode("ascii")).digest()


def secret_link(public_url: str, token: str) -> str:
    """Return the link. `public_url` is where people reach the control plane, without a path."""
    return f"{public_url.rstrip('/')}/secret/{token}"


def require_possible(rules: Sequence[Rule], hosts: Sequence[str], ports: Sequence[int]) -> None:
    """Raise `Denied`, in words, if a rule denies one of the hosts: then nobody's yes would change that."""
    denying = [rule for rule in rules if rule.mode is Mode.DENY and not rule.restricted]
    for host in hosts:
        for rule in denying:
            if any(rule.covers(_example(host), port) for port in ports):
                raise Denied(f"{host} cannot be reached: it is denied by a rule of the {rule.scope}.")


def not_allowed(rules: Sequence[Rule], binding: Binding) -> tuple[str, ...]:
    """Return the hosts of a binding that no rule allows yet."""
    return tuple(
        host
        for host in binding.hosts
        if any(isinstance(decide_host(rules, _example(host), port), Refused) for port in binding.ports)
    )


def require_open_hosts(rules: Sequence[Rule], binding: Binding, access: Access) -> None:
    """Raise `Denied`, in words, if a secret would open hosts that whoever sets it may not open."""
    closed = not_allowed(rules, binding)
    if closed and access is not Access.USER:
        raise Denied(f"Only the operator opens hosts here, and {closed[0]} is not open.")


def is_allowed(rules: Sequence[Rule], wanted: Rule) -> bool:
    """Tell whether all that a rule would allow is allowed without it."""
    about = [rule for rule in rules if any(rule.covers(_example(wanted.host), port) for port in wanted.ports)]
    denied = any(rule.mode is Mode.DENY for rule in about)
    return not denied and any(not rule.restricted or _same_requests(rule, wanted) for rule in about)


def _same_requests(rule: Rule, wanted: Rule) -> bool:
    return (rule.methods, rule.paths) == (wanted.methods, wanted.paths)


def _example(host: str) -> str:
    """Return a host that a pattern is about: one below it that no rule names."""
    return f"a-host-of-that-domain{host[1:]}" if host.startswith("*.") else host


def suggestion_for(kind: str) -> Suggestion | None:
    """Return what to suggest for a key that was taken out of a message (`core.key_shapes`), if it is known."""
    return _SUGGESTIONS.get(kind)


def _suggest(name: str, *hosts: str, place: Place = Place.HEADER, field: str = "authorization") -> Suggestion:
    return Suggestion(name=name, binding=Binding(hosts=hosts, place=place, name=field))


_SUGGESTIONS: Mapping[str, Suggestion] = {
    "a GitHub token": _suggest("GITHUB_TOKEN", "api.github.com", "github.com"),
    "a GitLab token": _suggest("GITLAB_TOKEN", "gitlab.com", field="private-token"),
    "an Anthropic API key": _suggest("ANTHROPIC_API_KEY", "api.anthropic.com", field="x-api-key"),
    "an OpenAI API key": _suggest("OPENAI_API_KEY", "api.openai.com"),
    "an API key": _suggest("API_KEY"),
    "a Stripe key": _suggest("STRIPE_KEY", "api.stripe.com"),
    "a Slack token": _suggest("SLACK_TOKEN", "slack.com"),
    "an AWS key": _suggest("AWS_KEY"),
    "a Google key": _suggest("GOOGLE_API_KEY", "generativelanguage.googleapis.com", field="x-goog-api-key"),
    "an npm token": _suggest("NPM_TOKEN", "registry.npmjs.org"),
    "a PyPI token": _suggest("PYPI_TOKEN", "upload.pypi.org", place=Place.BASIC, field="__token__"),
    "a Hugging Face token": _suggest("HF_TOKEN", "huggingface.co"),
    "a SendGrid key": _suggest("SENDGRID_API_KEY", "api.sendgrid.com"),
    "a Twilio key": _suggest("TWILIO_KEY", "api.twilio.com", place=Place.BASIC, field=""),
    "a Twilio auth token": _suggest("TWILIO_AUTH_TOKEN", "api.twilio.com", place=Place.BASIC, field=""),
    "a Telegram bot token": _suggest("TELEGRAM_BOT_TOKEN", "api.telegram.org", place=Place.PATH, field=""),
    "a Discord bot token": _suggest("DISCORD_BOT_TOKEN", "discord.com"),
    "a DigitalOcean token": _suggest("DIGITALOCEAN_TOKEN", "api.digitalocean.com"),
}

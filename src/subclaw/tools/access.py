"""The tool that asks a person for access: to let the machine reach a host, or to hand over a secret."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from subclaw.core.access import (
    LINK_LIFE_S,
    REASON_LIMIT_CHARACTERS,
    TOKEN_BYTES,
    USUAL_FIELDS,
    WAITING_LIFE_S,
    AccessRequests,
    is_allowed,
    require_open_hosts,
    require_possible,
    secret_link,
)
from subclaw.core.access_words import bound_words
from subclaw.core.agent import Access
from subclaw.core.errors import Denied, Invalid, NotFound
from subclaw.core.oauth import LINK_LIFE_S as ACCOUNT_LINK_LIFE_S
from subclaw.core.policy import HTTPS_PORT, Rule, Scope
from subclaw.core.policy_words import METHOD_LIMIT, PATH_LIMIT, checked_rule
from subclaw.core.secret import Binding, Place
from subclaw.core.secret_words import HOST_LIMIT, check_secret_name, checked_binding
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.tools.toolbox import Tool, never

NOBODY = "No host can be opened from here. Go on without it."


StartAccount = Callable[[Caller, str], Awaitable[str]]
"""Returns a link by which the caller's person connects an account at a provider. Errors: `NotFound`, `Unavailable`."""


async def no_accounts(caller: Caller, provider: str) -> str:
    """Say that there are no providers."""
    raise NotFound("No accounts can be connected here.")


def access_tools(
    requests: AccessRequests, *, access: Access, public_url: str, start_account: StartAccount = no_accounts
) -> tuple[Tool, ...]:
    """Return the tool `ask_for_access`. `public_url` is where people reach the control plane: its links lead there."""

    async def settle(caller: Caller, arguments: Mapping[str, Any]) -> str | None:
        if not asks_for_host(arguments):
            return None
        rule = _rule(arguments)
        if rule.host != arguments["host"]:  # what a person is shown is what they allow, and no look-alike of it
            raise Invalid(f"Write the host as {rule.host}.")
        known = await requests.rules(caller.tenant_id)
        if is_allowed(known, rule):
            return f"{rule.host} is allowed already."
        if access is Access.NEVER:
            raise Denied(NOBODY)
        require_possible(known, [rule.host], rule.ports)
        return None

    async def ask_for_access(caller: Caller, arguments: Mapping[str, Any]) -> str:
        if asks_for_host(arguments):
            if settled := await settle(caller, arguments):  # the rules may be others than when the person was asked
                return settled
            return await _open_host(requests, caller, _rule(arguments), access)
        if "oauth" in arguments:
            return await _ask_account(start_account, caller, arguments)
        return await _ask_secret(requests, caller, arguments, access, public_url)

    approved = asks_for_host if access is Access.USER else never
    return (Tool(definition=_ASK_FOR_ACCESS, perform=ask_for_access, must_be_approved=approved, settle=settle),)


def asks_for_host(arguments: Mapping[str, Any]) -> bool:
    """Tell whether a call is about a host, which somebody has to agree to; by a secret's link they do so anyway."""
    return "host" in arguments


def _rule(arguments: Mapping[str, Any]) -> Rule:
    if "secret" in arguments or "oauth" in arguments:
        raise Invalid("Ask for a host, a secret or an account, one at a time.")
    return checked_rule(
        Rule(
            host=arguments["host"].strip(),
            ports=(int(arguments.get("port", HTTPS_PORT)),),
            methods=tuple(arguments.get("methods", ())),
            paths=tuple(arguments.get("paths", ())),
            scope=Scope.TENANT,
            comment=_reason(arguments),
        )
    )


def _binding(arguments: Mapping[str, Any]) -> Binding:
    place = Place(arguments.get("goes_in", Place.HEADER))
    return checked_binding(
        Binding(
            hosts=tuple(arguments["hosts"]),
            methods=tuple(arguments.get("methods", ())),
            paths=tuple(arguments.get("paths", ())),
            place=place,
            name=arguments.get("field", USUAL_FIELDS[place]),
        )
    )


def _reason(arguments: Mapping[str, Any]) -> str:
    return " ".join(arguments["reason"].split())


async def _open_host(requests: AccessRequests, caller: Caller, rule: Rule, access: Access) -> str:
    if access is Access.OPERATOR:
        await requests.ask_operator(caller, rule)
        return (
            f"The operator is asked to open {rule.host}; that waits for {WAITING_LIFE_S // 86_400} days at most. You"
            " are told when it is decided; do not ask again. Tell the person so in a sentence."
        )
    await requests.allow(caller.tenant_id, rule)
    return f"{rule.host} is allowed now, and within a second your machine can reach it."


async def _ask_secret(
    requests: AccessRequests, caller: Caller, arguments: Mapping[str, Any], access: Access, public_url: str
) -> str:
    if "secret" not in arguments or "hosts" not in arguments:
        raise Invalid("Say which host, which provider, or which secret and to which hosts it goes.")
    check_secret_name(name := arguments["secret"])
    binding = _binding(arguments)
    rules = await requests.rules(caller.tenant_id)
    require_possible(rules, binding.hosts, binding.ports)
    require_open_hosts(rules, binding, access)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    await requests.ask_secret(caller, token, name=name, binding=binding, reason=_reason(arguments))
    return (
        f"Give the person this link, as it is: {secret_link(public_url, token)} There they hand over {name}, which will"
        f" work only {bound_words(binding)}. The link works once, for {LINK_LIFE_S // 60} minutes. End your turn; you"
        " are told when they have. Never ask for the value in the chat."
    )


async def _ask_account(start: StartAccount, caller: Caller, arguments: Mapping[str, Any]) -> str:
    if "secret" in arguments:
        raise Invalid("Ask for a secret or an account, one at a time.")
    link = await start(caller, provider := arguments["oauth"])
    return (
        f"Give the person this link, as it is: {link} There they connect their account at {provider}. The link works"
        f" once, for {ACCOUNT_LINK_LIFE_S // 60} minutes. End your turn; you are told when they have."
    )


_TEXTS = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 500}, "minItems": 1}

_ASK_FOR_ACCESS = ToolDefinition(
    name="ask_for_access",
    description=(
        "Ask the person for what your machine lacks: host, to reach it; secret (as GITHUB_TOKEN) and its hosts, for a"
        " link to hand it over; oauth (as google), for a link to connect an account."
    ),
    parameters={
        "type": "object",
        "properties": {
            "reason": {"type": "string", "minLength": 1, "maxLength": REASON_LIMIT_CHARACTERS},
            "host": {"type": "string", "minLength": 1, "maxLength": 260},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "methods": {**_TEXTS, "maxItems": METHOD_LIMIT},
            "paths": {**_TEXTS, "maxItems": PATH_LIMIT},
            "secret": {"type": "string", "minLength": 1, "maxLength": 64},
            "hosts": {**_TEXTS, "maxItems": HOST_LIMIT},
            "oauth": {"type": "string", "minLength": 1, "maxLength": 32},
            "goes_in": {"enum": [place.value for place in Place]},
            "field": {"type": "string", "maxLength": 200, "description": "its name, or basic's user"},
        },
        "required": ["reason"],
        "additionalProperties": False,
    },
    idempotent=True,
)

"""What rules and secrets are made of, from the words of people: checked, and brought into one form.

Everything here raises `Invalid`, in words, for what cannot be.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

from subclaw.core.business import AGENT_ID
from subclaw.core.errors import Invalid
from subclaw.core.hostname import full_hostname
from subclaw.core.policy import Mode, Rule, Scope

PORT_LIMIT = 32
METHOD_LIMIT = 32
PATH_LIMIT = 64
ADDRESS_LIMIT = 16
PATH_LIMIT_CHARACTERS = 500
COMMENT_LIMIT_CHARACTERS = 500

_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_SEGMENT = re.compile(r"(?<=/)\{[a-z_]{1,40}\}(?=/|\Z)")


def checked_rule(rule: Rule) -> Rule:
    """Return a rule in the form that the gateway goes by."""
    if rule.mode is Mode.SPLICE and rule.restricted:
        raise Invalid("What is spliced is not looked into, so it has neither methods nor paths.")
    if rule.addresses and (rule.scope is not Scope.OPERATOR or rule.mode is Mode.DENY):
        raise Invalid("Only a rule of the operator's that allows a host can say where it is.")
    if rule.tools and rule.scope is not Scope.OPERATOR:
        raise Invalid("Only a rule of the operator's can be for the tools of an agent.")
    return replace(
        rule,
        tools=tools(rule.tools),
        host=host_pattern(rule.host),
        ports=ports(rule.ports),
        methods=methods(rule.methods),
        paths=paths(rule.paths),
        addresses=addresses(rule.addresses),
        comment=comment(rule.comment),
    )


def tools(agent: str) -> str:
    """Return the id of a business's agent, or nothing: then it is not about tools alone."""
    if agent and not AGENT_ID.fullmatch(agent):
        raise Invalid(f"{agent!r} is no agent's id, such as support.")
    return agent


def host_pattern(text: str) -> str:
    """Return a full hostname, or `*.` and one, in the form that rules have them in."""
    try:
        return "*." + full_hostname(text[2:]) if text.startswith("*.") else full_hostname(text)
    except Invalid as error:
        raise Invalid(f"{text!r} is no host for a rule: {error.public}") from None


def ports(numbers: Iterable[int]) -> tuple[int, ...]:
    """Return ports, each once."""
    found = tuple(dict.fromkeys(numbers))
    if not found or len(found) > PORT_LIMIT or not all(1 <= number <= 65_535 for number in found):
        raise Invalid(f"There are from 1 to {PORT_LIMIT} ports, which are numbers from 1 to 65535.")
    return found


def methods(words: Iterable[str]) -> tuple[str, ...]:
    """Return the names of HTTP methods in capitals, each once; none is all of them."""
    found = tuple(dict.fromkeys(word.upper() for word in words))
    wrong = next((word for word in found if not _METHOD.fullmatch(word)), None)
    if wrong is not None:
        raise Invalid(f"{wrong!r} is no HTTP method; one is GET.")
    if len(found) > METHOD_LIMIT:
        raise Invalid(f"There are at most {METHOD_LIMIT} methods.")
    return found


def paths(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return patterns of paths, each once; none is all paths.

    They are held against decoded paths without a query, so neither escapes nor a query can be in them.
    """
    found = tuple(dict.fromkeys(patterns))
    if len(found) > PATH_LIMIT:
        raise Invalid(f"There are at most {PATH_LIMIT} paths.")
    for pattern in found:
        if len(pattern) > PATH_LIMIT_CHARACTERS or not pattern.isprintable():
            raise Invalid(f"A path has at most {PATH_LIMIT_CHARACTERS} characters that can be printed.")
        if not pattern.startswith("/"):
            raise Invalid(f"The path {pattern!r} must begin with a slash.")
        if any(mark in pattern for mark in "%?#"):
            raise Invalid(f"The path {pattern!r} is to be without escapes and without a query.")
        if any(mark in _SEGMENT.sub("", pattern) for mark in "{}"):
            raise Invalid(f"In the path {pattern!r} braces must stand for a whole segment, as in /{{owner}}/issues.")
    return found


def addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """Return IP addresses, each once, in their usual form."""
    found: dict[str, None] = {}
    for text in texts:
        try:
            address = ip_address(text)
        except ValueError:
            raise Invalid(f"{text!r} is no IP address, such as 10.0.0.5.") from None
        if address.is_unspecified or address.is_multicast or address.is_link_local:
            raise Invalid(f"{text} is no address at which a host can be reached safely.")
        found[str(address)] = None
    if len(found) > ADDRESS_LIMIT:
        raise Invalid(f"There are at most {ADDRESS_LIMIT} addresses.")
    return tuple(found)


def comment(text: str) -> str:
    """Return a comment, without what cannot be printed."""
    if len(text) > COMMENT_LIMIT_CHARACTERS:
        raise Invalid(f"A comment has at most {COMMENT_LIMIT_CHARACTERS} characters.")
    return "".join(character if character.isprintable() else " " for character in text)

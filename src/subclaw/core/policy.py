"""Egress policy: which hosts a tenant's machine may reach, and what may be asked of them.

Whatever no rule allows is denied, and a rule that denies goes before all that allow, whoever made it. A host is decided
on first, by name, before the name is resolved; then each request to it. Decisions are values with reasons.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from re import Pattern, compile, escape

HTTPS_PORT = 443

_SEGMENT = compile(r"(?<=/)\{[^{}/*]*\}(?=/|\Z)")


class Mode(StrEnum):
    """What the gateway does with connections to a host.

    `INJECT`: TLS is opened, requests are decided on one by one, and secrets that are bound to the host are put in.
    `INSPECT`: the same without secrets. `SPLICE`: the bytes pass as they are, and only the host's name is known.
    `DENY`: nothing passes.
    """

    INJECT = "inject"
    INSPECT = "inspect"
    SPLICE = "splice"
    DENY = "deny"


class Scope(StrEnum):
    """Whose a rule or a secret is: everybody's by the operator, an agent's, or one tenant's."""

    OPERATOR = "operator"
    AGENT = "agent"
    TENANT = "tenant"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. `host` is a name in small letters, or `*.` and a name, for all names below that one.

    `methods` are in capitals, and `paths` are patterns in which `*` stands for anything and `/{name}` for one segment
    that is not empty; empty means all. `addresses`, which only an operator may give, are where the host is, in place of
    what its name resolves to: so a host in a private network can be reached. With `tools`, the id of a business's
    agent, a rule is for what that agent's tools call on the host and for nobody's machine. `comment` says to people why
    the rule is there.
    """

    host: str
    ports: tuple[int, ...] = (HTTPS_PORT,)
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    mode: Mode = Mode.INSPECT
    addresses: tuple[str, ...] = ()
    scope: Scope = Scope.OPERATOR
    tools: str = ""
    comment: str = ""

    @property
    def restricted(self) -> bool:
        """Whether the rule is for some requests only."""
        return bool(self.methods or self.paths)

    def covers(self, host: str, port: int) -> bool:
        """Return whether the rule is about a host."""
        return port in self.ports and host_matches(self.host, host)

    def is_about(self, method: str, path: str) -> bool:
        """Return whether the rule is about a request to its host. `path` is canonical and without the query."""
        return (not self.methods or method in self.methods) and (
            not self.paths or any(_pattern(pattern).fullmatch(path) for pattern in self.paths)
        )


@dataclass(frozen=True, kw_only=True)
class Refused:
    """It may not go out. `reason` is for the person whose machine it is, and for the log of decisions."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A host that may be reached. `rules` are all that are about it; `mode` is never `DENY`."""

    host: str
    port: int
    mode: Mode
    rules: tuple[Rule, ...]

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the operator says the host is; empty if its name is to be resolved."""
        return next((rule.addresses for rule in self.rules if rule.addresses and rule.scope is Scope.OPERATOR), ())

    def goes_by_path(self, method: str) -> bool:
        """Return whether it matters to some rule what path is asked for with a method."""
        return any(rule.paths and (not rule.methods or method in rule.methods) for rule in self.rules)


def decide_host(rules: Iterable[Rule], host: str, port: int) -> Opening | Refused:
    """Decide on a host. `host` is a canonical name (`core.hostname`), never an address."""
    about = tuple(rule for rule in rules if rule.covers(host, port))
    allowing = [rule for rule in about if rule.mode is not Mode.DENY]
    denying = [rule for rule in about if rule.mode is Mode.DENY]
    if any(not rule.restricted for rule in denying):
        return Refused(reason=f"{_shown(host, port)} is denied by a rule of the {_whose(denying)}")
    if not allowing:
        return Refused(reason=f"{_shown(host, port)} is not on the list of hosts that may be reached")
    modes = {rule.mode for rule in allowing}
    if Mode.INJECT in modes:
        mode = Mode.INJECT
    elif modes == {Mode.SPLICE} and not any(rule.restricted for rule in about):
        mode = Mode.SPLICE
    else:
        mode = Mode.INSPECT
    return Opening(host=host, port=port, mode=mode, rules=about)


def decide_request(opening: Opening, method: str, path: str) -> Rule | Refused:
    """Decide on a request to an open host; return the rule that allows it. `path` is canonical, without the query."""
    about = [rule for rule in opening.rules if rule.is_about(method, path)]
    denying = [rule for rule in about if rule.mode is Mode.DENY]
    if denying:
        return Refused(reason=f"{method} of that path of {opening.host} is denied by a rule of the {_whose(denying)}")
    if not about:
        return Refused(reason=f"{method} of that path of {opening.host} is not among what may be asked of it")
    return next((rule for rule in about if rule.mode is Mode.INJECT), about[0])


def host_matches(pattern: str, host: str) -> bool:
    """Return whether a host is what a pattern says. `*.example.com` is all below example.com, but not that itself."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return host == pattern


@lru_cache(maxsize=4_096)
def _pattern(pattern: str) -> Pattern[str]:
    """Return a pattern of paths as a regular expression that takes time in proportion to the path, whatever that is.

    What follows a star is found where it is first, and not looked for again: if the rest does not fit after that, it
    fits nowhere later. Only what follows the last star has to be at the end.
    """
    first, *others = (_pieces(part) for part in pattern.split("*"))
    middle = "".join(f"(?>.*?{part})" for part in others[:-1])
    return compile("(?s:" + first + middle + "".join(f".*{part}" for part in others[-1:]) + ")")


def _pieces(part: str) -> str:
    return "[^/]+?".join(escape(piece) for piece in _SEGMENT.split(part))


def _shown(host: str, port: int) -> str:
    return host if port == HTTPS_PORT else f"{host}:{port}"


def _whose(rules: Sequence[Rule]) -> str:
    return rules[0].scope.value

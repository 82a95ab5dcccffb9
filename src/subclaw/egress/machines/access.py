"""What one machine may reach now, and with which secrets: a picture that is replaced whole when something changes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from subclaw.core.policy import Mode, Opening, Refused, Rule, decide_host
from subclaw.core.secret import BoundSecret, Grant
from subclaw.egress.secrets.opened import Opened
from subclaw.egress.secrets.placeholders import Usable, bound_to

MINTED_LIMIT = 50
"""Secrets of one machine that came in answers."""
_REMEMBERED = 1_024
"""Hosts whose decision is kept."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """The secrets that may go to a host, and the forms in which any of them could come back."""

    usable: tuple[Usable, ...] = ()
    forms: tuple[bytes, ...] = ()


NOTHING = Held()


class Access:
    """The rules and secrets that apply to one machine."""

    def __init__(
        self, rules: Sequence[Rule], secrets: Sequence[BoundSecret], open_secret: Callable[[BoundSecret], Opened]
    ) -> None:
        """`rules` are without those that follow from what secrets are bound to. `open_secret` may raise `Corrupt`."""
        self._given_rules = tuple(rules)
        bound = (rule for secret in secrets if not secret.minted for rule in secret.binding.rules(secret.scope))
        self._rules = (*rules, *bound)
        self._secrets = tuple(secrets)
        self._open_secret = open_secret
        self._decided: dict[tuple[str, int], Opening | Refused] = {}
        self._held: dict[tuple[str, int, bool], Held] = {}

    def decide(self, host: str, port: int) -> Opening | Refused:
        """Decide on a host, by its canonical name."""
        found = self._decided.get((host, port))
        if found is None:
            found = decide_host(self._rules, host, port)
            if len(self._decided) < _REMEMBERED:
                self._decided[host, port] = found
        return found

    def held(self, opening: Opening, *, tls: bool) -> Held:
        """Return the secrets that may go to a host. Errors: `Corrupt`."""
        if opening.mode is not Mode.INJECT:
            return NOTHING
        key = (opening.host, opening.port, tls)
        found = self._held.get(key)
        if found is None:
            usable = tuple(
                Usable(secret=secret, value=self._open_secret(secret), rule=secret.binding.rules(secret.scope)[0])
                for secret in self._secrets
                if bound_to(secret, opening.host, opening.port, tls=tls)
            )
            forms = {form for each in usable for form in each.value.forms}
            found = Held(usable=usable, forms=tuple(sorted(forms, key=len, reverse=True)))
            if len(self._held) < _REMEMBERED:
                self._held[key] = found
        return found

    def with_minted(self, minted: Sequence[BoundSecret]) -> "Access":
        """Return the same with secrets that came in an answer, as far as they are not known here; nothing opens.

        Of these the newest are kept.
        """
        known = {secret.id for secret in self._secrets}
        new = [secret for secret in minted if secret.id not in known]
        if not new:
            return self
        others = [secret for secret in self._secrets if not secret.minted]
        kept = [*(secret for secret in self._secrets if secret.minted), *new][-MINTED_LIMIT:]
        return Access(self._given_rules, (*others, *kept), self._open_secret)

    def grant_of(self, secret_id: int) -> Grant | None:
        """Return the consent by which a secret is here now, if it is here and an account's."""
        return next((secret.grant for secret in self._secrets if secret.id == secret_id), None)

    def allows_what(self, other: "Access", host: str, port: int) -> bool:
        """Return whether a host is open here as it is there: then a connection to it that stands may stay."""
        here, there = self.decide(host, port), other.decide(host, port)
        return here == there and self._seals(host, port) == other._seals(host, port)

    def _seals(self, host: str, port: int) -> frozenset[tuple[int, bytes]]:
        return frozenset(
            _state(secret) for secret in self._secrets if not secret.minted and bound_to(secret, host, port, tls=True)
        )


def _state(secret: BoundSecret) -> tuple[int, bytes]:
    """Return what ends connections when it changes: the value; of an account, which one it is, but not its renewals."""
    return (secret.id, secret.sealed) if secret.grant is None else (secret.grant.id, b"account")

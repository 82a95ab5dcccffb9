"""What people and models are told of secrets: what was taken out of a message, where one goes, that one is there."""

from collections.abc import Mapping, Sequence

from subclaw.core.access import AccessDecided
from subclaw.core.policy import Rule
from subclaw.core.secret import Binding, Place


def removal_notice(kinds: Sequence[str], links: Mapping[str, str]) -> str:
    """Return what the person is told whose message had keys of these kinds in it. `links` are by kind."""
    what = listed(kinds, "and")
    them, they = ("it", "it") if len(kinds) == 1 else ("them", "they")
    where = links[kinds[0]] if len(kinds) == 1 else "; ".join(f"{kind}: {link}" for kind, link in links.items())
    return (
        f"I took {what} out of your message and kept nothing of {them}: a chat is no place for {them}. If I am to use"
        f" {them}, hand {them} over here within an hour, and {they} will be sealed: {where}"
    )


def removed_words(kinds: Sequence[str]) -> str:
    """Return what a model is told of a message from which keys were removed."""
    what = listed(kinds, "and")
    return (
        f"[Nobody wrote this: {what} was removed from the message before it was stored, since keys and passwords do not"
        " belong in a conversation. The person was told, with a link by which it can be handed over; when that is done,"
        " you are told. Do not ask for it again.]"
    )


def set_words(name: str, binding: Binding) -> str:
    """Return what a model is told once a person has handed a secret over."""
    return (
        f"[Nobody wrote. The secret {name} is there. Commands on your machine find its placeholder in the environment"
        f" variable {name}; it works only {bound_words(binding)}. Go on with what you wanted it for.]"
    )


def decided_words(decided: AccessDecided) -> str:
    """Return what a model is told once the operator has decided on a host that it asked for."""
    ports = "" if decided.ports == Rule.ports else f" (port {listed(list(map(str, decided.ports)), 'or')})"
    methods = f"{listed(decided.methods, 'and')} requests to " if decided.methods else ""
    paths = f", there only {listed(decided.paths, 'and')}" if decided.paths else ""
    what = f"{methods}{decided.host}{ports}{paths}"
    if decided.approved:
        return (
            f"[Nobody wrote. The operator has allowed what you asked for: {what}. Your machine can reach it now. Go on"
            " with what you wanted it for.]"
        )
    why = f" They say: {decided.because}" if decided.because else ""
    return (
        f"[Nobody wrote. The operator has refused what you asked for: {what}.{why} Go on without it, and tell the"
        " person so in a sentence.]"
    )


def lost_words(provider: str, name: str) -> str:
    """Return what a model is told of an account that has to be connected anew."""
    return (
        f"[Nobody wrote. The account at {provider} is connected no more: {provider} does not renew what {name} stands"
        " for; perhaps the person took their consent back. If it is needed, ask_for_access with"
        f' "oauth": "{provider}" gives a link to connect it again; tell the person so in a sentence.]'
    )


def bound_words(binding: Binding) -> str:
    """Say where a secret goes: "in the header authorization of requests to api.github.com"."""
    of = "of requests" if not binding.methods else f"of {listed(binding.methods, 'and')} requests"
    ports = "" if binding.ports == Binding.ports else f" (port {listed(list(map(str, binding.ports)), 'or')})"
    paths = f", there only to {listed(binding.paths, 'and')}" if binding.paths else ""
    return f"{_place_words(binding)} {of} to {listed(binding.hosts, 'and')}{ports}{paths}"


def listed(items: Sequence[str], last: str) -> str:
    """Return items as a sentence lists them: "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def _place_words(binding: Binding) -> str:
    match binding.place:
        case Place.HEADER:
            return f"in the header {binding.name}"
        case Place.BASIC:
            return f"as the password of {binding.name}" if binding.name else "as the password"
        case Place.QUERY:
            return f"as the parameter {binding.name}"
        case Place.PATH:
            return "in the path"

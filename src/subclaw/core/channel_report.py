"""What there is to say of a channel to the operator: whether it is set up, what is to be pasted where, if it works."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ChannelReport:
    """A channel, set up or not. `works` is None if it was not asked; `webhooks` are addresses and places."""

    name: str
    title: str
    is_set_up: bool
    place: str
    webhooks: tuple[tuple[str, str], ...]
    works: bool | None
    words: str

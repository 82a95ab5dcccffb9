"""Live words: what a worker tells of a reply while a model says it, to the processes where somebody listens.

They are passed on by notifications of the database, whose texts are bounded.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass

from subclaw.core.errors import Invalid

TEXT_LIMIT_CHARACTERS = 1_000
"""Longest text of one `Words`: as JSON it has at most six bytes a character."""

PAYLOAD_LIMIT_BYTES = 7_900
"""Longest payload; PostgreSQL takes less than 8,000 bytes."""

PLACE_PREFIX = "subclaw_live_"
_PLACE = re.compile(PLACE_PREFIX + "[0-9a-f]{16}")
_SESSION = re.compile("ses_[A-Za-z0-9_-]{32}")


@dataclass(frozen=True, kw_only=True)
class Words:
    """More of what a model says: `text` comes after the first `offset` characters of an attempt at a reply.

    `turn` is the event with which the turn began. An attempt makes those before it void; `after_calls` says that the
    model went on to use its tools after the one before. One without a text takes back, and no more.
    """

    session: str
    turn: int
    attempt: int
    offset: int
    text: str
    after_calls: bool = False


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Whether somebody at a `place`, a channel of notifications, listens to these `sessions`."""

    place: str
    on: bool
    sessions: tuple[str, ...]


def pieces(words: Words) -> Iterator[Words]:
    """Yield words as several that are short enough."""
    for at in range(0, max(len(words.text), 1), TEXT_LIMIT_CHARACTERS):
        yield Words(
            session=words.session,
            turn=words.turn,
            attempt=words.attempt,
            offset=words.offset + at,
            text=words.text[at : at + TEXT_LIMIT_CHARACTERS],
            after_calls=words.after_calls,
        )


def pack_words(all_words: Iterable[Words]) -> Iterator[str]:
    """Yield payloads that hold words in their order, as few as there is room for."""
    yield from _packed((json.dumps(astuple(words), ensure_ascii=False) for words in all_words), ",")


def read_words(payload: str) -> tuple[Words, ...]:
    """Return the words of a payload. Errors: `Invalid`."""
    read: list[Words] = []
    try:
        for item in json.loads(f"[{payload}]"):
            match item:
                case [str(session), int(turn), int(attempt), int(offset), str(text), bool(after_calls)]:
                    read.append(
                        Words(
                            session=session,
                            turn=turn,
                            attempt=attempt,
                            offset=offset,
                            text=text,
                            after_calls=after_calls,
                        )
                    )
                case _:
                    raise ValueError
    except ValueError:
        raise Invalid("Those are no live words.") from None
    return tuple(read)


def pack_listening(listening: Listening) -> Iterator[str]:
    """Yield payloads that say who listens, as few as there is room for."""
    head = f"{'+' if listening.on else '-'} {listening.place} "
    for sessions in _packed(iter(listening.sessions), " "):
        yield head + sessions


def read_listening(payload: str) -> Listening:
    """Return who listens. Errors: `Invalid`."""
    sign, _, rest = payload.partition(" ")
    place, _, named = rest.partition(" ")
    sessions = named.split(" ")
    if sign not in ("+", "-") or not _PLACE.fullmatch(place) or not all(map(_SESSION.fullmatch, sessions)):
        raise Invalid("That is nobody who listens.")
    return Listening(place=place, on=sign == "+", sessions=tuple(sessions))


def _packed(items: Iterator[str], between: str) -> Iterator[str]:
    """Yield texts of several items each, with room for a head."""
    packed: list[str] = []
    size_bytes = 0
    for item in items:
        item_bytes = len(item.encode()) + len(between)
        if packed and size_bytes + item_bytes > PAYLOAD_LIMIT_BYTES - 100:
            yield between.join(packed)
            packed, size_bytes = [], 0
        packed.append(item)
        size_bytes += item_bytes
    if packed:
        yield between.join(packed)

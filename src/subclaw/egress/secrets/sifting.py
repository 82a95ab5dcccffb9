"""Sifting: an answer to a request with a secret in it is looked through for keys before the machine gets any of it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import SystemRandom

from subclaw.core.placeholder import placeholder_for
from subclaw.egress.http.headers import Headers
from subclaw.egress.secrets.minted import Kind, Minted, Watch, kind_of, rewrite, without_keys_in_addresses
from subclaw.egress.secrets.scrub import blot

GATHERED_BYTES = 65_536
"""An answer up to this size is read whole."""
GATHERED_S = 2.0
"""How long an answer that has begun is waited for. One that trickles (a watch, a log) goes on after that."""

Keep = Callable[[Mapping[str, Minted]], Awaitable[None]]
"""Keeps keys by their placeholders, so that the machine may use these from now on. Errors: `Refusal`, `Unavailable`."""

Read = Callable[[], Awaitable[bytes]]
"""Returns the next piece of an answer's body, or nothing at its end."""

_chooser = SystemRandom()


@dataclass(frozen=True, kw_only=True)
class Sifted:
    """How an answer begins for the machine: `body` is what has come of it. The `watch`, if any, sees the rest."""

    headers: Headers
    body: bytes
    watch: Watch | None


async def sift(
    headers: Headers, read: Read, is_ready: Callable[[], bool], forms: tuple[bytes, ...], keep: Keep
) -> Sifted:
    """Look through an answer whose head has come. `forms` are of the secrets that the request held.

    `is_ready` says whether `read` would return without waiting.

    Errors: `Refusal` with 502 if it holds keys that cannot be replaced; and as `Read` and `Keep`.
    """
    headers = without_keys_in_addresses(headers)
    kind = kind_of(headers)
    if kind is None:
        return Sifted(headers=headers, body=b"", watch=None)
    body, ended = await _gathered(read, is_ready) if kind is not Kind.TEXT else (await read(), False)
    if not ended:
        watch = Watch()
        watch.feed(body)
        return Sifted(headers=headers, body=body, watch=watch)
    rewritten = rewrite(kind, headers, blot(body, forms), lambda value: placeholder_for(value, _chooser))
    if rewritten.minted:
        await keep(rewritten.minted)
    return Sifted(headers=rewritten.headers, body=rewritten.body, watch=None)


async def _gathered(read: Read, is_ready: Callable[[], bool]) -> tuple[bytes, bool]:
    """Return what there is of a body within the bounds, and whether that is all."""
    pieces: list[bytes] = []
    ended = await _gather(pieces, read, is_ready)  # mostly all has come with the head
    if not ended:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHERED_S):
                ended = await _gather(pieces, read, lambda: True)
    return b"".join(pieces), ended


async def _gather(pieces: list[bytes], read: Read, goes_on: Callable[[], bool]) -> bool:
    """Add what there is of a body; return whether that is all."""
    size_bytes = sum(map(len, pieces))
    while size_bytes <= GATHERED_BYTES and goes_on():
        piece = await read()
        if not piece:
            return True
        pieces.append(piece)
        size_bytes += len(piece)
    return False

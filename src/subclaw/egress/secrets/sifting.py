"""Sifting: an answer to a request with a secret in it is looked through for keys before the machine gets any of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import SystemRandom
from typing import NamedTuple

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


class Sifted(NamedTuple):
    """How an answer begins for the machine: `body` is what has come of it. The `watch`, if any, sees the rest."""

    headers: Headers
    body: bytes
    watch: Watch | None


async def sift(headers: Headers, begun: bytes, read: Read | None, forms: tuple[bytes, ...], keep: Keep) -> Sifted:
    """Look through an answer whose head has come. `forms` are of the secrets that the request held.

    Of the body `begun` has come too; without `read`, that is all of it.
    Errors: `Refusal` with 502 if it holds keys that cannot be replaced; and as `Read` and `Keep`.
    """
    headers = without_keys_in_addresses(headers)
    kind = kind_of(headers)
    if kind is None:
        return Sifted(headers=headers, body=begun, watch=None)
    body, ended = begun, read is None
    if read is not None and kind is Kind.TEXT:
        body = begun or await read()
    elif read is not None:
        body, ended = await _gathered(begun, read)
    if not ended:
        watch = Watch()
        watch.feed(body)
        return Sifted(headers=headers, body=body, watch=watch)
    rewritten = rewrite(kind, headers, blot(body, forms), lambda value: placeholder_for(value, _chooser))
    if rewritten.minted:
        await keep(rewritten.minted)
    return Sifted(headers=rewritten.headers, body=rewritten.body, watch=None)


async def _gathered(begun: bytes, read: Read) -> tuple[bytes, bool]:
    """Return what there is of a body within the bounds, and whether that is all."""
    pieces, size_bytes = [begun], len(begun)
    try:
        async with asyncio.timeout(GATHERED_S):
            while size_bytes <= GATHERED_BYTES:
                piece = await read()
                if not piece:
                    return b"".join(pieces), True
                pieces.append(piece)
                size_bytes += len(piece)
    except TimeoutError:
        pass
    return b"".join(pieces), False

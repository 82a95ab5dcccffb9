"""A tunnel: two streams whose bytes go from each to the other as they come."""

import asyncio
from collections.abc import Callable

from subclaw.egress.http.stream import Stream
from subclaw.egress.limits import Limits

Pass = Callable[[bytes], bytes]
"""Takes what came in and returns what goes on."""


async def join(client: Stream, upstream: Stream, limits: Limits, *, outward: Pass, inward: Pass) -> None:
    """Pass bytes both ways until one side ends and the other has got the rest. Both are closed after.

    Errors: `Refusal` from `outward` or `inward`; what goes wrong with a stream only ends the tunnel.
    """
    try:
        async with asyncio.TaskGroup() as group:
            both = [
                group.create_task(_pump(client, upstream, outward, limits)),
                group.create_task(_pump(upstream, client, inward, limits)),
            ]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            # A half-closed connection has no use in the protocols that pass here: HTTP upgrades and TLS.
            for one in both:
                one.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        upstream.close()
        client.close()


async def _pump(source: Stream, sink: Stream, through: Pass, limits: Limits) -> None:
    try:
        while data := await source.read(limits.idle_s):
            if passed := through(data):
                await sink.write(passed, limits.idle_s)
    except (ConnectionError, TimeoutError):
        return

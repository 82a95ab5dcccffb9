"""A meter: what a machine has sent and received, held against its quota."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from subclaw.core.quota import Quota
from subclaw.core.tenant_egress import Traffic
from subclaw.egress.refusal import Refusal

DAY_S = 86_400
MINUTE_S = 60
_DAY_MINUTES = DAY_S // MINUTE_S


class Meter:
    """Counts what one machine uses. What it refuses is told to the machine in words."""

    def __init__(self, quota: Quota, used: Traffic, clock: Callable[[], float] = time.time) -> None:
        """`used` is what was used today before; `clock` gives seconds since 1970."""
        self.quota = quota
        self._clock = clock
        self._minute = clock() // MINUTE_S
        self._day = self._minute // _DAY_MINUTES
        self._day_bytes = used.sent_bytes + used.received_bytes
        self._minute_requests = self._minute_connections = 0
        self._open = self._calls = 0
        self._call = _Call(self)
        self._requests = self._connections = self._sent_bytes = self._received_bytes = 0

    def begin_connection(self) -> bool:
        """Take one of the connections that may be open at once; return False if there is none.

        No more may be made in a minute than requests: opening TLS costs more than those do.
        """
        self._keep_minute()
        if self._open >= self.quota.connections or self._minute_connections >= self.quota.requests_per_minute:
            return False
        self._open += 1
        self._minute_connections += 1
        self._connections += 1
        return True

    def end_connection(self) -> None:
        """Give a connection back."""
        self._open -= 1

    def call(self) -> AbstractContextManager[None]:
        """Count a call that is under way: one connection by HTTP/2 can have many, each with a connection of its own.

        Errors: `Refusal` with 429 if there are as many as there may be connections.
        """
        return self._call

    def begin_call(self) -> None:
        """Begin a call. Errors: as `call`."""
        if self._calls >= self.quota.connections:
            raise Refusal(429, f"this machine may have {self.quota.connections:,} requests under way, and has them")
        self._calls += 1

    def end_call(self) -> None:
        """End a call that was begun."""
        self._calls -= 1

    def take_request(self) -> None:
        """Count a request. Errors: `Refusal` with 429 if there are too many, or the day's bytes are used up."""
        self._keep_minute()
        if self._minute_requests >= self.quota.requests_per_minute:
            limit = self.quota.requests_per_minute
            raise Refusal(429, f"this machine may make {limit:,} requests a minute, and has made them")
        self._minute_requests += 1
        self._requests += 1
        if self._day_bytes > self.quota.bytes_per_day:
            raise self._used_up()

    def count(self, sent_bytes: int, received_bytes: int) -> None:
        """Count bytes of content. Errors: `Refusal` with 429 if the day's are used up."""
        self._keep_minute()
        self._sent_bytes += sent_bytes
        self._received_bytes += received_bytes
        self._day_bytes += sent_bytes + received_bytes
        if self._day_bytes > self.quota.bytes_per_day:
            raise self._used_up()

    def report(self) -> Traffic:
        """Return what was used since the last report."""
        traffic = Traffic(
            requests=self._requests,
            connections=self._connections,
            sent_bytes=self._sent_bytes,
            received_bytes=self._received_bytes,
        )
        self._requests = self._connections = self._sent_bytes = self._received_bytes = 0
        return traffic

    def _used_up(self) -> Refusal:
        limit = self.quota.bytes_per_day
        return Refusal(429, f"this machine may send and receive {limit:,} bytes a day, and has done so")

    def _keep_minute(self) -> None:
        minute = self._clock() // MINUTE_S
        if minute == self._minute:
            return
        self._minute, self._minute_requests, self._minute_connections = minute, 0, 0
        if minute // _DAY_MINUTES != self._day:
            self._day, self._day_bytes = minute // _DAY_MINUTES, 0


class _Call:
    """A call under way, as a block: one object does for all of them."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def __enter__(self) -> None:
        self._meter.begin_call()

    def __exit__(self, *_: object) -> None:
        self._meter.end_call()


def sum_of(one: Traffic, other: Traffic) -> Traffic:
    """Return what was used by both together."""
    return replace(
        one,
        requests=one.requests + other.requests,
        connections=one.connections + other.connections,
        sent_bytes=one.sent_bytes + other.sent_bytes,
        received_bytes=one.received_bytes + other.received_bytes,
    )

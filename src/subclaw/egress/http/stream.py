"""A stream: what a connection is to those that read and write it, encrypted underneath or not."""

from collections.abc import Callable
from typing import Protocol


class Stream(Protocol):
    """A `Wire`, or one with TLS over it."""

    on_end: Callable[[], object] | None
    bytes_read: int

    async def read(self, timeout_s: float) -> bytes:
        """See `Wire.read`."""
        ...

    def take(self) -> bytes:
        """See `Wire.take`."""
        ...

    def unread(self, data: bytes) -> None:
        """See `Wire.unread`."""
        ...

    async def write(self, data: bytes, timeout_s: float) -> None:
        """See `Wire.write`."""
        ...

    @property
    def ended(self) -> bool:
        """See `Wire.ended`."""
        ...

    @property
    def quiet(self) -> bool:
        """See `Wire.quiet`."""
        ...

    def end_writing(self) -> None:
        """See `Wire.end_writing`."""
        ...

    def close(self) -> None:
        """See `Wire.close`."""
        ...

    def abort(self) -> None:
        """See `Wire.abort`."""
        ...

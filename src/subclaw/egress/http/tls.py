"""TLS over a wire, the gateway being the server: for connections whose first bytes have been read to decide on them."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from subclaw.egress.http.wire import READ_LIMIT_BYTES, Wire

_RECORD_BYTES = 16_384
"""No read gives more (RFC 8446, section 5.1)."""

Turn = Callable[[], AbstractAsyncContextManager[None]]
"""Waits until something that takes the processor long may be done."""


class TlsWire:
    """A wire whose bytes are encrypted underneath. It is read, written and ended like a `Wire`."""

    def __init__(self, wire: Wire, context: ssl.SSLContext) -> None:
        """`context` is a server's. What has been read of the wire must have been put back."""
        self._wire = wire
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unread: list[bytes] = []
        self._over = False
        self.bytes_read = 0

    async def shake_hands(self, timeout_s: float, turn: Turn) -> str:
        """Agree on keys; return the protocol that was chosen by ALPN, or nothing. Each step of it takes a `turn`.

        Errors: `ConnectionError` if there is no agreement (it was told to the client), `TimeoutError`.
        """
        async with asyncio.timeout(timeout_s):
            agreed = False
            while not agreed:
                data = await self._wire.read(timeout_s)
                if not data:
                    raise ConnectionResetError("the client ended the handshake")
                self._incoming.write(data)
                try:
                    async with turn():
                        agreed = self._agreed()
                finally:
                    await self._flush(timeout_s)  # if need be, the alert that says why
            return self._tls.selected_alpn_protocol() or ""

    async def read(self, timeout_s: float) -> bytes:
        """See `Wire.read`."""
        while not (data := self.take()) and not self._over:
            received = await self._wire.read(timeout_s)
            if not received:
                self._over = True
            self._incoming.write(received)
        return data

    def take(self) -> bytes:
        """See `Wire.take`."""
        if self._unread:
            data, self._unread = b"".join(self._unread), []
        else:
            data = self._decrypted()
        self.bytes_read += len(data)
        return data

    def unread(self, data: bytes) -> None:
        """See `Wire.unread`."""
        if data:
            self._unread.insert(0, data)
            self.bytes_read -= len(data)

    async def write(self, data: bytes, timeout_s: float) -> None:
        """See `Wire.write`."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise ConnectionResetError("the connection is closed") from error
        if not self._wire.write_now(self._outgoing.read()):
            raise ConnectionResetError("the connection is closed")
        if self._wire.is_full:
            await self._wire.drain(timeout_s)

    @property
    def ended(self) -> bool:
        """See `Wire.ended`."""
        return self._over or self._wire.ended

    @property
    def quiet(self) -> bool:
        """See `Wire.quiet`."""
        return self._wire.quiet and not (self._unread or self._over or self._incoming.pending or self._tls.pending())

    @property
    def on_end(self) -> Callable[[], object] | None:
        """See `Wire.on_end`."""
        return self._wire.on_end

    @on_end.setter
    def on_end(self, call: Callable[[], object] | None) -> None:
        self._wire.on_end = call

    def end_writing(self) -> None:
        """See `Wire.end_writing`."""
        self._say_goodbye()
        self._wire.end_writing()

    def close(self) -> None:
        """See `Wire.close`."""
        self._say_goodbye()
        self._wire.close()

    def abort(self) -> None:
        """See `Wire.abort`."""
        self._wire.abort()

    def _agreed(self) -> bool:
        """Go on with what has come; return whether the handshake is over. Errors: as `shake_hands`."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise ConnectionResetError("no agreement on TLS") from error
        return True

    def _decrypted(self) -> bytes:
        """Return what can be decrypted now."""
        pieces: list[bytes] = []
        size = 0
        while size < READ_LIMIT_BYTES and self._incoming.pending:  # each read takes all of a record
            try:
                piece = self._tls.read(_RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError:  # a goodbye, or what is not TLS
                self._over = True
                break
            if not piece:
                self._over = True
                break
            pieces.append(piece)
            size += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _flush(self, timeout_s: float) -> None:
        if self._outgoing.pending:
            await self._wire.write(self._outgoing.read(), timeout_s)

    def _say_goodbye(self) -> None:
        """Send the alert that nothing more comes, as far as it goes out without waiting."""
        with contextlib.suppress(ssl.SSLError):  # the other side's goodbye is not waited for
            self._tls.unwrap()
        if self._outgoing.pending:
            self._wire.write_now(self._outgoing.read())

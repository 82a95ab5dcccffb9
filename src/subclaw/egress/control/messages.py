"""A secret in a message of a WebSocket's client: some providers are told who calls after the handshake, not in it."""

import json
import os
from typing import Any

from subclaw.core.secret import PLACEHOLDER
from subclaw.egress.refusal import Refusal
from subclaw.egress.secrets.opened import Opened

MESSAGE_LIMIT_BYTES = 16_384
MESSAGES_LIMIT = 16
"""How large a message may be, and how many there may be, until the secret is put into one."""

_TEXT, _CONTROL = 0x1, 0x8
_WHOLE = 0x80
_MASKED = 0x80
_MASK_BYTES = 4
_LENGTHS = {126: 2, 127: 8}
_MARKS = {extra: mark for mark, extra in _LENGTHS.items()}
_LIMITS = {0: 126, 2: 2**16, 8: 2**63}


class MessageInjector:
    """Puts a secret into the one message that has its placeholder where it belongs (RFC 6455, section 5).

    Until then each message is a whole frame of text, and small; from there on frames pass as they are. Other
    placeholders stay what they are.
    """

    def __init__(self, member: tuple[str, ...], secret: Opened) -> None:
        """`member` is where the placeholder stands in a JSON object: the names that lead to it."""
        self._member = member
        self._secret = secret
        self._held = b""
        self._messages = 0
        self._done = False

    def feed(self, data: bytes) -> bytes:
        """Return what goes on now of what the client sent. Errors: `Refusal` for what cannot be looked into."""
        if self._done:
            return data
        self._held += data
        out = b""
        while not self._done and (end := _frame_end(self._held)):
            frame, self._held = self._held[:end], self._held[end:]
            out += self._pass(frame)
        if self._done:
            out, self._held = out + self._held, b""
        return out

    def _pass(self, frame: bytes) -> bytes:
        opcode = frame[0] & 0x0F
        if opcode & _CONTROL:
            return frame
        self._messages += 1
        if frame[0] != _WHOLE | _TEXT or self._messages > MESSAGES_LIMIT:
            raise Refusal(400, "the messages before the secret must be few, of text, and whole")
        return self._filled(_payload(frame)) or frame

    def _filled(self, payload: bytes) -> bytes:
        """Return the frame with the secret in it; nothing if that does not belong there."""
        try:
            message = json.loads(payload)
        except (ValueError, RecursionError):
            return b""
        *path, name = self._member
        inner: Any = message
        for step in path:
            inner = inner.get(step) if isinstance(inner, dict) else None
        if not isinstance(inner, dict) or inner.get(name) != PLACEHOLDER:
            return b""
        inner[name] = self._secret.reveal()
        self._done = True
        return _frame(json.dumps(message).encode())


def _frame_end(data: bytes) -> int:
    """Return how long the first frame is; 0 if it is not all here. Errors: `Refusal`."""
    if len(data) < 2:
        return 0
    extra = _LENGTHS.get(data[1] & 0x7F, 0)
    head = 2 + extra
    if not data[1] & _MASKED:
        raise Refusal(400, "a client's frames are masked")
    if len(data) < head:
        return 0
    size = int.from_bytes(data[2:head]) if extra else data[1] & 0x7F
    if size > MESSAGE_LIMIT_BYTES:
        raise Refusal(413, f"a message before the secret has at most {MESSAGE_LIMIT_BYTES:,} bytes")
    end = head + _MASK_BYTES + size
    return end if len(data) >= end else 0


def _payload(frame: bytes) -> bytes:
    start = 2 + _LENGTHS.get(frame[1] & 0x7F, 0)
    mask, payload = frame[start : start + _MASK_BYTES], frame[start + _MASK_BYTES :]
    return _masked(payload, mask)


def _frame(payload: bytes) -> bytes:
    """Return a message as a masked frame."""
    size, extra = len(payload), next(extra for extra in (0, 2, 8) if len(payload) < _LIMITS[extra])
    length = bytes((_MASKED | _MARKS.get(extra, size),)) + (size.to_bytes(extra) if extra else b"")
    mask = os.urandom(_MASK_BYTES)
    return bytes((_WHOLE | _TEXT,)) + length + mask + _masked(payload, mask)


def _masked(payload: bytes, mask: bytes) -> bytes:
    key = (mask * (len(payload) // _MASK_BYTES + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(len(payload))

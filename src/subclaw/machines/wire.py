"""How the host's API looks on the wire: shared by `host_api` and `host_client`.

Paths are `/v1/tenants/ID/CALL`. Arguments are JSON or, for a file's content, the raw body; results are JSON or raw. An
error is a JSON object with the name of its class and its public message.

A stream is of records, each a length of 4 bytes and that many bytes; a length of 0 is followed by the JSON of how it
ended, so that one that was cut off is never taken for whole. An archive's records are pieces of its tar; a command's
are each 8 bytes that say how much of its output was left out there, and a piece of it.
"""

import json
import struct
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from subclaw.core.errors import SubclawError, Unavailable
from subclaw.core.machine import Checkpoint
from subclaw.statuses import STATUSES

LENGTH = struct.Struct("!I")
LEFT_OUT = struct.Struct("!Q")
RECORD_LIMIT_BYTES = 1024**2
NO_SENSE = "The host of machines answered something that makes no sense."
UNKNOWN_OUTCOME = "The host of machines does not answer; whether this was done is unknown."
CLASSES = {kind.__name__: kind for kind in STATUSES}


def record(content: bytes) -> bytes:
    """Frame a piece of a stream, which must not be empty."""
    return LENGTH.pack(len(content)) + content


def last_record(fields: Mapping[str, Any]) -> bytes:
    """Frame how a stream ended."""
    return LENGTH.pack(0) + json.dumps(fields).encode()


async def records(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes | dict[str, Any]]:
    """Take a stream out of its records: the pieces, and last how it ended.

    Raises the error that ended it, or `Unavailable` if it was cut off or makes no sense.
    """
    held = bytearray()
    ended = False
    async for piece in pieces:
        held += piece
        while not ended and len(held) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(held)
            if size > RECORD_LIMIT_BYTES:
                raise Unavailable(NO_SENSE)
            if len(held) < LENGTH.size + size:
                break
            content = bytes(held[LENGTH.size : LENGTH.size + size])
            del held[: LENGTH.size + size]
            ended = not size
            if content:
                yield content
        if len(held) > RECORD_LIMIT_BYTES + LENGTH.size:
            raise Unavailable(NO_SENSE)
    if not ended:
        raise Unavailable(UNKNOWN_OUTCOME, internal="a stream was cut off")
    yield how_ended(bytes(held))


def how_ended(content: bytes) -> dict[str, Any]:
    """Parse how a stream ended. Raises the error that ended it, or `Unavailable`."""
    try:
        how = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Unavailable(NO_SENSE, internal=str(error)) from error
    if not isinstance(how, dict) or "error" in how:
        raise error_of(how)
    return how


def checkpoint_fields(checkpoint: Checkpoint) -> dict[str, Any]:
    """Put a checkpoint into JSON's terms."""
    return {
        "label": checkpoint.label,
        "made_at": checkpoint.made_at.isoformat(),
        "size_bytes": checkpoint.size_bytes,
    }


def checkpoint_of(fields: Any) -> Checkpoint:
    """Make a checkpoint again that the host answered with. Raises `KeyError`, `TypeError`, `ValueError`."""
    made_at = datetime.fromisoformat(fields["made_at"])
    return Checkpoint(label=fields["label"], made_at=made_at, size_bytes=fields["size_bytes"])


def error_fields(error: SubclawError) -> dict[str, str]:
    """Put an error into JSON's terms. Its internal message stays on this side."""
    kind = next((kind for kind in STATUSES if isinstance(error, kind)), Unavailable)
    return {"error": kind.__name__, "public": error.public}


def error_of(fields: Any) -> SubclawError:
    """Make the error again that the host answered with."""
    if isinstance(fields, dict):
        kind, public = CLASSES.get(str(fields.get("error"))), fields.get("public")
        if kind is not None and isinstance(public, str):
            return kind(public)
    return Unavailable(NO_SENSE)

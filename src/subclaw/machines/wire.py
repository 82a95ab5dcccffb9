"""How the host's API looks on the wire: shared by `host_api` and `host_client`.

Paths are `/v1/tenants/ID/CALL`. Arguments are JSON or, for a file's content, the raw body; results are JSON or raw. An
error is a JSON object with the name of its class and its public message. An archive is a stream of records, each a
length of 4 bytes and that many bytes; a length of 0 is followed by the JSON of how it ended, so that one that was cut
off is never taken for whole.
"""

import struct
from typing import Any

from subclaw.core.errors import SubclawError, Unavailable
from subclaw.statuses import STATUSES

LENGTH = struct.Struct("!I")
RECORD_LIMIT_BYTES = 1024**2
CLASSES = {kind.__name__: kind for kind in STATUSES}


def error_fields(error: SubclawError) -> dict[str, str]:
    """Put an error into JSON's terms. Its internal message stays on this side."""
    return {"error": type(error).__name__, "public": error.public}


def error_of(fields: Any) -> SubclawError:
    """Make the error again that the host answered with."""
    if isinstance(fields, dict):
        kind, public = CLASSES.get(str(fields.get("error"))), fields.get("public")
        if kind is not None and isinstance(public, str):
            return kind(public)
    return Unavailable("The host of machines answered something that makes no sense.")

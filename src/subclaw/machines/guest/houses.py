"""A tenant's house as its machine tells of it: records, parsed strictly. Each function raises `GuestBroken`."""

import json
from dataclasses import dataclass

from subclaw.core.house import (
    DEPTH_LIMIT,
    FILE_LIMIT_BYTES,
    FILES_LIMIT,
    HOUSE_LIMIT_BYTES,
    PATH_LIMIT_CHARACTERS,
    HouseFile,
    is_house_path,
)
from subclaw.machines.guest.answers import Fields, GuestBroken
from subclaw_guest.house import NOTHING, Problem
from subclaw_guest.refusals import Reason

LINE_LIMIT_BYTES = 2_048
RECORDS_LIMIT_BYTES = HOUSE_LIMIT_BYTES + FILES_LIMIT * LINE_LIMIT_BYTES
SIGNATURE_LENGTH = 32

LIMITS: Fields = {
    "files": FILES_LIMIT,
    "file_bytes": FILE_LIMIT_BYTES,
    "house_bytes": HOUSE_LIMIT_BYTES,
    "path_characters": PATH_LIMIT_CHARACTERS,
    "depth": DEPTH_LIMIT,
}
"""What a machine is told of how much counts."""

WORDS = {
    Problem.IS_FOLDER: "It is a folder.",
    Problem.NOT_REGULAR: "It is no regular file, but a device, a pipe or a socket.",
    Problem.BAD_LINK: "It is a link that leads nowhere, or in a circle.",
    Problem.BAD_NAME: "Its name has characters that cannot be.",
    Problem.UNREADABLE: "It cannot be read.",
    Problem.TOO_LARGE: f"It is larger than {FILE_LIMIT_BYTES // 1024} KiB.",
    Problem.TOO_MUCH: f"All files together are larger than {HOUSE_LIMIT_BYTES // 1024} KiB.",
    Problem.TOO_MANY: f"There are more than {FILES_LIMIT} files; this one and others are left out.",
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a machine has in its house. The signature is the same as long as nothing changes there."""

    signature: str
    files: tuple[HouseFile, ...]


def signature_of(fields: Fields) -> str:
    """Return the signature in a result."""
    signature = fields.get("signature")
    if not isinstance(signature, str) or len(signature) != SIGNATURE_LENGTH:
        raise GuestBroken("a house has no signature")
    return signature


def files_of(content: bytes) -> tuple[HouseFile, ...]:
    """Parse the records of a house's files."""
    files: dict[str, HouseFile] = {}
    at, left_bytes = 0, HOUSE_LIMIT_BYTES
    while at < len(content):
        end = content.find(b"\n", at, at + LINE_LIMIT_BYTES)
        if end < 0 or len(files) == FILES_LIMIT:
            raise GuestBroken("a house has more than it may")
        path, size, problem = line_of(content[at:end])
        at = end + 1 + max(0, size)
        left_bytes -= max(0, size)
        if at > len(content) or left_bytes < 0 or path in files:
            raise GuestBroken("a house has what it cannot have")
        files[path] = HouseFile(path=path, content=None if problem else content[end + 1 : at], problem=problem)
    return tuple(files.values())


def line_of(line: bytes) -> tuple[str, int, str]:
    """Parse the head of a record: the path, the content's size, and the problem in words."""
    try:
        path, size, code = json.loads(line)
        words = WORDS[Problem(code)] if size == NOTHING else ""
    except (ValueError, TypeError, RecursionError) as error:
        raise GuestBroken("a file of a house cannot be read") from error
    if not isinstance(path, str) or type(size) is not int or not NOTHING <= size <= FILE_LIMIT_BYTES:
        raise GuestBroken("a file of a house cannot be")
    # What cannot be used may lie under a name that could not be, and is only named.
    is_path = is_house_path(path) if not words else path.isprintable() and 0 < len(path) <= PATH_LIMIT_CHARACTERS
    if not is_path:
        raise GuestBroken("a file of a house has a path that cannot be")
    return path, size, words


def refused_of(fields: Fields, count: int) -> dict[int, Reason]:
    """Return which of the files that were put into a house were refused, by their number, and why."""
    refused = fields.get("refused")
    if not isinstance(refused, list) or len(refused) > count:
        raise GuestBroken("a machine does not say what it refused")
    reasons: dict[int, Reason] = {}
    for one in refused:
        match one:
            case [int(number), str(reason)] if 0 <= number < count and reason in list(Reason):
                reasons[number] = Reason(reason)
            case _:
                raise GuestBroken("a machine refused something that it was not given")
    return reasons

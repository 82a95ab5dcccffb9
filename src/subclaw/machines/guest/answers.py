"""What an agent answers: parsed strictly, in words of the host's own. Each function raises `GuestBroken`."""

import json
from typing import Any

from subclaw.core.errors import Corrupt, Denied, Exhausted, Invalid, NotFound, SubclawError, Unavailable
from subclaw.core.machine import CommandEnd, Ended, Match
from subclaw_guest.frames import Frame, Kind
from subclaw_guest.link import Stream
from subclaw_guest.refusals import Reason

MATCH_TEXT = 300
PATH_LIMIT = 4_096
Fields = dict[str, Any]


class NotListening(Unavailable):
    """No program listens on a port."""


WORDS: dict[Reason, tuple[type[SubclawError], str]] = {
    Reason.BUSY: (Exhausted, "The machine is doing too many things at once."),
    Reason.BAD_REQUEST: (Invalid, "The machine cannot make sense of that."),
    Reason.BAD_PATTERN: (Invalid, "That is not a regular expression that can be searched for"),
    Reason.BAD_PATH: (Invalid, "That is not a path."),
    Reason.MISSING: (NotFound, "There is no such file or folder in the machine."),
    Reason.IS_FOLDER: (Invalid, "That is a folder, not a file."),
    Reason.NOT_FOLDER: (Invalid, "That is not a folder."),
    Reason.NOT_REGULAR: (Invalid, "That is not a regular file, but a device, a pipe or a socket."),
    Reason.DENIED: (Denied, "The machine does not allow that."),
    Reason.NO_SPACE: (Exhausted, "The machine's disk is full."),
    Reason.TOO_LARGE: (Exhausted, "That is larger than its limit."),
    Reason.NOT_LISTENING: (NotListening, "Nothing listens on that port in the machine."),
    Reason.BAD_DISK: (
        Corrupt,
        "The machine's disk is damaged and could not be repaired. It can be rolled back to a checkpoint.",
    ),
    Reason.CROWDED: (Exhausted, "The machine has too many processes, or too little memory, to do that."),
    Reason.FAILED: (Unavailable, "The machine could not do that."),
}


class GuestBroken(Exception):
    """The machine stopped, does not answer, or breaks its protocol. It must not be used any more."""


async def result(stream: Stream) -> Fields:
    """Wait for a call's result. Raises what the agent refused it with, in words of the host's own."""
    frame = await stream.final()
    fields = fields_of(frame)
    if frame.kind is Kind.RESULT:
        return fields
    try:
        reason = Reason(fields.get("reason", ""))
    except ValueError as error:
        raise GuestBroken("the agent refused for no known reason") from error
    detail = fields.get("detail")
    raise refusal(reason, detail if isinstance(detail, str) else "")


def refusal(reason: Reason, detail: str = "") -> SubclawError:
    """Put the agent's reason for refusing something into words of the host's own."""
    kind, words = WORDS[reason]
    if reason is Reason.BAD_PATTERN and detail:
        words = f"{words}: {printable(detail, 500)}"
    return kind(words, internal=f"the agent refused: {reason.value}")


def fields_of(frame: Frame) -> Fields:
    """Parse a result. Raises `GuestBroken`."""
    try:
        fields = json.loads(frame.payload)
    except (ValueError, RecursionError) as error:
        raise GuestBroken("a result is not JSON") from error
    if not isinstance(fields, dict):
        raise GuestBroken("a result is not an object")
    return fields


def number(fields: Fields, name: str) -> int:
    """Return a whole number that is not negative. Raises `GuestBroken`."""
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise GuestBroken("a result has a number that cannot be")
    return value


def seconds(fields: Fields, name: str, limit_s: float) -> float:
    """Return a time that is not negative and within a limit. Raises `GuestBroken`."""
    value = fields.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= limit_s:
        raise GuestBroken("a result has a time that cannot be")
    return float(value)


def command_end(fields: Fields) -> CommandEnd:
    """Say how a command ended. Raises `GuestBroken`."""
    status = None if fields.get("exit_status", 0) is None else number(fields, "exit_status")
    if status is not None and status > 255:
        raise GuestBroken("a command's result cannot be")
    ended = Ended.TIMED_OUT if status is None else Ended.EXITED
    return CommandEnd(ended=ended, exit_status=status, output_bytes=number(fields, "output_bytes"))


def match_of(line: bytes) -> Match:
    """Parse one match of a search. Raises `GuestBroken`."""
    try:
        path, where, text = json.loads(line)
    except (ValueError, TypeError, RecursionError) as error:
        raise GuestBroken("a match cannot be read") from error
    if not (isinstance(path, str) and isinstance(text, str)):
        raise GuestBroken("a match cannot be read")
    line_number = number({"line": where}, "line")
    return Match(path=sendable(path[:PATH_LIMIT]), line=line_number, text=sendable(text[:MATCH_TEXT]))


def sendable(text: str) -> str:
    """Replace the halves of characters (surrogates) that JSON can hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def printable(text: str, limit: int) -> str:
    """Keep what can be shown on a line or several of them."""
    return "".join(character for character in text[:limit] if character.isprintable() or character == "\n").strip()

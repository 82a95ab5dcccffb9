"""Why the agent refuses a call: codes on the wire, put into words by the host."""

import errno
from enum import StrEnum


class Reason(StrEnum):
    """What was wrong with a call."""

    BUSY = "busy"
    BAD_REQUEST = "bad_request"
    BAD_PATTERN = "bad_pattern"
    BAD_PATH = "bad_path"
    MISSING = "missing"
    IS_FOLDER = "is_folder"
    NOT_FOLDER = "not_folder"
    NOT_REGULAR = "not_regular"
    DENIED = "denied"
    NO_SPACE = "no_space"
    TOO_LARGE = "too_large"
    NOT_LISTENING = "not_listening"
    BAD_DISK = "bad_disk"
    CROWDED = "crowded"
    FAILED = "failed"


class Refused(Exception):
    """A call cannot be carried out. `detail` is empty, or words for whoever made the call."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail


REASONS = {
    errno.ENOENT: Reason.MISSING,
    errno.ENOTDIR: Reason.MISSING,
    errno.EISDIR: Reason.IS_FOLDER,
    errno.ENXIO: Reason.NOT_REGULAR,
    errno.EACCES: Reason.DENIED,
    errno.EPERM: Reason.DENIED,
    errno.EROFS: Reason.DENIED,
    errno.ENOSPC: Reason.NO_SPACE,
    errno.EDQUOT: Reason.NO_SPACE,
    errno.EFBIG: Reason.NO_SPACE,
    errno.EINVAL: Reason.BAD_PATH,
    errno.ENAMETOOLONG: Reason.BAD_PATH,
    errno.ELOOP: Reason.BAD_PATH,
    errno.E2BIG: Reason.TOO_LARGE,
    errno.EAGAIN: Reason.CROWDED,
    errno.ENOMEM: Reason.CROWDED,
    errno.ECONNREFUSED: Reason.NOT_LISTENING,
}


def reason_of(error: OSError) -> Reason:
    """Say what an operating system error means to the caller."""
    return REASONS.get(error.errno or 0, Reason.FAILED)

"""What a call to a machine may ask for. Checked before a machine is woken; each function raises `Invalid` in words."""

import math
import re
from collections.abc import Mapping

from subclaw.core.errors import Invalid
from subclaw.core.machine import ENVIRONMENT_LIMIT, ENVIRONMENT_LIMIT_BYTES, Command
from subclaw_guest.commands import TEXT_LIMIT_BYTES

TIMEOUT_LIMIT_S = 3_600.0
OUTPUT_LIMIT_BYTES = 1024**2
SLICE_LIMIT_BYTES = 16 * 1024**2
CONTENT_LIMIT_BYTES = 64 * 1024**2
ARCHIVE_LIMIT_BYTES = 4 * 1024**3
MATCHES_LIMIT = 1_000
PATTERN_LIMIT = 4_096
PATH_LIMIT = 4_096
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
HOSTNAME = re.compile(r"[a-z0-9.-]{1,253}")
LABEL = re.compile(r"[a-z0-9-]{1,64}")


def check_command(command: Command) -> None:
    """Check a command's text, limits and environment."""
    check_text("The command", command.text, TEXT_LIMIT_BYTES)
    if not (math.isfinite(command.timeout_s) and 0 < command.timeout_s <= TIMEOUT_LIMIT_S):
        raise Invalid(f"A command may take more than 0 and at most {TIMEOUT_LIMIT_S:.0f} seconds.")
    check_range("The output limit", command.output_limit_bytes, 0, OUTPUT_LIMIT_BYTES)
    check_environment(command.environment)


def check_environment(environment: Mapping[str, str]) -> None:
    """Check the variables that a command is given."""
    if len(environment) > ENVIRONMENT_LIMIT:
        raise Invalid(f"A command may be given {ENVIRONMENT_LIMIT} variables.")
    left_bytes = ENVIRONMENT_LIMIT_BYTES
    for name, value in environment.items():
        if not VARIABLE.fullmatch(name):
            raise Invalid("A variable's name has 1 to 64 letters, digits and underscores, and begins with no digit.")
        if not value.isascii() or "\0" in value:
            raise Invalid(f"The variable {name} has characters that cannot be.")
        left_bytes -= len(name) + len(value)
    if left_bytes < 0:
        raise Invalid(f"A command's variables may have {ENVIRONMENT_LIMIT_BYTES} bytes together.")


def check_slice(path: str, offset_bytes: int, limit_bytes: int) -> None:
    """Check which part of which file is to be read."""
    check_text("The path", path, PATH_LIMIT)
    check_range("The offset", offset_bytes, 0, 2**62)
    check_range("The limit", limit_bytes, 1, SLICE_LIMIT_BYTES)


def check_content(path: str, content: bytes) -> None:
    """Check a file that is to be written."""
    check_text("The path", path, PATH_LIMIT)
    if len(content) > CONTENT_LIMIT_BYTES:
        raise Invalid(f"A file may be written with at most {CONTENT_LIMIT_BYTES // 1024**2} MiB at once.")


def check_search(pattern: str, path: str, limit: int) -> None:
    """Check what is to be searched for, and where."""
    check_text("The pattern", pattern, PATTERN_LIMIT)
    check_text("The path", path, PATH_LIMIT)
    check_range("The limit", limit, 1, MATCHES_LIMIT)


def check_archive(path: str, limit_bytes: int) -> None:
    """Check which folder is to be archived."""
    check_text("The path", path, PATH_LIMIT)
    check_range("The limit", limit_bytes, 1, ARCHIVE_LIMIT_BYTES)


def check_port(port: int) -> None:
    """Check a TCP port."""
    check_range("The port", port, 1, 65_535)


def check_hostname(hostname: str) -> None:
    """Check a hostname, which becomes part of a request."""
    if not HOSTNAME.fullmatch(hostname):
        raise Invalid("That is not a hostname.")


def check_label(label: str) -> None:
    """Check a checkpoint's label, of which a file's name is made."""
    if not LABEL.fullmatch(label):
        raise Invalid("A checkpoint's label has 1 to 64 small letters, digits and hyphens.")


def check_text(name: str, text: str, limit_bytes: int) -> None:
    """Check that text is there, can be an argument of a program, and is not too long."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise Invalid(f"{name} has characters that cannot be.") from error
    if not size or "\0" in text:
        raise Invalid(f"{name} is empty or has a NUL in it.")
    if size > limit_bytes:
        raise Invalid(f"{name} is longer than {limit_bytes} bytes.")


def check_range(name: str, value: int, lowest: int, highest: int) -> None:
    """Check a number."""
    if not lowest <= value <= highest:
        raise Invalid(f"{name} must be from {lowest} to {highest}.")

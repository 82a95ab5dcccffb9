"""What is not fit to be published: keys that everybody could read then, and programs that visitors would be led to run.

A file is looked at while it is written, up to a bound; what is only words or a picture passes.
"""

from subclaw.core.errors import Invalid
from subclaw.core.key_shapes import kinds_by_shape
from subclaw.routes.tar import Parts

LOOKED_AT_BYTES = 1024 * 1024
"""How much of a file is looked at: pages and scripts are shorter, and what is longer is hardly text."""

_MEANT_TO_BE_SEEN = frozenset({"a Google key", "a JSON web token"})
"""Kinds that pages rightly have in them: keys for maps, anonymous tokens."""

_PROGRAMS = {b"MZ": "Windows", b"\x7fELF": "Linux", b"\xcf\xfa\xed\xfe": "macOS", b"\xca\xfe\xba\xbe": "macOS or Java"}
_PROGRAM_NAMES = (
    ".apk",
    ".bat",
    ".cmd",
    ".com",
    ".dll",
    ".dmg",
    ".exe",
    ".hta",
    ".jar",
    ".msi",
    ".pkg",
    ".ps1",
    ".scr",
    ".vbs",
)
_LEFT_OVER = (".db", ".key", ".p12", ".pfx", ".php", ".sqlite", ".sqlite3")
"""Databases, keys, and pages that only a server could run: a static site hands them out as they are."""


def require_fit(parts: Parts, beginning: bytes) -> None:
    """Check a file by its path and its first `LOOKED_AT_BYTES`. Errors: `Invalid` with words for the model."""
    path, name = "/".join(parts), parts[-1].lower()
    system = next((system for magic, system in _PROGRAMS.items() if beginning.startswith(magic)), None)
    if system or name.endswith(_PROGRAM_NAMES):
        raise Invalid(
            f"{path} is a program{f' for {system}' if system else ''}, which a site may not offer. Take it out."
        )
    if name.endswith(_LEFT_OVER):
        raise Invalid(
            f"Everybody could download {path} as it is, since a folder's files are not run. Take it out, "
            "or publish a port of your machine."
        )
    if kind := _key_in(beginning):
        raise Invalid(
            f"{path} has what looks like {kind} in it, and everybody could read that. Take it out; "
            "if the page needs it, have a server in your machine call the service, and publish its port."
        )


def _key_in(beginning: bytes) -> str | None:
    if b"\0" in beginning[:8192]:
        return None
    kinds = kinds_by_shape(beginning.decode("utf-8", "replace"))
    return next((kind for kind in kinds if kind not in _MEANT_TO_BE_SEEN), None)

"""Files that come with messages: what they are by their content, where they are put, and what a model is told."""

import hashlib
import re
from dataclasses import dataclass

from subclaw.core.machine import HOME

INBOX = f"{HOME}/inbox"
NAME_LIMIT_CHARACTERS = 80
UNKNOWN_TYPE = "application/octet-stream"

_NOT_IN_NAMES = re.compile(r"[^\w.()+-]+")
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\x7fELF", "application/x-executable"),
    (b"MZ", "application/x-msdownload"),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
)
_OFFICE = (
    (b"word/", "wordprocessingml.document"),
    (b"xl/", "spreadsheetml.sheet"),
    (b"ppt/", "presentationml.presentation"),
)
_LOOKED_AT_BYTES = 8_192


@dataclass(frozen=True, kw_only=True)
class AttachmentClaimed:
    """A file as the sender's end describes it: none of this is known."""

    name: str
    media_type: str = ""
    size_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class AttachmentKept:
    """A file as it was found: where it is in the machine; or, without a `path`, the `problem` in words."""

    name: str
    path: str = ""
    media_type: str = ""
    size_bytes: int = 0
    problem: str = ""


def media_type_of(content: bytes) -> str:
    """Return what a file is by its content, whatever it is called. Source: the formats' own signatures."""
    head = content[:_LOOKED_AT_BYTES]
    for beginning, media_type in _BEGINNINGS:
        if head.startswith(beginning):
            return _zipped(head) if media_type == "application/zip" else media_type
    if head[:4] == b"RIFF" and len(head) >= 12:
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}.get(head[8:12], UNKNOWN_TYPE)
    if head[4:8] == b"ftyp":
        return {b"heic": "image/heic", b"mif1": "image/heif", b"M4A ": "audio/mp4"}.get(head[8:12], "video/mp4")
    if len(head) >= 2 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2:
        return "audio/mpeg"
    return _text_type(head, whole=len(content) <= _LOOKED_AT_BYTES)


def safe_name(name: str) -> str:
    """Return what a file is called in the machine: one step of a path, which no shell takes for anything else."""
    last = re.split(r"[/\\]", name)[-1]
    stem, dot, ending = _NOT_IN_NAMES.sub("_", last).strip("_").lstrip(".-").rpartition(".")
    whole = f"{stem[: NAME_LIMIT_CHARACTERS - 20]}{dot}{ending[:19]}" if dot else ending[:NAME_LIMIT_CHARACTERS]
    return whole.strip(".") or "file"


def path_of(provider_id: str, number: int, name: str) -> str:
    """Return where a file is put: the same place each time that it is tried, and its own."""
    return f"{INBOX}/{hashlib.sha256(provider_id.encode()).hexdigest()[:8]}-{number + 1}-{safe_name(name)}"


def attachment_words(claimed: tuple[AttachmentClaimed, ...], kept: tuple[AttachmentKept, ...] | None) -> str:
    """Return what a model is told of a message's files; `kept` is None if they were not looked at."""
    if kept is None:
        names = ", ".join(safe_name(one.name) for one in claimed)
        return f"[With this came: {names}. You cannot open files that people send here.]"
    return "\n".join(map(_words, kept))


def _words(kept: AttachmentKept) -> str:
    if not kept.path:
        return f"[A file came with this, {safe_name(kept.name)}, and could not be had: {kept.problem}]"
    return f"[A file came with this: {kept.path} ({kept.media_type}, {kept.size_bytes:,} bytes)]"


def _zipped(head: bytes) -> str:
    """Office's documents are archives, and say what they are by the names in them."""
    for folder, kind in _OFFICE:
        if folder in head:
            return f"application/vnd.openxmlformats-officedocument.{kind}"
    return "application/zip"


def _text_type(head: bytes, *, whole: bool) -> str:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if whole or error.start < len(head) - 3:  # else a character was cut at the end of what is looked at
            return UNKNOWN_TYPE
        text = head[: error.start].decode()
    if "\0" in text:
        return UNKNOWN_TYPE
    begins = text.lstrip("\ufeff \t\r\n")[:200].lower()
    if begins.startswith(("<!doctype html", "<html")):
        return "text/html"
    return "image/svg+xml" if "<svg" in begins else "text/plain"

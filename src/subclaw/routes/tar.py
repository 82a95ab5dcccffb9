"""A strict reader of tar streams that nobody vouches for. Bytes in, entries out; it touches no disk.

It knows regular files and folders in ustar (POSIX.1-2017, pax, "ustar Interchange Format"), with the two usual ways to
write a long name: pax extended headers and GNU's `L`. Everything else is refused: links and devices (unless they are to
be passed over), sparse files, sizes in base 256, names that lead out of the folder. The standard library's reader takes
headers of any size and any of these, so it is not used. What is held in memory is bounded by `EXTENSION_LIMIT_BYTES`
and the chunk that is fed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from subclaw.core.errors import Invalid

BLOCK_BYTES = 512
EXTENSION_LIMIT_BYTES = 16 * 1024
PATH_LIMIT_BYTES = 512
PART_LIMIT_BYTES = 255
DEPTH_LIMIT = 20

_FILE_TYPES = (b"0", b"\0", b"7")
_FOLDER_TYPE = b"5"
_LINK_TYPES = (b"1", b"2")
_OTHER_TYPES = (*_LINK_TYPES, b"3", b"4", b"6")
_PAX_TYPE = b"x"
_PAX_GLOBAL_TYPE = b"g"
_GNU_LONG_NAME_TYPE = b"L"
_GNU_LONG_LINK_TYPE = b"K"
_PAX_REFUSED = ("GNU.sparse.", "linkpath")

Parts = tuple[str, ...]
"""A path's parts; each is a plain name, never empty, ".", ".." or with a slash. The folder itself is ()."""


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder."""

    parts: Parts


@dataclass(frozen=True, kw_only=True)
class FileStart:
    """A regular file begins; `size_bytes` of `FileData` follow, and then a `FileEnd`."""

    parts: Parts
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class FileData:
    """Some bytes of the file that began last."""

    data: bytes


@dataclass(frozen=True, kw_only=True)
class FileEnd:
    """The file that began last is complete."""


@dataclass(frozen=True, kw_only=True)
class PassedOver:
    """A link or a device, of which nothing is read."""

    parts: Parts


TarEvent = Folder | FileStart | FileData | FileEnd | PassedOver


class _Reading(Enum):
    HEADER = auto()
    EXTENSION = auto()
    FILE = auto()
    PADDING = auto()
    ENDED = auto()


class TarReader:
    """One tar, read as it comes. Errors: `Invalid`, in words for whoever made the folder; then the reader is spent.

    A link or a device is refused, or passed over if `others_pass`: then it is told of, and whatever it names is not.
    """

    def __init__(self, *, others_pass: bool = False) -> None:
        self._others_pass = others_pass
        self._reading = _Reading.HEADER
        self._held = bytearray()
        self._left = BLOCK_BYTES
        self._padding = 0
        self._zero_blocks = 0
        self._extension = b""
        self._extended: dict[str, str] = {}

    def feed(self, chunk: bytes) -> Iterator[TarEvent]:
        """Take the next bytes and yield what they tell. The iterator must be used up before the next call."""
        position = 0
        while position < len(chunk) and self._reading is not _Reading.ENDED:
            piece = chunk[position : position + self._left]
            position += len(piece)
            self._left -= len(piece)
            if self._reading is _Reading.FILE:
                yield FileData(data=piece)
            elif self._reading is not _Reading.PADDING:
                self._held += piece
            if self._left == 0:
                yield from self._complete()

    def close(self) -> None:
        """Say that there is no more. Errors: `Invalid` if the end of the tar was not seen: it was cut short."""
        if self._reading is not _Reading.ENDED:
            raise Invalid("The copy of the folder was cut short. Try again.", internal="the tar has no end")

    def _complete(self) -> Iterator[TarEvent]:
        held, self._held = bytes(self._held), bytearray()
        if self._reading is _Reading.HEADER:
            yield from self._header(held)
        elif self._reading is _Reading.EXTENSION:
            self._extended.update(_extension(self._extension, held, links_pass=self._others_pass))
            self._pad()
        elif self._reading is _Reading.FILE:
            yield FileEnd()
            self._pad()
        else:
            self._expect(_Reading.HEADER, BLOCK_BYTES)

    def _header(self, block: bytes) -> Iterator[TarEvent]:
        if not any(block):
            self._end_block()
            return
        if self._zero_blocks:
            raise _bad("a header follows a block of zeros")
        kind, size = _checked(block)
        if kind in (_PAX_TYPE, _PAX_GLOBAL_TYPE, _GNU_LONG_NAME_TYPE) or (
            kind == _GNU_LONG_LINK_TYPE and self._others_pass
        ):
            self._begin_extension(kind, size)
            return
        extended, self._extended = self._extended, {}
        parts = _parse_path(extended.get("path") or _name(block))
        if kind == _FOLDER_TYPE or (kind == b"\0" and not extended and _name(block).endswith("/")):
            yield Folder(parts=parts)
            self._expect_no_content(size)
        elif kind in _FILE_TYPES:
            yield from self._begin_file(parts, _decimal(extended["size"]) if "size" in extended else size)
        elif kind in _OTHER_TYPES and self._others_pass:
            yield PassedOver(parts=parts)
            self._expect_no_content(size)
        else:
            raise _refused(kind)

    def _begin_file(self, parts: Parts, size: int) -> Iterator[TarEvent]:
        if not parts:
            raise _bad("a file has no name")
        yield FileStart(parts=parts, size_bytes=size)
        self._padding = -size % BLOCK_BYTES
        if size:
            self._expect(_Reading.FILE, size)
        else:
            yield FileEnd()
            self._expect(_Reading.HEADER, BLOCK_BYTES)

    def _begin_extension(self, kind: bytes, size: int) -> None:
        if not 0 < size <= EXTENSION_LIMIT_BYTES:
            raise _bad("an extended header is empty or too large")
        self._extension = kind
        self._padding = -size % BLOCK_BYTES
        self._expect(_Reading.EXTENSION, size)

    def _expect_no_content(self, size: int) -> None:
        if size:
            raise _bad("what is no file has content")
        self._expect(_Reading.HEADER, BLOCK_BYTES)

    def _pad(self) -> None:
        if self._padding:
            self._expect(_Reading.PADDING, self._padding)
        else:
            self._expect(_Reading.HEADER, BLOCK_BYTES)

    def _end_block(self) -> None:
        if self._extended:
            raise _bad("an extended header stands for nothing")
        self._zero_blocks += 1
        if self._zero_blocks == 2:
            self._reading = _Reading.ENDED
        else:
            self._expect(_Reading.HEADER, BLOCK_BYTES)

    def _expect(self, reading: _Reading, length: int) -> None:
        self._reading, self._left = reading, length


def _checked(block: bytes) -> tuple[bytes, int]:
    """Return a header's type and size, its checksum verified."""
    if _octal(block[148:156]) != sum(block[:148]) + 8 * 0x20 + sum(block[156:]):
        raise _bad("a header's checksum is wrong")
    return block[156:157], _octal(block[124:136])


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not digits or not all(c in b"01234567" for c in digits):
        raise _bad("a number in a header is not octal")
    return int(digits, 8)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise _bad("a number in an extended header is not decimal")
    return int(text)


def _name(block: bytes) -> str:
    name = block[:100].split(b"\0", 1)[0]
    # Only POSIX's magic has a prefix there; GNU's ("ustar  ") keeps times and offsets in that place.
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Invalid("A file's name is not UTF-8. Rename it, and publish again.") from error


def _extension(kind: bytes, content: bytes, *, links_pass: bool) -> dict[str, str]:
    if kind == _GNU_LONG_LINK_TYPE:
        return {"linkpath": ""}
    if kind == _GNU_LONG_NAME_TYPE:
        return {"path": _text(content.removesuffix(b"\0"))}
    records = dict(_pax_records(content))
    refused = _PAX_REFUSED[:1] if links_pass else _PAX_REFUSED
    if any(key.startswith(refused) for key in records):
        raise _bad("an extended header tells of a link or a sparse file")
    found: dict[str, str] = {key: records[key] for key in ("path", "size") if key in records}
    if kind == _PAX_GLOBAL_TYPE and found:
        raise _bad("a global header names every file")
    return found


def _pax_records(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield a pax header's records, `"<length> <key>=<value>\\n"`, in which the length counts the whole record."""
    while content:
        digits, space, _ = content.partition(b" ")
        length = _decimal(digits[:20].decode("ascii", "replace")) if space else 0
        record = content[len(digits) + 1 : length]
        key, equals, value = record[:-1].partition(b"=")
        if length > len(content) or not record.endswith(b"\n") or not equals:
            raise _bad("an extended header's record is broken")
        yield key.decode("utf-8", "replace"), _text(value) if key == b"path" else value.decode("utf-8", "replace")
        content = content[length:]


def _parse_path(path: str) -> Parts:
    """Return a path's parts. A leading "./" and a trailing "/" are usual and mean nothing."""
    trimmed = path.removeprefix("./").removesuffix("/")
    if trimmed in ("", "."):
        if path.startswith("/"):
            raise _unsafe("a path is absolute")
        return ()
    parts = tuple(trimmed.split("/"))
    if any(part in ("", ".", "..") for part in parts):
        raise _unsafe("a path is absolute, or leads out of the folder")
    if "\\" in trimmed or not trimmed.isprintable():
        raise _unsafe("a path has a backslash or a character that cannot be shown")
    if len(trimmed.encode()) > PATH_LIMIT_BYTES or any(len(part.encode()) > PART_LIMIT_BYTES for part in parts):
        raise Invalid(f"A file's path is too long: {PATH_LIMIT_BYTES} bytes at most, {PART_LIMIT_BYTES} for one name.")
    if len(parts) > DEPTH_LIMIT:
        raise Invalid(f"The folders are nested too deep: {DEPTH_LIMIT} levels at most.")
    return parts


def _refused(kind: bytes) -> Invalid:
    if kind in _LINK_TYPES:
        return Invalid("The folder has a link in it (find . -type l), and a site takes none. Put a copy there.")
    return Invalid("There is something in the folder that is neither a file nor a folder. Take it out.")


def _unsafe(reason: str) -> Invalid:
    public = "A file has a name that a site cannot have. Rename it, and publish again."
    return Invalid(public, internal=f"tar: {reason}")


def _bad(reason: str) -> Invalid:
    return Invalid("The copy of the folder could not be read. Try again.", internal=f"tar: {reason}")

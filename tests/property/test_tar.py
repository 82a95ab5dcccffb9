"""The tar reader against random trees in every format, and against bytes that were meant to break it."""

import io
import tarfile
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tars import tar_of, tar_of_one

from subclaw.core.errors import Invalid
from subclaw.routes.tar import (
    BLOCK_BYTES,
    DEPTH_LIMIT,
    PATH_LIMIT_BYTES,
    FileData,
    FileEnd,
    FileStart,
    Folder,
    TarReader,
)

names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\", exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Z")),
    min_size=1,
    max_size=24,
).filter(lambda name: name not in (".", ".."))
paths = st.lists(names, min_size=1, max_size=5).map("/".join)
trees = st.dictionaries(paths, st.binary(max_size=1500), max_size=6)
styles = st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])


def read(content: bytes, *, chunk_bytes: int = 10_000) -> dict[str, bytes]:
    """Read a tar to its end, holding the reader to the order of its events."""
    reader, files, current = TarReader(), dict[str, bytes](), None
    for start in range(0, len(content), chunk_bytes):
        for event in reader.feed(content[start : start + chunk_bytes]):
            if isinstance(event, FileStart):
                assert current is None
                current = ("/".join(event.parts), event.size_bytes, bytearray())
            elif isinstance(event, FileData):
                assert current is not None
                current[2].extend(event.data)
            elif isinstance(event, FileEnd):
                assert current is not None
                assert len(current[2]) == current[1]
                files[current[0]] = bytes(current[2])
                current = None
    reader.close()
    return files


@given(tree=trees, style=styles, prefix=st.sampled_from(["./", ""]), chunk_bytes=st.sampled_from([1, 511, 512, 4096]))
def test_trees_come_back(tree: dict[str, bytes], style: int, prefix: str, chunk_bytes: int) -> None:
    assert read(tar_of(tree, style=style, prefix=prefix), chunk_bytes=chunk_bytes) == tree


@given(tree=st.dictionaries(st.from_regex(r"[a-z]{1,40}(/[a-z]{1,40}){0,3}", fullmatch=True), st.binary(), max_size=5))
def test_plain_ustar_comes_back(tree: dict[str, bytes]) -> None:
    assert read(tar_of(tree, style=tarfile.USTAR_FORMAT)) == tree


@given(
    tree=st.dictionaries(paths, st.binary(max_size=700), min_size=1, max_size=3),
    style=styles,
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=12),
    mend=st.booleans(),
)
def test_changed_bytes_are_refused_or_harmless(
    tree: dict[str, bytes], style: int, changes: list[tuple[int, int]], mend: bool
) -> None:
    content = bytearray(tar_of(tree, style=style))
    for place, value in changes:
        content[place % len(content)] = value
    if mend:
        mend_checksums(content)
    assert_harmless(bytes(content))


@given(content=st.binary(max_size=3000))
def test_any_bytes_are_refused_or_harmless(content: bytes) -> None:
    assert_harmless(content)


def assert_harmless(content: bytes) -> None:
    """Every path that is told is safe, no more data is told than was fed, and the one error is `Invalid`."""
    reader, told = TarReader(), 0
    try:
        for event in reader.feed(content):
            if isinstance(event, Folder | FileStart):
                path = PurePosixPath(*event.parts)
                assert not path.is_absolute()
                assert not {"..", ".", ""} & set(event.parts)
                assert not any("/" in part or "\0" in part or "\\" in part for part in event.parts)
                assert len(event.parts) <= DEPTH_LIMIT
                assert len(str(path).encode()) <= PATH_LIMIT_BYTES
            elif isinstance(event, FileData):
                told += len(event.data)
        reader.close()
    except Invalid:
        pass
    assert told <= len(content)


def mend_checksums(content: bytearray) -> None:
    """Make every block's checksum right, as if each were a header, so that what is behind it is reached."""
    for start in range(0, len(content) - BLOCK_BYTES + 1, BLOCK_BYTES):
        block = content[start : start + BLOCK_BYTES]
        if any(block) and block[257:262] == b"ustar":
            total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
            content[start + 148 : start + 156] = b"%06o\0 " % total


@pytest.mark.parametrize(
    "name",
    [
        "../up", "a/../../up", "/etc/passwd", "a//b", "a/./b", "..", "a/..", "back\\slash", "line\nend", "bell\a",
        "a/" * 30 + "deep", "x" * 256, "long/" * 110 + "x", "\u202eright-to-left", "//", "/",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        read(tar_of_one(name, content=b"x"))


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE,
        b"V",
    ],
)  # fmt: skip
def test_only_files_and_folders_are_taken(kind: bytes) -> None:
    with pytest.raises(Invalid):
        read(tar_of_one("thing", kind=kind, link="/etc/passwd"))


def pax(records: dict[str, str], *, everywhere: bool = False) -> bytes:
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers=records if everywhere else {}
    ) as tar:
        info = tarfile.TarInfo("index.html")
        info.pax_headers = {} if everywhere else records
        tar.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize(
    "records",
    [
        {"path": "../up"}, {"path": "a\0b"}, {"size": "-1"}, {"size": "9" * 30}, {"size": "1e9"},
        {"comment": "x" * 20_000}, {"GNU.sparse.major": "1"}, {"linkpath": "/etc"},
    ],
)  # fmt: skip
def test_extended_headers_are_checked_like_plain_ones(records: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        read(pax(records))


def test_a_global_header_may_say_things_but_not_names() -> None:
    assert read(pax({"comment": "by a version control system"}, everywhere=True)) == {"index.html": b""}
    with pytest.raises(Invalid):
        read(pax({"path": "other"}, everywhere=True))


def test_a_size_in_base_256_is_refused() -> None:
    content = bytearray(tar_of_one("big"))
    content[BLOCK_BYTES + 124] = 0x80
    mend_checksums(content)
    with pytest.raises(Invalid):
        read(bytes(content))


def test_a_tar_that_is_cut_short_is_refused() -> None:
    whole = tar_of({"index.html": b"x" * 2000})
    for length in (0, 100, 512, 1024, 2500, 4000):
        with pytest.raises(Invalid):
            read(whole[:length])

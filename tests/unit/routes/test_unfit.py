"""What is not fit to be published is refused in words, and what pages rightly have passes."""

import gzip
from pathlib import Path

import pytest
from tests.unit.routes.test_releases import INDEX, assert_nothing_left, files_of, keep_tree

from subclaw.core.errors import Invalid
from subclaw.core.placeholder import MARKER
from subclaw.routes.releases import Releases
from subclaw.routes.unfit import LOOKED_AT_BYTES, require_fit

TOKEN = "ghp_" + "a1B2" * 9


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("app.js", f"const token = '{TOKEN}'".encode(), "a GitHub token"),
        ("deep/in/conf.json", b'{"key": "sk-ant-' + b"a1B2c3" * 8 + b'"}', "an Anthropic API key"),
        ("key.txt", b"-----BEGIN PRIVATE KEY-----\n" + b"MIIE" * 40 + b"\n-----END PRIVATE KEY-----", "a private key"),
        ("setup.bin", b"MZ\x90\0" + b"\0" * 100, "a program for Windows"),
        ("tool", b"\x7fELF" + b"\0" * 100, "a program for Linux"),
        ("Install.EXE", b"anything", "a program"),
        ("data/shop.sqlite3", b"SQLite format 3\0", "download data/shop.sqlite3"),
        ("index.php", b"<?php echo 1;", "files are not run"),
    ],
)
def test_it_is_refused_and_the_file_is_named(tmp_path: Path, path: str, content: bytes, words: str) -> None:
    with pytest.raises(Invalid) as refusal:
        keep_tree(Releases(tmp_path), {**INDEX, path: content})
    assert path in refusal.value.public
    assert words in refusal.value.public
    assert TOKEN not in refusal.value.public + refusal.value.internal
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("map.js", b"const key = 'AIza" + b"a1B2c" * 7 + b"'"),
        (
            "anon.js",
            b"const anon = 'eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.dBjftJeZ4CVPmB92K27uhbUJU1p1r_wW1gFWFOEjXk'",
        ),
        ("shop.js", b"const stripe = 'pk_live_" + b"a1B2" * 8 + b"'"),
        ("login.html", b'<input name="password" placeholder="password: at least 8 characters">'),
        ("ours.js", f"const k = 'ghp_{MARKER}{'a1B2' * 9}'".encode()),
        ("photo.jpg", b"\xff\xd8\xff\0" + TOKEN.encode()),
        ("script.py", b"print('to download')"),
    ],
)
def test_what_pages_rightly_have_passes(path: str, content: bytes) -> None:
    require_fit(tuple(path.split("/")), content)


def test_a_key_is_found_however_the_file_comes_and_up_to_a_bound(tmp_path: Path) -> None:
    before = b" " * (LOOKED_AT_BYTES - len(TOKEN))
    with pytest.raises(Invalid):
        keep_tree(Releases(tmp_path), {**INDEX, "a.txt": before + TOKEN.encode()})
    keep_tree(Releases(tmp_path), {**INDEX, "a.txt": before + b" " * len(TOKEN) + TOKEN.encode()})


def test_texts_are_compressed_once_and_never_over_a_file_of_the_tenants(tmp_path: Path) -> None:
    text = b"body { color: black }\n" * 200
    tree = {**INDEX, "style.css": text, "own.js": text, "own.js.gz": b"mine", "photo.jpg": text, "short.css": b"a{}"}
    kept = keep_tree(Releases(tmp_path), tree)
    folder = tmp_path / "1" / kept.release
    found = files_of(folder)
    assert gzip.decompress(found.pop("style.css.gz")) == text
    assert found == tree
    assert (kept.files, kept.size_bytes) == (len(tree), sum(map(len, tree.values())))
    plain, compressed = (folder / "style.css").stat(), (folder / "style.css.gz").stat()
    assert (plain.st_mode, plain.st_mtime_ns) == (compressed.st_mode, compressed.st_mtime_ns)


def test_the_same_folder_is_the_same_release_compressed_or_not(tmp_path: Path) -> None:
    tree = {**INDEX, "style.css": b"a{}" * 1000}
    assert keep_tree(Releases(tmp_path), tree).release == keep_tree(Releases(tmp_path), tree).release

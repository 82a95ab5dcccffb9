"""Reading an agent's files from elsewhere: folders and archives give the same, and hostile ones give nothing away."""

import gzip
import io
import os
import socket
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tars import tar_of, tar_of_one

from subclaw.commands import house_source
from subclaw.commands.house_source import Source, read_source
from subclaw.core.errors import Exhausted, Invalid, NotFound
from subclaw.core.house import FILE_LIMIT_BYTES

names = st.text(
    st.characters(categories=("Ll", "Lu", "Nd"), include_characters="-_ ."), min_size=1, max_size=12
).filter(lambda name: name.strip(".") and name not in house_source._NEVER)
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=3).map(lambda steps: "skills/" + "/".join(steps)),
    st.binary(max_size=400),
    max_size=5,
).filter(lambda tree: not any(one != other and other.startswith(f"{one}/") for one in tree for other in tree))


def written(content: bytes, name: str = "archive") -> Source:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return read_source(path)


def zip_of(tree: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in tree.items():
            archive.writestr(path, content)
    return out.getvalue()


@given(tree=trees)
def test_a_folder_and_its_archives_give_the_same(tree: dict[str, bytes]) -> None:
    assert written(tar_of(tree)).files == tree
    assert written(gzip.compress(tar_of(tree, style=tarfile.GNU_FORMAT))).files == tree
    assert written(zip_of(tree)).files == tree
    with tempfile.TemporaryDirectory() as folder:
        for path, content in tree.items():
            place = Path(folder) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        assert read_source(Path(folder)).files == tree


@given(
    tree=trees,
    kind=st.sampled_from(["tar", "gz", "zip"]),
    changes=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1, max_size=12),
    cut=st.integers(0, 5_000),
)
def test_changed_bytes_are_refused_or_harmless(
    tree: dict[str, bytes], kind: str, changes: list[tuple[int, int]], cut: int
) -> None:
    tar = tar_of(tree)
    broken = bytearray({"tar": tar, "gz": gzip.compress(tar), "zip": zip_of(tree)}[kind])
    for position, value in changes:
        broken[position % len(broken)] = value
    try:
        found = written(bytes(broken[: len(broken) - cut % len(broken)]))
    except (Invalid, Exhausted):
        return
    assert not any(step in ("", ".", "..") for path in found.files for step in path.split("/"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("target", ["/etc/shadow", "x" * 300])
def test_links_and_devices_in_a_tar_are_passed_over(kind: bytes, target: str) -> None:
    for style in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=style) as tar:
            link = tarfile.TarInfo("skills/a/SKILL.md")
            link.type, link.linkname = kind, target
            tar.addfile(link)
            page = tarfile.TarInfo("SOUL.md")
            page.size = 3
            tar.addfile(page, io.BytesIO(b"Be."))
        found = written(out.getvalue())
        assert (found.files, found.others) == ({"SOUL.md": b"Be."}, 1)


@pytest.mark.parametrize(
    "name", ["../SOUL.md", "/SOUL.md", "a/../../SOUL.md", "a//b.md", "a\\b.md", "a\nb.md", "skills/./x"]
)
def test_names_that_lead_out_are_refused(name: str) -> None:
    for content in (tar_of_one(name, content=b"x"), zip_of({name: b"x"})):
        with pytest.raises(Invalid, match="no archive that can be read"):
            written(content)


def test_links_in_a_folder_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("secret")
    home = tmp_path / "home"
    (home / "skills" / "a").mkdir(parents=True)
    (home / "SOUL.md").symlink_to(tmp_path / "secret.md")
    (home / "outside").symlink_to(tmp_path)
    os.mkfifo(home / "AGENTS.md")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "USER.md"))
        (home / "skills" / "a" / "SKILL.md").write_text("tea")
        found = read_source(home)
    assert (found.files, found.others) == ({"skills/a/SKILL.md": b"tea"}, 3)


def test_a_link_in_a_zip_is_passed_over() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("SOUL.md")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/shadow")
        archive.writestr("AGENTS.md", "Be.")
    found = written(out.getvalue())
    assert (found.files, found.others) == ({"AGENTS.md": b"Be."}, 1)


def test_what_a_house_could_not_have_is_counted_and_not_read() -> None:
    found = written(
        tar_of(
            {
                "SOUL.md": b"Be.",
                "photo.jpg": b"x",
                ".env": b"KEY=x",
                "workspace/projects/app/src/deep/README.md": b"x",
                "skills/a/node_modules/left-pad/index.js": b"x",
                "skills/a/model.bin": b"x" * (FILE_LIMIT_BYTES + 1),
                "credentials/oauth.json": b"{}",
            }
        )
    )
    assert (set(found.files), found.others) == ({"SOUL.md"}, 6)


def test_there_is_an_end_to_what_is_unpacked_and_held(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(tar_of({"skills/a/zeros": bytes(FILE_LIMIT_BYTES + 1)}))
    monkeypatch.setattr(house_source, "UNPACKED_LIMIT_BYTES", 50_000)
    with pytest.raises(Exhausted, match="The archive holds more than"):
        written(bomb)
    monkeypatch.setattr(house_source, "HELD_LIMIT_FILES", 2)
    many = {f"skills/a/{number}": b"x" for number in range(4)}
    for content in (tar_of(many), zip_of(many)):
        with pytest.raises(Exhausted, match="Give only the agent's own folder"):
            written(content)
    monkeypatch.setattr(house_source, "ENTRIES_LIMIT", 3)
    with pytest.raises(Exhausted, match="more than 3 files"):
        written(tar_of({f"{number}.jpg": b"x" for number in range(4)}))
    monkeypatch.setattr(house_source, "ZIP_LIMIT_BYTES", 20)
    with pytest.raises(Exhausted, match="Pack a"):
        written(zip_of(many))


def test_a_file_in_a_zip_is_no_longer_than_it_says() -> None:
    content = bytearray(zip_of({"SOUL.md": b"x" * 5_000}))
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (10).to_bytes(4, "little")
    with pytest.raises(Invalid, match="no archive that can be read"):
        written(bytes(content))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8b", b"PK\x03\x04", b"\x1f\x8b" + b"x" * 100, bytes(600)])
def test_what_is_no_archive_is_refused_in_words(content: bytes) -> None:
    with pytest.raises(Invalid, match="no archive that can be read"):
        written(content)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no"):
        read_source(tmp_path / "nothing")

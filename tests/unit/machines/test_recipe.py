"""The golden image's recipe and the host's package sources."""

import shutil
from pathlib import Path

import pytest

from subclaw.core.errors import Unavailable
from subclaw.machines.images.apt_sources import debian_sources
from subclaw.machines.images.build import package_counter, part_of
from subclaw.machines.images.recipe import lines_of, recipe_digest
from subclaw.machines.images.steps import Step, run_step

RECIPE = Path(__file__).parents[3] / "image"
SOURCES = """# Debian's own
Types: deb deb-src
URIs: http://mirror.invalid/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main
 contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://third.invalid/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/third.gpg

Types: deb
Enabled: no
URIs: http://off.invalid/debian
Suites: bookworm
Components: main
"""
LINES = """
deb [arch=amd64 signed-by=/usr/share/keyrings/third.gpg] http://third.invalid/apt bookworm main
deb http://old.invalid/debian-security bookworm-security main  # updates
deb-src http://old.invalid/debian bookworm main
deb http://other.invalid/debian trixie main
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECIPE, tmp_path / "image"))


def test_digest_is_of_the_content_alone(recipe: Path) -> None:
    digest = recipe_digest(recipe)
    assert digest == recipe_digest(RECIPE)
    assert len(digest) == 64
    (recipe / "packages.txt").touch()
    assert recipe_digest(recipe) == digest


def test_every_file_counts(recipe: Path) -> None:
    digests = {recipe_digest(recipe)}
    (recipe / "packages.txt").write_text("jq\n", "utf-8")
    digests.add(recipe_digest(recipe))
    (recipe / "init").rename(recipe / "init2")
    digests.add(recipe_digest(recipe))
    (recipe / "init2").chmod(0o600)
    digests.add(recipe_digest(recipe))
    assert len(digests) == 4


def test_missing_recipe_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"no packages\.txt"):
        recipe_digest(tmp_path)


def test_lists_leave_comments_out() -> None:
    assert "python3" in lines_of(RECIPE / "packages.txt")
    assert not [line for line in lines_of(RECIPE / "modules.txt") if "#" in line or not line]


def test_recipe_names_no_registry() -> None:
    for path in RECIPE.rglob("*"):
        assert path.is_dir() or "://" not in path.read_text("utf-8")


def test_only_debians_own_sources_are_used(tmp_path: Path) -> None:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (folder / "debian.sources").write_text(SOURCES, "utf-8")
    (folder / "ignored.sources.bak").write_text(SOURCES.replace("mirror", "ignored"), "utf-8")
    (tmp_path / "sources.list").write_text("", "utf-8")
    (folder / "extra.list").write_text(LINES, "utf-8")
    keyring = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert debian_sources("bookworm", tmp_path) == [
        f"{keyring} http://mirror.invalid/debian bookworm main",
        f"{keyring} http://mirror.invalid/debian bookworm-updates main",
        f"{keyring} http://old.invalid/debian-security bookworm-security main",
    ]


def test_host_without_the_release_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no source of Debian bookworm"):
        debian_sources("bookworm", tmp_path)


def test_failed_step_says_why() -> None:
    seen: list[str] = []
    script = "echo one; echo 'E: write failed (28: No space left on device)' >&2; exit 100"
    with pytest.raises(Unavailable) as caught:
        run_step(Step(command=["sh", "-c", script], failure="It failed"), seen.append)
    assert caught.value.public == "It failed: the disk is full."
    assert "No space left" in caught.value.internal
    assert seen[0] == "one\n"


def test_step_without_its_program_is_said() -> None:
    with pytest.raises(Unavailable, match="no-such-program"):
        run_step(Step(command=["no-such-program"], failure="It failed"))


def test_progress_moves_and_stays_within_its_part() -> None:
    fractions: list[float] = []
    part = part_of(lambda progress: fractions.append(progress.fraction), "Debian packages", 0.0, 0.5)
    count = package_counter(part)
    for number in range(2_000):
        count(f"Unpacking package{number} (1.0) ...\n")
        count("anything else\n")
    assert fractions == sorted(set(fractions))
    assert len(fractions) > 50
    assert fractions[-1] <= 0.5

"""The virtual environment: where it stands, what it holds, and when it must be made anew.

It stands in the checkout if the system users can read that, else (a clone in /root) under /opt/subclaw, with the
product copied in and `.venv` a link to it. A stamp, taken away before any change and written after the last one, says
what it holds: no stamp, or one that does not fit, and the environment is made anew.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from subclaw.core.errors import Unavailable
from subclaw.setup.checkout import SOURCES, digest_of, sources_digest
from subclaw.setup.programs import follow
from subclaw.setup.progress import Bar, TextOutput

PYTHON = "/usr/bin/python3"
"""Debian's own: every user can run it, unlike one that a version manager keeps in somebody's home."""

ELSEWHERE = Path("/opt/subclaw")
LINK = ".venv"
STAMP = "subclaw-stamp.json"
LOCK = "requirements.lock"
DEV_LOCK = "requirements-dev.lock"
LOCKED = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[^]]*])?==")
FETCHING = ("Collecting ", "Processing ", "Requirement already satisfied: ")
"""How pip's lines about one package each begin: from an index, from a local file, there already."""
VENV_SHARE, FETCH_SHARE = 0.08, 0.62
"""Parts of the bar: making the empty environment, and fetching packages; the rest is unpacking them."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the environment stands, and whether the product in it is a copy or the checkout itself."""

    folder: Path
    is_copy: bool


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What an environment holds. `dev_lock` is None if it holds nothing for development."""

    folder: str
    python: str
    lock: str
    dev_lock: str | None
    product: str


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What has to be done to an environment."""

    anew: bool
    requirements: bool
    product: bool


def place_for(checkout: Path, *, readable: bool) -> Place:
    """Return where the environment of a checkout stands; elsewhere, each checkout has a folder of its own."""
    if readable:
        return Place(folder=checkout / LINK, is_copy=False)
    name = f"{checkout.name}-{digest_of([(str(checkout), b'')])[:12]}"
    return Place(folder=ELSEWHERE / name / "venv", is_copy=True)


def steps_for(found: Stamp | None, wanted: Stamp) -> Steps:
    """Return what turns the environment that is there (None: none, or not whole) into the one wanted."""
    same_base = found is not None and (found.folder, found.python, found.lock) == (
        wanted.folder,
        wanted.python,
        wanted.lock,
    )
    if found is None or not same_base:
        return Steps(anew=True, requirements=True, product=True)
    if wanted.dev_lock is not None and found.dev_lock not in (None, wanted.dev_lock):
        return Steps(anew=True, requirements=True, product=True)
    lacks_dev = wanted.dev_lock is not None and found.dev_lock is None
    return Steps(anew=False, requirements=lacks_dev, product=found.product != wanted.product)


def count_locked(lock: str) -> int:
    """Return how many packages a lock file names."""
    return sum(1 for line in lock.splitlines() if LOCKED.match(line))


def read_stamp(folder: Path) -> Stamp | None:
    """Return what the environment holds, or None if there is none or it is not whole."""
    if not (folder / "bin/python").exists():
        return None
    try:
        return Stamp(**json.loads((folder / STAMP).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def wanted_stamp(checkout: Path, place: Place, *, python: str, dev: bool) -> Stamp:
    """Return the stamp of the environment that this checkout needs."""
    source = sources_digest(checkout) if place.is_copy else _file_digest(checkout / "pyproject.toml")
    return Stamp(
        folder=str(place.folder),
        python=python,
        lock=_file_digest(checkout / LOCK),
        dev_lock=_file_digest(checkout / DEV_LOCK) if dev else None,
        product=f"{'copy' if place.is_copy else 'checkout'} {source}",
    )


def make_environment(checkout: Path, place: Place, steps: Steps, wanted: Stamp, output: TextOutput) -> None:
    """Carry out `steps`. Raises Unavailable, with what to do, if a package cannot be had."""
    found = read_stamp(place.folder)
    (place.folder / STAMP).unlink(missing_ok=True)
    if steps.anew:
        _remove(checkout / LINK)
        _remove(place.folder)
        place.folder.parent.mkdir(parents=True, exist_ok=True)
    if steps.requirements:
        lock = LOCK if wanted.dev_lock is None else DEV_LOCK
        _install_requirements(checkout / lock, place.folder, anew=steps.anew, output=output)
    if steps.product:
        _install_product(checkout, place, output)
    kept_dev = found.dev_lock if found is not None and not steps.anew else None
    stamp = Stamp(**{**asdict(wanted), "dev_lock": wanted.dev_lock or kept_dev})
    _write_stamp(place.folder, stamp)


def link_environment(checkout: Path, place: Place) -> None:
    """Make `.venv` in the checkout lead to an environment that stands elsewhere."""
    link = checkout / LINK
    if place.is_copy and not (link.is_symlink() and link.readlink() == place.folder):
        _remove(link)
        link.symlink_to(place.folder)


def remove_environment(checkout: Path) -> None:
    """Remove a checkout's environment, wherever it stands."""
    _remove(checkout / LINK)
    _remove(place_for(checkout, readable=False).folder.parent)


def requirements_fraction(fetched: int, unpacked: int, total: int) -> float:
    """Return how far an installation of `total` packages is, 0 to 1; pip unpacks only when all are fetched."""
    if fetched < total:
        return VENV_SHARE * bool(fetched) + FETCH_SHARE * fetched / total
    return VENV_SHARE + FETCH_SHARE + (1 - VENV_SHARE - FETCH_SHARE) * min(1.0, unpacked / total)


def _install_requirements(lock: Path, folder: Path, *, anew: bool, output: TextOutput) -> None:
    total = count_locked(lock.read_text(encoding="utf-8"))
    bar = Bar(f"installing {total} Python packages", output)
    fetched = 0

    def on_line(line: str) -> None:
        nonlocal fetched
        fetched += line.startswith(FETCHING)

    def on_tick() -> None:
        unpacked = sum(1 for _ in folder.glob("lib/python3*/site-packages/*.dist-info"))
        bar.advance(requirements_fraction(fetched, unpacked, total))

    with bar:
        if anew:
            _pip_or_words([PYTHON, "-m", "venv", str(folder)], on_line, on_tick)
        options = ["--require-hashes", "--no-deps", "--progress-bar", "off", "--requirement", str(lock)]
        _pip_or_words([str(folder / "bin/python"), "-m", "pip", "install", *options], on_line, on_tick)
        bar.close(f"installed {total} Python packages in {folder}")


def _install_product(checkout: Path, place: Place, output: TextOutput) -> None:
    """Install subclaw itself: the checkout's sources as they stand, or a copy of them."""
    bar = Bar("installing subclaw itself", output)
    options = ["--no-deps", "--no-build-isolation", "--force-reinstall"]
    pip = [str(place.folder / "bin/python"), "-m", "pip", "install", *options]
    words = "installed subclaw from this checkout"
    with bar, tempfile.TemporaryDirectory(prefix="subclaw-setup-") as scratch:
        if place.is_copy:  # built from a scratch copy: what a build leaves behind would end up in the next one
            _copy_sources(checkout, Path(scratch))
            pip, words = [*pip, scratch], f"installed a copy of subclaw in {place.folder}"
        else:
            pip = [*pip, "--editable", str(checkout)]
        _pip_or_words(pip, lambda line: None, lambda: bar.advance(0.0))
        bar.close(words)


def _pip_or_words(argv: Sequence[str], on_line: Callable[[str], None], on_tick: Callable[[], None]) -> None:
    bound = ["setpriv", "--pdeathsig", "KILL", *argv]  # a pip that outlives us would write into the next environment
    done = follow(bound, on_line=on_line, on_tick=on_tick, environment=pip_environment(os.environ))
    if done.exit_status != 0:
        raise Unavailable(
            f"The Python packages could not be installed: {pip_complaint(done.lines)}. "
            "Check the network and the disk, then run this again."
        )


def pip_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for pip: the operator's index and certificates, and nothing that leads elsewhere."""
    misleading = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_PYTHON")
    kept = {name: value for name, value in inherited.items() if name not in misleading}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_ROOT_USER_ACTION": "ignore"}


def pip_complaint(lines: Sequence[str]) -> str:
    """Return what pip said was wrong, in one line and in its own words."""
    if any("No space left on device" in line for line in lines):
        return "the disk is full"
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        return "a package is not the one that the lock file names (its hash differs)"
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith(("ERROR:", "Error:"))]
    return errors[0] if errors else "pip gave no reason"


def _copy_sources(checkout: Path, scratch: Path) -> None:
    for name in SOURCES:
        source = checkout / name
        if source.is_dir():
            shutil.copytree(source, scratch / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif source.exists():
            shutil.copy2(source, scratch / name)


def _write_stamp(folder: Path, stamp: Stamp) -> None:
    draft = folder / f"{STAMP}.new"
    draft.write_text(json.dumps(asdict(stamp), indent=1), encoding="utf-8")
    draft.replace(folder / STAMP)


def _file_digest(path: Path) -> str:
    return digest_of([("", path.read_bytes())])


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)

"""Set-up, step by step: each says in one line what it did, and nothing when there was nothing to do."""

import argparse
import fcntl
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from subclaw.accounts import SYSTEM_USERS
from subclaw.core.errors import Invalid, SubclawError, Unavailable
from subclaw.setup import environment, packages, users
from subclaw.setup.checkout import users_can_read
from subclaw.setup.programs import hand_over
from subclaw.setup.progress import TextOutput

LOCK_FILE = Path("/run/subclaw-setup.lock")


def main(checkout: str, arguments: Sequence[str]) -> int:
    """Run the steps that `arguments` ask for, and return the exit code: 0, or 1 after one line that says what to do."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        os.umask(0o022)
        _set_up(Path(checkout), options, sys.stdout)
    except KeyboardInterrupt:
        return _stop("interrupted. Run it again: it goes on where it was.")
    except SubclawError as error:
        return _stop(error.public)
    except OSError as error:
        return _stop(words_for(error))
    except subprocess.TimeoutExpired as error:
        return _stop(f"{error.cmd[0]} did not answer. Is another installation stuck? Then run this again.")
    return 0


def words_for(error: OSError) -> str:
    """Return what to do about an error of the operating system's, in one line."""
    what = f"{error.strerror or error}: {error.filename}" if error.filename else f"{error.strerror or error}"
    return f"{what}. Make room, or check the rights on it, then run this again."


def refuse_unfit_host(os_release: dict[str, str], machine: str) -> None:
    """Raise Invalid, with words, if this is not a host that subclaw runs on."""
    if os_release.get("ID") != "debian" or os_release.get("VERSION_ID") != "12":
        found = os_release.get("PRETTY_NAME", "another system")
        raise Invalid(f"subclaw runs on Debian 12, and this is {found}. Use a Debian 12 host.")
    if machine != "x86_64":
        raise Invalid(f"subclaw runs on x86_64, and this is {machine}. Use an x86_64 host.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bootstrap.py", description="Set subclaw up on this host.")
    parser.add_argument("--dev", action="store_true", help="also what tests and checks need")
    parser.add_argument("--no-image", action="store_true", help="leave out the golden image")
    parser.add_argument("--clean", action="store_true", help="remove the virtual environment instead")
    return parser


def _set_up(checkout: Path, options: argparse.Namespace, output: TextOutput) -> None:
    refuse_unfit_host(platform.freedesktop_os_release(), platform.machine())
    with _one_at_a_time(output):
        if options.clean:
            _need_root("remove the virtual environment")
            environment.remove_environment(checkout)
            return
        _packages(checkout, options.dev, output)
        _users(output)
        folder = _environment(checkout, options.dev, output)
    if not options.no_image:
        _image(checkout, folder)


def _packages(checkout: Path, dev: bool, output: TextOutput) -> None:
    lists = ["packages.txt", "packages-test.txt"] if dev else ["packages.txt"]
    wanted = [name for file in lists for name in packages.parse_package_list((checkout / file).read_text())]
    missing = packages.find_missing(wanted)
    if missing:
        _need_root(f"install Debian packages ({' '.join(missing)})")
        packages.install(missing, output)
    elif os.geteuid() == 0:
        packages.tidy_after_interruption()


def _users(output: TextOutput) -> None:
    missing = users.missing_users()
    if missing:
        _need_root(f"make the system users {', '.join(missing)}")
        users.make_users(missing, output)


def _environment(checkout: Path, dev: bool, output: TextOutput) -> Path:
    _need_root("see what subclaw's system users can read")
    place = environment.place_for(checkout, readable=users_can_read(checkout, SYSTEM_USERS))
    wanted = environment.wanted_stamp(checkout, place, python=platform.python_version(), dev=dev)
    found = None if not place.is_copy and place.folder.is_symlink() else environment.read_stamp(place.folder)
    steps = environment.steps_for(found, wanted)
    if steps.anew or steps.requirements or steps.product:
        environment.make_environment(checkout, place, steps, wanted, output)
    environment.link_environment(checkout, place)
    return place.folder


def _image(checkout: Path, folder: Path) -> None:
    """Build the golden image; the command draws its own progress, and says itself what went wrong."""
    if hand_over([str(folder / "bin/subclaw"), "image", "build"], str(checkout)) != 0:
        raise Unavailable("the golden image is not built; what is in the way stands above. Then run this again.")


def _need_root(purpose: str) -> None:
    if os.geteuid() != 0:
        raise Unavailable(f"root is needed to {purpose}: run make as root, or install sudo.")


@contextmanager
def _one_at_a_time(output: TextOutput) -> Iterator[None]:
    """Let two set-ups on one host wait for each other; only root's change anything."""
    if os.geteuid() != 0:
        yield
        return
    with LOCK_FILE.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            output.write("waiting for another set-up on this host to end\n")
            output.flush()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _stop(words: str) -> int:
    sys.stderr.write(f"set-up stopped: {words}\n")
    return 1


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

"""Which hosts are refused, and the words for it."""

import errno
from pathlib import Path

import pytest

from subclaw.accounts import SYSTEM_USERS
from subclaw.core.errors import Invalid
from subclaw.setup.main import refuse_unfit_host, words_for
from subclaw.setup.users import useradd_command

DEBIAN_12 = {"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"}


def test_debian_12_is_taken() -> None:
    refuse_unfit_host(DEBIAN_12, "x86_64")


@pytest.mark.parametrize(
    ("release", "machine", "word"),
    [
        ({**DEBIAN_12, "VERSION_ID": "11", "PRETTY_NAME": "Debian GNU/Linux 11"}, "x86_64", "Debian GNU/Linux 11"),
        ({"ID": "ubuntu", "VERSION_ID": "24.04", "PRETTY_NAME": "Ubuntu 24.04"}, "x86_64", "Ubuntu"),
        ({"ID": "debian"}, "x86_64", "another system"),
        (DEBIAN_12, "aarch64", "aarch64"),
    ],
)
def test_other_hosts_are_refused_in_words(release: dict[str, str], machine: str, word: str) -> None:
    with pytest.raises(Invalid, match=word):
        refuse_unfit_host(release, machine)


def test_a_full_disk_is_said_in_one_line() -> None:
    words = words_for(OSError(errno.ENOSPC, "No space left on device", "/opt/subclaw"))
    assert words.startswith("No space left on device: /opt/subclaw. Make room")
    assert "\n" not in words


@pytest.mark.parametrize("name", SYSTEM_USERS)
def test_users_have_no_login_no_home_and_a_group_of_their_own(name: str) -> None:
    command = useradd_command(name, group_exists=False)
    assert command[0] == "useradd"
    assert command[-1] == name
    assert {"--system", "--user-group", "--no-create-home", "/usr/sbin/nologin"} <= set(command)
    assert "--user-group" not in useradd_command(name, group_exists=True)


def test_no_address_of_a_registry_is_in_what_sets_up() -> None:
    checkout = Path(__file__).parents[3]
    for path in (checkout / "Makefile", checkout / "bootstrap.py", *(checkout / "src/subclaw/setup").glob("*.py")):
        assert "://" not in path.read_text()

"""Debian packages: which are missing, and installing those alone, without starting what they bring."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from subclaw.core.errors import Invalid, Unavailable
from subclaw.setup.programs import Ended, ask, follow
from subclaw.setup.progress import Bar, TextOutput

LISTS_ARE_OLD_AFTER_S = 24 * 3600
DOWNLOAD_SHARE = 0.5
"""The part of an installation's bar that is downloading; the rest is unpacking and configuring."""

APT_LISTS = Path("/var/lib/apt/lists")
SERVICE_POLICY = Path("/usr/sbin/policy-rc.d")
SERVICE_POLICY_TEXT = """#!/bin/sh
# Written by subclaw's set-up while it installs packages, and removed by it: Caddy's own service must not start.
case "$1" in caddy*) exit 101 ;; esac
exit 0
"""
CADDY_AT_BOOT = Path("/etc/systemd/system/multi-user.target.wants/caddy.service")
CLUSTER_POLICY = Path("/etc/postgresql-common/createcluster.d/subclaw-setup.conf")
CLUSTER_POLICY_TEXT = """# Written by subclaw's set-up while it installs packages, and removed by it.
create_main_cluster = off
"""


def parse_package_list(text: str) -> tuple[str, ...]:
    """Return the package names of a list: one a line, `#` starts a comment.

    Raises Invalid for a line that is no Debian package name (Debian Policy §5.6.1).
    """
    names = tuple(name for line in text.splitlines() if (name := line.partition("#")[0].strip()))
    for name in names:
        if len(name) < 2 or not name[0].isalnum() or not all(c.islower() or c.isdigit() or c in "+-." for c in name):
            raise Invalid(f"{name!r} in the package list is no Debian package name.")
    return names


def missing_packages(wanted: Sequence[str], status_lines: Sequence[str]) -> tuple[str, ...]:
    """Return those of `wanted` that `status_lines` ("name status", as dpkg-query gives them) do not call installed."""
    installed = {name for line in status_lines if (name := line.partition(" ")[0]) and line.endswith(" installed")}
    return tuple(name for name in wanted if name not in installed)


def apt_fraction(line: str) -> float | None:
    """Return how far an apt-get run is (0 to 1) by a line of its status output, or None if it is another line.

    Source: apt's README.progress-reporting: `dlstatus:NUMBER:PERCENT:WORDS`, `pmstatus:PACKAGE:PERCENT:WORDS`.
    """
    kind, _, rest = line.partition(":")
    if kind not in ("dlstatus", "pmstatus"):
        return None
    for field in rest.split(":")[1:]:  # a package's name may hold a colon (NAME:amd64)
        try:
            part = float(field) / 100
        except ValueError:
            continue
        share = DOWNLOAD_SHARE * part if kind == "dlstatus" else DOWNLOAD_SHARE + (1 - DOWNLOAD_SHARE) * part
        return min(1.0, max(0.0, share))
    return None


def apt_complaint(lines: Sequence[str]) -> str:
    """Return what apt said was wrong, in one line and in its own words."""
    errors = [line.split(":", 3)[-1] for line in lines if line.startswith("pmerror:")]
    errors += [line.removeprefix("E:").strip() for line in lines if line.startswith("E:")]
    full = [line for line in lines if "No space left on device" in line or "enough free space" in line]
    if full:
        return "the disk is full"
    return errors[0] if errors else "it gave no reason"


def find_missing(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return those of `wanted` that are not installed here."""
    status = ask(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *wanted])
    return missing_packages(wanted, status.lines)


def install(missing: Sequence[str], output: TextOutput) -> None:
    """Install Debian packages. Raises Unavailable, with what to do, if apt cannot."""
    if ask(["dpkg", "--audit"]).lines:
        label, closing = "finishing an interrupted installation", "finished an interrupted installation"
        _apt(["dpkg", "--configure", "-a"], label, output, closing=closing)
    refreshed = _lists_are_old()
    if refreshed:
        _refresh_lists(output)
    with _services_kept_down(missing):
        done = _install_once(missing, output)
        if done.exit_status != 0 and not refreshed:
            _refresh_lists(output)
            done = _install_once(missing, output)
    if done.exit_status != 0:
        raise Unavailable(
            f"apt could not install {' '.join(missing)}: {apt_complaint(done.lines)}. "
            "Check the network, the disk and apt's sources, then run this again."
        )


def tidy_after_interruption() -> None:
    """Undo what an installation that was killed left behind; nothing to do otherwise."""
    if _is_ours(SERVICE_POLICY, SERVICE_POLICY_TEXT) or CLUSTER_POLICY.exists():
        with _services_kept_down(()):
            pass


def _install_once(missing: Sequence[str], output: TextOutput) -> Ended:
    count = "1 Debian package" if len(missing) == 1 else f"{len(missing)} Debian packages"
    options = ["--yes", "--no-install-recommends", "--no-remove", "-o", "APT::Status-Fd=3"]
    options += ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
    options += ["-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300"]
    closing = f"installed {count}: {' '.join(missing)}"
    return _apt(["apt-get", "install", *options, *missing], f"installing {count}", output, closing=closing)


def _refresh_lists(output: TextOutput) -> None:
    argv = ["apt-get", "update", "-o", "APT::Status-Fd=3", "-o", "DPkg::Lock::Timeout=300"]
    label, closing = "refreshing the lists of Debian packages", "refreshed the lists of Debian packages"
    done = _apt(argv, label, output, closing=closing, share=1 / DOWNLOAD_SHARE)
    if done.exit_status != 0:
        raise Unavailable(
            f"apt could not refresh its lists of packages: {apt_complaint(done.lines)}. "
            "Check the network and apt's sources (apt-get update), then run this again."
        )


def _apt(argv: Sequence[str], label: str, output: TextOutput, *, closing: str, share: float = 1.0) -> Ended:
    bar = Bar(label, output)
    at = 0.0
    with_status = [
        "/bin/sh",
        "-c",
        'exec "$@" 3>&1',
        "sh",
        *argv,
    ]  # apt closes its status descriptor to the packages' scripts

    def on_line(line: str) -> None:
        nonlocal at
        fraction = apt_fraction(line)
        if fraction is not None:
            at = max(at, fraction * share)

    with bar:
        done = follow(
            with_status, on_line=on_line, on_tick=lambda: bar.advance(at), environment=_environment(os.environ)
        )
        if done.exit_status == 0:
            bar.close(closing)
    return done


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for apt: no questions, and English words, which `apt_complaint` reads."""
    return {**inherited, "DEBIAN_FRONTEND": "noninteractive", "DEBIAN_PRIORITY": "critical", "LC_ALL": "C"}


def _lists_are_old() -> bool:
    dates = [path.stat().st_mtime for path in APT_LISTS.glob("*_Packages*")]
    refreshed = APT_LISTS / "partial"  # apt touches it at each update, even if no list was newer
    if not dates or not refreshed.exists():
        return True
    return time.time() - max(*dates, refreshed.stat().st_mtime) > LISTS_ARE_OLD_AFTER_S


@contextmanager
def _services_kept_down(missing: Sequence[str]) -> Iterator[None]:
    """While packages are installed, let none of their services start; leave a fresh Caddy's service disabled.

    Debian's `caddy` would serve port 80, and `postgresql` make a cluster on port 5432. subclaw runs both itself. What
    the operator had installed before is not touched, and neither file stays: a file that is found was left by a run
    that was cut short, and so the same package is fresh now.
    """
    ours = _is_ours(SERVICE_POLICY, SERVICE_POLICY_TEXT)
    caddy_is_fresh = "caddy" in missing or ours
    policy_is_free = ours or not SERVICE_POLICY.exists()
    try:
        if caddy_is_fresh and policy_is_free:
            SERVICE_POLICY.write_text(SERVICE_POLICY_TEXT, encoding="utf-8")
            SERVICE_POLICY.chmod(0o755)
        if "postgresql" in missing:
            CLUSTER_POLICY.parent.mkdir(parents=True, exist_ok=True)
            CLUSTER_POLICY.write_text(CLUSTER_POLICY_TEXT, encoding="utf-8")
        yield
    finally:
        CLUSTER_POLICY.unlink(missing_ok=True)
        if caddy_is_fresh:
            _disable_caddy()
            if policy_is_free:
                SERVICE_POLICY.unlink(missing_ok=True)


def _is_ours(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8", errors="replace") == text
    except FileNotFoundError:
        return False


def _disable_caddy() -> None:
    """Keep Debian's Caddy service from starting with the host."""
    if find_missing(["caddy"]):
        return
    if Path("/run/systemd/system").exists():
        ask(["systemctl", "disable", "--now", "caddy.service"])
    else:  # without a running systemd, this is all that disabling is
        CADDY_AT_BOOT.unlink(missing_ok=True)

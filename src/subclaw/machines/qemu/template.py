"""Templates: a machine that was booted once and waits to become somebody's, kept as its memory and its devices' state.

Every later machine is a copy-on-write restore of it. A template fits one build of QEMU, one accelerator and processor,
one set of devices and one golden image; all of that is its key. It lies in `CACHE/templates/ID`, and the ID is its own:
another template of the same key has another memory.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import platform
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import Corrupt
from subclaw.machines.images.image import Image
from subclaw.machines.images.locks import locked
from subclaw.machines.qemu.command_line import Acceleration, Accelerator, Descriptors, Launch, Memory, arguments
from subclaw.machines.qemu.jail import Jail
from subclaw.machines.qemu.memory import load_memory, reopened

MEMORY = "memory"
DEVICES = "devices"
MANIFEST = "manifest.json"
KERNEL_HEAD = "kernel-head"
TEMPLATES = "templates"
UNFINISHED = ".making-"
UNFINISHED_S = 3_600.0
TSC_STEP_KHZ = 10_000
WARM = (
    "python3 -c 'import json, asyncio, subprocess'; bun -e 1; git --version; rg --version; curl --version; jq --version"
)
"""Run before a machine is saved: what these programs are made of is in every machine's memory then, and is shared."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a host's machines run on."""

    accelerator: Accelerator
    memory_mb: int
    jail: Jail


@dataclass(frozen=True, kw_only=True)
class Template:
    """A template that is ready for use. `memory` is its sealed memory; `last_stream` the agent's last in its life."""

    id: str
    image: Image
    folder: Path
    memory: int
    last_stream: int

    @property
    def kernel_head(self) -> Path:
        """The head of its kernel, of which a machine that is restored needs no more."""
        return self.folder / KERNEL_HEAD

    def open_devices(self) -> int:
        """Open the state of its devices, for one machine to load. Raises `OSError`."""
        return os.open(self.folder / DEVICES, os.O_RDONLY | os.O_CLOEXEC)

    def open_memory(self) -> int:
        """Open its memory anew, for one machine to map. Raises `OSError`."""
        return reopened(self.memory)

    def close(self) -> None:
        """Let its memory go, which lasts as long as a machine has it."""
        os.close(self.memory)


def template_key(image: Image, hardware: Hardware) -> str:
    """Return the digest of everything that a template must fit.

    The measured rate of the time stamp counter is rounded: it never comes out the same twice.
    """
    accelerator = hardware.accelerator
    rounded = dataclasses.replace(accelerator, tsc_khz=accelerator.tsc_khz // TSC_STEP_KHZ * TSC_STEP_KHZ)
    launch = Launch(
        name="template",
        kernel=image.kernel,
        initramfs=None,
        golden=image.golden,
        disk=None,
        accelerator=rounded,
        memory=Memory(descriptor=0, size_mb=hardware.memory_mb, shared=False),
        jail=hardware.jail,
        user=0,
        tap=0,
        incoming=0,
    )
    numbers = Descriptors(
        kernel=0, initramfs=None, golden=0, disk=None, memory=0, monitor=0, agent=0, tap=0, incoming=0
    )
    kernel = platform.release() if accelerator.kind is Acceleration.KVM else ""
    parts = [image.digest, hardware.jail.build, processor(), kernel, *arguments(launch, numbers), WARM]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def processor() -> str:
    """Return the host's processor and what it can do."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").split("\n\n")[0].splitlines()
    return "\n".join(line for line in lines if line.startswith(("model name", "flags")))


def find_template(cache: Path, key: str) -> str | None:
    """Return the id of the newest template of a key; None if there is none."""
    found = [folder for folder in template_folders(cache) if manifest_of(folder).get("key") == key]
    newest = max(found, key=lambda folder: (folder.stat().st_mtime_ns, folder.name), default=None)
    return newest.name if newest else None


def template_folders(cache: Path) -> list[Path]:
    """List the folders of the templates in a cache."""
    return sorted(path for path in (cache / TEMPLATES).glob("[!.]*") if path.is_dir())


def manifest_of(folder: Path) -> dict[str, object]:
    """Return what is recorded of a template; nothing if that is broken."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


@contextmanager
def using_template(cache: Path, template_id: str) -> Iterator[None]:
    """Keep a template from being removed while the body runs: each restore opens its files. Raises `Corrupt`."""
    folder = cache / TEMPLATES / template_id
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder, fcntl.LOCK_SH))
        except OSError as error:
            raise Corrupt("A template of machines is broken or gone.", internal=f"{folder}: {error}") from error
        yield


def load_template(cache: Path, template_id: str, image: Image) -> Template:
    """Bring a template's memory into this process; this blocks. Raises `Corrupt` if it is not there or not whole."""
    folder = cache / TEMPLATES / template_id
    last_stream = manifest_of(folder).get("last_stream")
    if type(last_stream) is not int or manifest_of(folder).get("image") != image.digest:
        raise Corrupt("A template of machines is broken or gone.", internal=str(folder))
    try:
        return Template(
            id=template_id,
            image=image,
            folder=folder,
            memory=load_memory(folder / MEMORY),
            last_stream=last_stream,
        )
    except OSError as error:
        raise Corrupt("A template of machines is broken or gone.", internal=f"{folder}: {error}") from error


def forget_templates(cache: Path, needed_keys: Collection[str], needed_ids: Collection[str]) -> None:
    """Remove the templates that nothing needs, and what hosts left that were killed in the middle of making one.

    A template of another key may be another host's, which runs on the same cache: what is in use stays.
    """
    newest = {key: find_template(cache, key) for key in needed_keys}
    for folder in template_folders(cache):
        if folder.name not in needed_ids and folder.name not in newest.values():
            with contextlib.suppress(OSError), locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(folder)
    for left in (cache / TEMPLATES).glob(f"{UNFINISHED}*"):
        if time.time() - left.stat().st_mtime > UNFINISHED_S:
            shutil.rmtree(left, ignore_errors=True)

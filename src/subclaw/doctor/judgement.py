"""What the facts mean: pure, one small function a subject."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from subclaw.doctor.facts import HostFacts
from subclaw.doctor.ports import PortHolder
from subclaw.machines.cgroups.places import Lack, Resource

GIB = 1024**3
DAY_S = 24 * 3600
MEMORY_LEAST_BYTES = 1 * GIB
MEMORY_GOOD_BYTES = 2 * GIB
STATE_LEAST_BYTES = 1 * GIB
STATE_GOOD_BYTES = 5 * GIB
IMAGE_BUILD_BYTES = 2 * GIB
"""What building the golden image needs in the cache while it runs."""

LIMITED = {
    Resource.MEMORY: "memory",
    Resource.CPU: "processor time",
    Resource.PROCESSES: "number of processes",
    Resource.DISK: "disk I/O",
}
UNIFIED = "boot with systemd.unified_cgroup_hierarchy=1 (Debian 12's default)"
LACKS = {
    Lack.NO_CONTROLLER: f"use Debian's kernel, without cgroup_disable in its command line, and {UNIFIED}",
    Lack.READ_ONLY: "run subclaw on the host itself, or in a container that may write /sys/fs/cgroup (privileged)",
    Lack.HELD: "run subclaw on the host itself, or move the processes of its container into groups below the uppermost",
    Lack.NO_DISK: "point SUBCLAW_HOME at a folder on ext4 or xfs",
    Lack.REFUSED: "the log of the host process has the kernel's reason",
}
"""What to do about each lack."""

SET_UP = "run `make setup` in the checkout"


class Level(StrEnum):
    """How bad a finding is: `problem` keeps subclaw, or machines, from working; `note` is good to know."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at: what was found, what it is for, and what to do (empty when all is well)."""

    level: Level
    what: str
    why: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What subclaw itself knows. `kvm_works` is the verdict of the last probe boot, None if there was none.

    `model_keys` holds the names of the keys that are set, never their values.
    """

    image_built: bool
    kvm_works: bool | None
    model_keys: Collection[str]


@dataclass(frozen=True, kw_only=True)
class Need:
    """A program that subclaw runs, the Debian package that has it, and what it is for."""

    program: str
    package: str
    purpose: str


NEEDS = (
    Need(program="qemu-system-x86_64", package="qemu-system-x86", purpose="runs the tenants' machines"),
    Need(program="postgres", package="postgresql", purpose="keeps every conversation, and hands out the work"),
    Need(program="caddy", package="caddy", purpose="serves the web chat and the tenants' sites"),
    Need(program="setpriv", package="util-linux", purpose="starts every process as its own unprivileged user"),
    Need(program="bwrap", package="bubblewrap", purpose="shuts each machine's QEMU into a jail"),
    Need(program="prlimit", package="util-linux", purpose="bounds what a jailed process may open"),
    Need(program="nft", package="nftables", purpose="keeps all that a machine sends to the egress gateway"),
    Need(program="mkfs.ext4", package="e2fsprogs", purpose="formats the tenants' disks"),
    Need(program="mmdebstrap", package="mmdebstrap", purpose="builds the golden image that machines start from"),
    Need(program="mkfs.erofs", package="erofs-utils", purpose="packs the golden image"),
    Need(program="cpio", package="cpio", purpose="packs what a machine boots first"),
)
PROGRAMS = tuple(need.program for need in NEEDS)
"""What to ask `gather` about."""


def examine(facts: HostFacts, setting: Setting) -> tuple[Finding, ...]:
    """Return a finding for each thing that subclaw needs of its host, in the order in which to mend them."""
    return (
        *_system(facts),
        _root(facts),
        *_programs(facts),
        _users(facts),
        *_importable(facts),
        *_kernel(facts),
        *_limits(facts),
        *_door(facts),
        _kvm(facts, setting),
        _memory(facts),
        *_disk(facts, setting),
        _image(setting),
        *_ports(facts),
        *_clock(facts),
        _model_keys(setting),
    )


def _system(facts: HostFacts) -> Iterator[Finding]:
    why = "subclaw is built and tested on Debian 12, x86_64, with its Python 3.11"
    if facts.is_debian_12 and facts.architecture == "x86_64" and facts.python >= (3, 11):
        yield Finding(level=Level.OK, what=f"{facts.system}, {facts.architecture}", why=why)
    if not facts.is_debian_12:
        yield Finding(level=Level.PROBLEM, what=f"this is {facts.system}", why=why, remedy="use a Debian 12 host")
    if facts.architecture != "x86_64":
        what = f"the processor is {facts.architecture}"
        yield Finding(level=Level.PROBLEM, what=what, why=why, remedy="use an x86_64 host")
    if facts.python < (3, 11):
        what = f"Python {facts.python[0]}.{facts.python[1]}"
        yield Finding(level=Level.PROBLEM, what=what, why=why, remedy="use Debian's own python3")


def _root(facts: HostFacts) -> Finding:
    why = "starting machines and changing to unprivileged users takes root; only the host process keeps it"
    if facts.is_root:
        return Finding(level=Level.OK, what="running as root", why=why)
    return Finding(level=Level.PROBLEM, what="not running as root", why=why, remedy="run it as root, or through sudo")


def _programs(facts: HostFacts) -> Iterator[Finding]:
    there = [need.program for need in NEEDS if facts.programs.get(need.program)]
    if there:
        yield Finding(level=Level.OK, what=f"programs: {', '.join(there)}", why="subclaw runs them")
    for need in NEEDS:
        if need.program not in there:
            yield Finding(
                level=Level.PROBLEM,
                what=f"{need.program} is missing",
                why=f"it {need.purpose}",
                remedy=f"{SET_UP}, or `apt-get install {need.package}`",
            )


def _users(facts: HostFacts) -> Finding:
    why = "each part of subclaw runs as a user of its own, so that one that is broken into cannot reach the others"
    if not facts.missing_users:
        return Finding(level=Level.OK, what="system users", why=why)
    what = f"system users are missing: {', '.join(facts.missing_users)}"
    return Finding(level=Level.PROBLEM, what=what, why=why, remedy=SET_UP)


def _importable(facts: HostFacts) -> Iterator[Finding]:
    why = "the control plane and the egress gateway run as system users, and must be able to read their own program"
    if facts.can_import:
        yield Finding(level=Level.OK, what="the system users can read subclaw", why=why)
    elif facts.can_import is False:
        what = "the system users cannot read subclaw"
        yield Finding(
            level=Level.PROBLEM, what=what, why=why, remedy=f"{SET_UP}: it puts a readable copy in /opt/subclaw"
        )


def _kernel(facts: HostFacts) -> Iterator[Finding]:
    if facts.has_seccomp and not facts.missing_namespaces:
        why = "machines are jailed with seccomp and namespaces"
        yield Finding(level=Level.OK, what=f"kernel {facts.kernel}: seccomp, namespaces", why=why)
    if not facts.has_seccomp:
        why = "QEMU is kept to the system calls it needs by seccomp"
        yield Finding(level=Level.PROBLEM, what="the kernel has no seccomp", why=why, remedy="use Debian's kernel")
    if facts.missing_namespaces:
        what = f"the kernel lacks namespaces: {', '.join(facts.missing_namespaces)}"
        why = "the golden image is built, and machines are jailed, in namespaces"
        yield Finding(level=Level.PROBLEM, what=what, why=why, remedy="use Debian's kernel")


def _limits(facts: HostFacts) -> Iterator[Finding]:
    if facts.limits is None:
        return
    why = "one machine must not use up what the host and the other machines need; without a limit, it runs all the same"
    places, missing = facts.limits.places, facts.limits.missing
    for version in (2, 1):
        bounded = [LIMITED[resource] for resource, place in places.items() if place.version == version]
        if bounded:
            what = f"each machine's {', '.join(bounded)} can be bounded (cgroup v{version})"
            yield Finding(level=Level.OK, what=what, why=why)
    if (disk := places.get(Resource.DISK)) is not None and disk.version == 1:
        what = "cgroup v1 bounds disk I/O in part: not what the kernel writes back later"
        yield Finding(level=Level.NOTE, what=what, why=why, remedy=UNIFIED)
    for lack in Lack:
        unbounded = [LIMITED[resource] for resource, reason in missing.items() if reason is lack]
        if unbounded:
            what = f"each machine's {', '.join(unbounded)} cannot be bounded: {lack.value}"
            yield Finding(level=Level.NOTE, what=what, why=why, remedy=LACKS[lack])


def _door(facts: HostFacts) -> Iterator[Finding]:
    why = "whatever a machine sends must reach the egress gateway or nothing: a tap and nftables' rules see to that"
    if facts.door_complaint:
        what = f"a machine's network cannot be made: {facts.door_complaint}"
        remedy = (
            "use Debian's kernel, with its modules tun, nf_tables and nf_conntrack, and run subclaw on the host itself"
        )
        # Without the program itself there is a finding that says so.
        if facts.programs.get("nft"):
            yield Finding(level=Level.PROBLEM, what=what, why=why, remedy=remedy)
    elif facts.door_complaint is not None:
        yield Finding(level=Level.OK, what="machines can have a network of their own", why=why)


def _kvm(facts: HostFacts, setting: Setting) -> Finding:
    why = "with KVM a machine runs at the processor's own speed; without, by emulation, several times slower"
    if not facts.has_kvm:
        remedy = "turn virtualisation on in the firmware, or in the cloud's settings; it works without, too"
        return Finding(level=Level.NOTE, what="no /dev/kvm: machines are emulated", why=why, remedy=remedy)
    if setting.kvm_works is None:
        what, remedy = "/dev/kvm is there, not tried yet", "nothing to do: the first machine tries it with a real boot"
        return Finding(level=Level.NOTE, what=what, why=why, remedy=remedy)
    if not setting.kvm_works:
        what = "/dev/kvm opens, but a machine did not boot with it: machines are emulated"
        remedy = "nested virtualisation is often incomplete: ask the host's provider; it works without, too"
        return Finding(level=Level.NOTE, what=what, why=why, remedy=remedy)
    return Finding(level=Level.OK, what="KVM, tried with a real boot", why=why)


def _memory(facts: HostFacts) -> Finding:
    what = f"{_gib(facts.memory_bytes)} of memory, {_gib(facts.memory_available_bytes)} available"
    why = "subclaw itself takes about half a GiB, and each machine that is awake a few hundred MiB"
    if facts.memory_bytes < MEMORY_LEAST_BYTES:
        return Finding(
            level=Level.PROBLEM, what=what, why=why, remedy=f"give the host {_gib(MEMORY_GOOD_BYTES)} or more"
        )
    if facts.memory_available_bytes < MEMORY_LEAST_BYTES or facts.memory_bytes < MEMORY_GOOD_BYTES:
        return Finding(level=Level.NOTE, what=what, why=why, remedy="few machines can be awake at once: add memory")
    return Finding(level=Level.OK, what=what, why=why)


def _disk(facts: HostFacts, setting: Setting) -> Iterator[Finding]:
    what = f"{_gib(facts.state_free_bytes)} free for {facts.state_folder}"
    why = "the database, the tenants' disks and their sites are kept there"
    remedy = "make room, or point SUBCLAW_HOME at a larger disk"
    free = facts.state_free_bytes
    level = Level.PROBLEM if free < STATE_LEAST_BYTES else Level.NOTE if free < STATE_GOOD_BYTES else Level.OK
    yield Finding(level=level, what=what, why=why, remedy="" if level is Level.OK else remedy)
    if not setting.image_built and facts.cache_free_bytes < IMAGE_BUILD_BYTES:
        what = f"{_gib(facts.cache_free_bytes)} free for {facts.cache_folder}"
        why = f"building the golden image takes {_gib(IMAGE_BUILD_BYTES)} there for a while"
        yield Finding(level=Level.PROBLEM, what=what, why=why, remedy="make room")


def _image(setting: Setting) -> Finding:
    why = "every machine starts from it"
    if setting.image_built:
        return Finding(level=Level.OK, what="the golden image is built", why=why)
    return Finding(level=Level.PROBLEM, what="the golden image is not built", why=why, remedy=SET_UP)


def _ports(facts: HostFacts) -> Iterator[Finding]:
    why = "the web chat and the tenants' sites are served there"
    held = {holder.port: holder for holder in facts.port_holders}
    for port in facts.ports:
        holder = held.get(port)
        if holder is None:
            yield Finding(level=Level.OK, what=f"port {port} is free", why=why)
        elif holder.user.startswith("subclaw"):
            yield Finding(level=Level.OK, what=f"port {port} is served by subclaw", why=why)
        else:
            remedy = "stop that program, or set SUBCLAW_PORT to a free port"
            what = f"port {port} is taken by {_named(holder)}"
            yield Finding(level=Level.PROBLEM, what=what, why=why, remedy=remedy)


def _clock(facts: HostFacts) -> Iterator[Finding]:
    why = "certificates, webhook signatures and reminders depend on the right time"
    if facts.now_s < facts.product_from_s - DAY_S:
        what = "the clock is behind: it is earlier than subclaw's own files"
        yield Finding(
            level=Level.PROBLEM, what=what, why=why, remedy="set the clock (apt-get install systemd-timesyncd)"
        )
    elif not facts.clock_is_kept:
        remedy = "if the host's provider does not: apt-get install systemd-timesyncd"
        yield Finding(level=Level.NOTE, what="nothing on this host keeps the clock right", why=why, remedy=remedy)
    else:
        yield Finding(level=Level.OK, what="the clock is kept right", why=why)


def _model_keys(setting: Setting) -> Finding:
    why = "a model's provider is called with it; only the egress gateway can open it"
    if setting.model_keys:
        return Finding(level=Level.OK, what=f"model keys set: {', '.join(sorted(setting.model_keys))}", why=why)
    what = "no model key: the built-in demo model answers, and says so"
    remedy = "set OPENAI_API_KEY, ANTHROPIC_API_KEY or GOOGLE_API_KEY and start again"
    return Finding(level=Level.NOTE, what=what, why=why, remedy=remedy)


def _named(holder: PortHolder) -> str:
    if holder.program is None:
        return f"a program of the user {holder.user}"
    return f"{holder.program} (process {holder.pid}, user {holder.user})"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB"

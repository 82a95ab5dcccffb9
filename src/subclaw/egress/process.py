"""What the gateway asks of its own process."""

import resource

_SPARE_DESCRIPTORS = 128


def forbid_core_dumps() -> None:
    """Keep the opened secrets out of core files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def room_for_connections(connections: int) -> None:
    """Raise this process's limit of open files so that `connections` clients and their upstreams fit, if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + _SPARE_DESCRIPTORS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))

"""`subclaw serve`: one process of a box."""

import gc

from subclaw.config import Settings
from subclaw.core.errors import Invalid
from subclaw.logs import log_to_stderr

YOUNG_OBJECTS = 20_000
"""After how many new objects those are looked through for what holds itself: a turn makes some thousands."""


async def serve_process(process: str, settings: Settings, number: int) -> None:
    """Run a process until cancelled; `number` says which of its kind. Errors: `Invalid` for a name that is none.

    Each imports its own parts alone: the gateway and the host are half as large without those of the others.
    """
    log_to_stderr()
    match process, settings.port:
        case "egress", _:
            from subclaw.app.egress import run_egress

            _leave_imports_alone()
            await run_egress(settings, number)
        case "host", _:
            from subclaw.app.host import run_host

            _leave_imports_alone()
            await run_host(settings)
        case "web", int(port):
            from subclaw.app.web import run_web

            _leave_imports_alone()
            await run_web(settings, port)
        case "worker", int(port):
            from subclaw.app.worker import run_worker

            _leave_imports_alone()
            await run_worker(settings, port)
        case _:
            raise Invalid("subclaw serve takes web, worker, egress or host, and SUBCLAW_PORT. `subclaw up` runs them.")


def _leave_imports_alone() -> None:
    """Have the collector of garbage never look again at what was imported: hundreds of thousands of objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)

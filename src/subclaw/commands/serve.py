"""`subclaw serve`: one process of a box."""

from subclaw import app
from subclaw.config import Settings
from subclaw.core.errors import Invalid
from subclaw.logs import log_to_stderr


async def serve_process(process: str, settings: Settings, number: int) -> None:
    """Run a process until cancelled; `number` says which of its kind. Errors: `Invalid` for a name that is none."""
    log_to_stderr()
    match process, settings.port:
        case "egress", _:
            await app.run_egress(settings, number)
        case "host", _:
            await app.run_host(settings)
        case "web", int(port):
            await app.run_web(settings, port)
        case "worker", int(port):
            await app.run_worker(settings, port)
        case _:
            raise Invalid("subclaw serve takes web, worker, egress or host, and SUBCLAW_PORT. `subclaw up` runs them.")

"""Commands on a tenant's machine: what they are given in place of secrets, and how their end is told."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from subclaw.core.machine import ENVIRONMENT_LIMIT, ENVIRONMENT_LIMIT_BYTES, Command, CommandResult, Ended
from subclaw.core.tenant import TenantId

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})

Placeholders = Callable[[TenantId], Awaitable[Mapping[str, str]]]
"""Returns what a tenant's commands have in place of secrets, by the names of environment variables."""


def fitting(variables: Mapping[str, str], *, first: Mapping[str, str] = NO_VARIABLES) -> dict[str, str]:
    """Return the variables that a command can be given, the first by their names if they are too many.

    Those of `first` it is given whatever the others are, of which none takes the name of one of them.
    """
    fit = dict(first)
    left_bytes = ENVIRONMENT_LIMIT_BYTES - sum(len(name) + len(value) for name, value in first.items())
    for name in sorted(variables.keys() - first.keys()):
        size_bytes = len(name) + len(variables[name])
        if size_bytes <= left_bytes and len(fit) < ENVIRONMENT_LIMIT:
            fit[name] = variables[name]
            left_bytes -= size_bytes
    return fit


def describe_command(result: CommandResult, command: Command) -> str:
    """Say what became of a command: its output first, then its end if there is more to say than success."""
    text = result.output.decode("utf-8", "replace")
    left_out = result.output_bytes - len(result.output)
    notes = [f"{left_out:,} of {result.output_bytes:,} bytes of output were left out in the middle"] if left_out else []
    if result.ended is Ended.TIMED_OUT:
        notes.append(f"ended after {command.timeout_s:g} s, because it had not finished")
    elif result.exit_status:
        notes.append(f"exit status {result.exit_status}")
    elif not text:
        notes.append("done, no output")
    return "\n".join([*([text.rstrip("\n")] if text else []), *(f"[{note}]" for note in notes)])

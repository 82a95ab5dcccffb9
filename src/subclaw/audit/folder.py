"""The folders of the audit's own agents."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from subclaw.business.package import read_package
from subclaw.core.business import AUDIT_PREFIX, AgentPackage

AUDITED = f"{AUDIT_PREFIX}isolation"
STRANGE = f"{AUDIT_PREFIX}stranger"
"""Another agent, of whose owner's key nothing of the first one's customers may be seen."""


def audited_agent(host: str, port: int, more: dict[str, str]) -> AgentPackage:
    """Return the agent whose tools ask the service at a host and port; `more` are further files of its folder."""
    own = {path: entry.read_bytes() for path, entry in _files(files("subclaw.audit") / "agent", "")}
    own |= {path: text.encode() for path, text in more.items()}
    for word, value in (("NAME", AUDITED), ("HOST", host), ("PORT", str(port))):
        own = {path: content.replace(word.encode(), value.encode()) for path, content in own.items()}
    return read_package(own)


def strange_agent() -> AgentPackage:
    """Return the other agent, which has no tools."""
    return read_package(
        {"agent.toml": f'id = "{STRANGE}"\nmodel = "audit"\n'.encode(), "instructions.md": b"You say nothing."}
    )


def _files(folder: Traversable, above: str) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _files(entry, f"{above}{entry.name}/")
        elif entry.is_file():
            yield f"{above}{entry.name}", entry

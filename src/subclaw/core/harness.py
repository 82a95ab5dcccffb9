"""A harness: what a tenant's house makes of its agent, read anew for each turn.

Whatever is in the files does no harm: where one cannot be used, the last version that could be serves in its place, and
the agent is told.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from subclaw.core.errors import Invalid
from subclaw.core.house import MEMORY, SYSTEM, TOOLS, StoredFile, fingerprint
from subclaw.core.service_words import broken_words
from subclaw.core.skill import Skill, is_skill_path, parse_skill
from subclaw.core.tenant_tool import TenantTool, ToolsRead, parse_tools
from subclaw_guest.declared import BROKEN, Declared, parse_services
from subclaw_guest.declared import FILE as SERVICES

RELOAD_HARNESS = "reload_harness"
"""The tool by which an agent has its house read anew in the middle of a turn."""

SYSTEM_LIMIT_CHARACTERS = 20_000
MEMORY_LIMIT_CHARACTERS = 8_000
"""How much of its memory an agent is told with each prompt: the beginning."""

PROBLEMS_LIMIT = 10
"""Most problems that the agent is told of at a time."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Harness:
    """What an agent is told of itself, its tenant's tools and skills, and what it keeps of its person.

    `problems` are in words for the agent. `good` are the paths of the files that could be used as they are.
    """

    text: str
    memory: str
    tools: tuple[TenantTool, ...]
    skills: tuple[Skill, ...]
    problems: tuple[str, ...]
    good: frozenset[str]


def read_harness(files: Sequence[StoredFile], defaults: Mapping[str, bytes], built_in: Collection[str]) -> Harness:
    """Return what a house makes of an agent. `built_in` are the names of tools that no tenant's tool may have.

    A default that the tenant has not touched is not among `files`. One that was removed is, without content; only
    `system.md` then comes back.
    """
    known = {path: StoredFile(path=path, content=content) for path, content in defaults.items()} | {
        file.path: file for file in files
    }
    problems: dict[str, tuple[str, ...]] = {}

    def used(path: str, parse: Callable[[bytes], T]) -> T | None:
        value, problem = _newest_usable(known[path], parse) if path in known else (None, "")
        if problem:
            problems[path] = (problem,)
        return value

    text = used(SYSTEM, _system_text)
    memory = used(MEMORY, _memory_text)
    tools = used(TOOLS, lambda content: _tools(content, built_in))
    if tools is not None and tools.problems:
        problems[TOOLS] = (*problems.get(TOOLS, ()), *tools.problems)
    services = used(SERVICES, _services)
    if services is not None and services.problems:
        problems[SERVICES] = (*problems.get(SERVICES, ()), *services.problems)
    if broken := used(BROKEN, partial(_text, BROKEN)):
        problems[BROKEN] = broken_words(broken)
    skills = [used(path, partial(_skill, path)) for path in sorted(known) if is_skill_path(path)]
    return Harness(
        text=_system_text(defaults[SYSTEM]) if text is None else text,
        memory=memory or "",
        tools=(tools and tools.tools) or (),
        skills=tuple(skill for skill in skills if skill is not None),
        problems=tuple(words for said in problems.values() for words in said)[:PROBLEMS_LIMIT],
        good=frozenset(path for path, file in known.items() if file.content is not None and path not in problems),
    )


@dataclass(frozen=True, kw_only=True)
class NewerDefault:
    """A default that is newer than the one from which a tenant's own file was made: that file's text, and its own."""

    path: str
    own: str
    default: str


def newer_defaults(
    files: Sequence[StoredFile], defaults: Mapping[str, bytes], laid: Mapping[str, str], shown: Mapping[str, str]
) -> tuple[NewerDefault, ...]:
    """Return the defaults that a tenant should be shown, for each file that it has made its own.

    By fingerprints, they are neither what was laid in its machine nor what it was shown last.
    """
    own = {file.path: file.content for file in files if file.content is not None and file.path in defaults}
    return tuple(
        NewerDefault(path=path, own=content.decode("utf-8", "replace"), default=defaults[path].decode())
        for path, content in own.items()
        if fingerprint(defaults[path]) not in (laid.get(path), shown.get(path))
    )


def _newest_usable(file: StoredFile, parse: Callable[[bytes], T]) -> tuple[T | None, str]:
    """Return what the newest version of a file says that can be used, and why that is not the present one, if so."""
    problem = f"{file.path}: {file.problem}" if file.problem else ""
    for content in (file.content, file.served):
        if content is not None:
            try:
                return parse(content), problem
            except Invalid as error:
                problem = problem or error.public
    return None, problem


def _system_text(content: bytes) -> str:
    text = _text(SYSTEM, content)
    if not text:
        raise Invalid(f"{SYSTEM} is empty.")
    if len(text) > SYSTEM_LIMIT_CHARACTERS:
        raise Invalid(f"{SYSTEM} has {len(text):,} characters; at most {SYSTEM_LIMIT_CHARACTERS:,} are read.")
    return text


def _memory_text(content: bytes) -> str:
    text = _text(MEMORY, content)
    if len(text) <= MEMORY_LIMIT_CHARACTERS:
        return text
    left_out = len(text) - MEMORY_LIMIT_CHARACTERS
    return f"{text[:MEMORY_LIMIT_CHARACTERS]}\n[{left_out:,} characters more are in the file: shorten it]"


def _text(path: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig").replace("\0", "").strip()
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} is not UTF-8, from byte {error.start:,} on.") from error


def _tools(content: bytes, built_in: Collection[str]) -> ToolsRead:
    read = parse_tools(content, built_in)
    if read.tools is None:
        raise Invalid(" ".join(read.problems))
    return read


def _services(content: bytes) -> Declared:
    declared = parse_services(content)
    if declared.services is None:
        raise Invalid(" ".join(declared.problems))
    return declared


def _skill(path: str, content: bytes) -> Skill:
    skill = parse_skill(path, content)
    if isinstance(skill, str):
        raise Invalid(skill)
    return skill

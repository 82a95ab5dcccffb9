"""A skill: a markdown file in a house by which an agent knows how to do something. Only a line of it is in the prompt.

Two shapes are read. `skills/NAME/SKILL.md` begins with YAML between lines of `---`, of which `name`, `description` and
`when_to_use` count: the agent-skill format (agentskills.io) of OpenClaw, Hermes and Claude. In a plain `skills/NAME.md`
the first heading is the name, and the first paragraph says when to use it. Either shape may be in either place.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from subclaw.core.house import FILE_LIMIT_BYTES, HOUSE, SKILLS

SKILL_FILE = "SKILL.md"
SKILLS_LIMIT = 30
LINES_LIMIT_CHARACTERS = 4_000
NAME_LIMIT_CHARACTERS = 64
WHEN_LIMIT_CHARACTERS = 200
FRONT_LIMIT_CHARACTERS = 16_384
FRONT_DEPTH_LIMIT = 32
NULLS = ("", "~", "null")

_FRONT = re.compile(r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_RULE = re.compile(r"---[ \t]*(?:\n|\Z)")
_FIELD = re.compile(r"^(name|description|when_to_use):[ \t]+([^\s|>&*!{\[].*)$", re.MULTILINE)
_HEADING = re.compile(r"#{1,6}[ \t]+")
_NOT_KEPT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\s]+")


@dataclass(frozen=True, kw_only=True)
class Skill:
    """What the prompt says of a skill, in one line. `path` is below `HOUSE`; the file itself is read on demand."""

    name: str
    when: str
    path: str


def is_skill_path(path: str) -> bool:
    """Tell whether a path below `HOUSE` is a skill's, not that of a file which a skill speaks of."""
    match path.split("/"):
        case [folder, file]:
            return folder == SKILLS and file.endswith(".md")
        case [folder, _, file]:
            return folder == SKILLS and file == SKILL_FILE
    return False


def parse_skill(path: str, content: bytes) -> Skill | str:
    """Read a skill; return what is wrong with it, in words for the agent, if it cannot be used."""
    if not path.isprintable():
        return f"{path!a} is no name for a skill's file: use letters, digits and hyphens."
    if len(content) > FILE_LIMIT_BYTES:
        return f"{path} has {len(content):,} bytes; at most {FILE_LIMIT_BYTES:,} are read."
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    except UnicodeDecodeError:
        return f"{path} is not UTF-8."
    try:
        front, body = _parts(text)
        fields = _front_fields(front)
    except _Refused as error:
        return f"{path}: what stands between the lines of --- {error}."
    heading, paragraph = _heading_and_paragraph(body)
    name = _line(fields.get("name") or heading or _stem(path), NAME_LIMIT_CHARACTERS) or path
    said = [fields.get("description", ""), fields.get("when_to_use", "")]
    when = _line(" ".join(filter(None, said)) or paragraph, WHEN_LIMIT_CHARACTERS)
    if not when:
        return f"{path} does not say when to use it: add a description between lines of --- at its beginning."
    return Skill(name=name, when=when, path=path)


def skill_lines(skills: Sequence[Skill]) -> str:
    """List skills for the prompt, a line each in their order; those that are too many are counted. Empty for none."""
    lines: list[str] = []
    left_characters = LINES_LIMIT_CHARACTERS - len(_more(len(skills)))
    for skill in skills[:SKILLS_LIMIT]:
        line = f"- {skill.name}: {skill.when} ({HOUSE}/{skill.path})"
        left_characters -= len(line) + 1
        if left_characters < 0:
            break
        lines.append(line)
    more = len(skills) - len(lines)
    return "\n".join([*lines, *([_more(more)] if more else [])])


class _Refused(Exception):
    """Front matter that is not read; says why."""


def _more(count: int) -> str:
    return f"- {count:,} more: list {HOUSE}/{SKILLS}"


def _parts(text: str) -> tuple[str, str]:
    """Return what stands between the lines of --- at the beginning, and the rest. Raises `_Refused`."""
    if front := _FRONT.match(text):
        return front[1], text[front.end() :]
    if _RULE.match(text):
        raise _Refused("does not end: a second line of --- is missing")
    return "", text


def _front_fields(text: str) -> dict[str, str]:
    """Return the outermost fields of some YAML whose values are plain text. Raises `_Refused`.

    Its events are read and no objects are made of them, so there is nothing in it that could do or become anything.
    """
    if len(text) > FRONT_LIMIT_CHARACTERS:
        raise _Refused(f"is longer than {FRONT_LIMIT_CHARACTERS:,} characters")
    fields: dict[str, str] = {}
    try:
        for key, value in _pairs(text):
            fields.setdefault(key.lower().replace("-", "_"), value)
    except yaml.YAMLError as error:
        # Such as `description: Use when: ...`, which others who read this format take as it is meant.
        fields = dict(_FIELD.findall(text))
        if "description" not in fields:
            raise _Refused(f"is not YAML: {_words(error)}") from error
    return fields


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    depth, is_key, key = 0, True, ""
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise _Refused("refers to another part of itself")
        if depth == 0 and isinstance(event, yaml.NodeEvent) and not isinstance(event, yaml.MappingStartEvent):
            raise _Refused("is no list of fields, as name: and description:")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > FRONT_DEPTH_LIMIT:
                raise _Refused("is nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            key, is_key = ("", is_key) if depth != 1 else ("", not is_key)
        elif isinstance(event, yaml.ScalarEvent) and depth == 1:
            if is_key:
                key = event.value
            elif not (event.implicit[0] and event.value in NULLS):
                yield key, event.value
            is_key = not is_key


def _words(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{error.problem or error.context}, in line {error.problem_mark.line + 2}"
    return "it has characters that cannot be"


def _heading_and_paragraph(text: str) -> tuple[str, str]:
    """Return the first heading of some markdown, and the first paragraph, each empty if there is none."""
    heading, paragraph = "", list[str]()
    for line in map(str.strip, text.split("\n")):
        if _HEADING.match(line):
            if paragraph:
                break
            heading = heading or line.strip("# ")
        elif line:
            paragraph.append(line)
        elif paragraph:
            break
    return heading, " ".join(paragraph)


def _stem(path: str) -> str:
    folder, _, file = path.rpartition("/")
    return folder.rpartition("/")[2] if file == SKILL_FILE else file.removesuffix(".md")


def _line(text: str, limit_characters: int) -> str:
    line = _NOT_KEPT.sub(" ", text).strip()
    return line if len(line) <= limit_characters else f"{line[: limit_characters - 1].rstrip()}…"

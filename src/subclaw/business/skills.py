"""The skills of an agent's folder: a line of each is in the prompt, and the file is read on demand, on the host."""

from collections.abc import Mapping
from typing import Any

from subclaw.business.lines import wrong
from subclaw.core.errors import NotFound
from subclaw.core.skill import SKILLS_LIMIT, Skill, is_skill_path, parse_skill
from subclaw.core.tool import Caller
from subclaw.tools.toolbox import Tool, define

READ_SKILL = "read_skill"


def read_skills(files: Mapping[str, bytes]) -> tuple[Skill, ...]:
    """Return the skills of a folder, by path. Errors: `Invalid`."""
    found: dict[str, Skill] = {}
    for path in sorted(filter(is_skill_path, files)):
        skill = parse_skill(path, files[path])
        if isinstance(skill, str):
            raise wrong(path, 1, f"This is no skill: {skill.rstrip('.')}.", "Begin it with a heading and a paragraph.")
        if other := found.get(skill.name):
            raise wrong(path, 1, f"{skill.name!r} is in {other.path}, too.", "Give one of the two another name.")
        found[skill.name] = skill
        if len(found) > SKILLS_LIMIT:
            raise wrong(path, 1, f"There are more than {SKILLS_LIMIT} skills.", "Put some of them together.")
    return tuple(found.values())


def skill_lines(skills: tuple[Skill, ...]) -> str:
    """Return what the prompt says of the skills: nothing if there are none."""
    if not skills:
        return ""
    lines = "\n".join(f"- {skill.name}: {skill.when}" for skill in skills)
    return f"Read one of these with {READ_SKILL} before you do what it is about:\n{lines}"


def skill_tools(files: Mapping[str, bytes], skills: tuple[Skill, ...]) -> tuple[Tool, ...]:
    """Return the tool by which skills are read: none if there are none. It reads the folder, and nothing else."""
    if not skills:
        return ()
    texts = {skill.name: files[skill.path].decode("utf-8-sig") for skill in skills}

    async def read_skill(caller: Caller, arguments: Mapping[str, Any]) -> str:
        name = arguments["skill"]
        if name not in texts:
            raise NotFound(f"There is no skill {name[:64]!r}. There are: {', '.join(texts)}.")
        return texts[name]

    names = {"type": "string", "description": "The skill's name.", "enum": list(texts)}
    definition = define(READ_SKILL, "Read how something is done here.", idempotent=True, skill=names)
    return (Tool(definition=definition, perform=read_skill),)

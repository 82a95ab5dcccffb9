"""Skills: folders with a `SKILL.md`, which load as they are, and the small text files beside it."""

import re
from collections.abc import Collection

from subclaw.core.house import SKILLS
from subclaw.harness.imports.draft import Draft

_SKILL = re.compile(r"(?P<folder>(?:.+/)?(?P<name>[^/]+))/SKILL\.md")


def put_skills(draft: Draft, *, below: Collection[str], shipped: Collection[str] = (), program: str = "") -> None:
    """Put the skills that lie in the folders `below` into the house, but for those that were `shipped` with a program.

    A file that several skills' folders hold belongs to the innermost. All skills come before all other files of theirs.
    """
    found = sorted(path for path in draft.found if path.startswith(tuple(f"{folder}/" for folder in below)))
    folders = {match["folder"]: match["name"] for path in found if (match := _SKILL.fullmatch(path))}
    owners = {path: owner for path in found if (owner := _owner(path, folders))}
    theirs = [path for path, owner in owners.items() if folders[owner] in shipped]
    count = len({owners[path] for path in theirs})
    draft.leave_out_all(theirs, f"they come with {program}, and are not the person's", named=f"{count} skills")
    own = [path for path in owners if path not in set(theirs)]
    for path in sorted(own, key=lambda path: path != f"{owners[path]}/SKILL.md"):
        if (text := draft.text(path)) is not None:
            draft.put(f"{SKILLS}/{folders[owners[path]]}{path[len(owners[path]) :]}", text, sources=[path])


def _owner(path: str, folders: Collection[str]) -> str:
    """Return the skill's folder that a file belongs to; "" if it is in none."""
    steps = path.split("/")
    inside = ("/".join(steps[:count]) for count in range(len(steps) - 1, 0, -1))
    return next((folder for folder in inside if folder in folders), "")

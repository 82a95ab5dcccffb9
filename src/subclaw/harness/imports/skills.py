"""Skills: folders with a `SKILL.md`, which load as they are, and the small text files beside it."""

import re
from collections.abc import Collection, Sequence

from subclaw.core.house import SKILLS
from subclaw.harness.imports.draft import Draft

_SKILL = re.compile(r"(?P<folder>(?:.+/)?(?P<name>[^/]+))/SKILL\.md")


def put_skills(draft: Draft, *, below: Sequence[str], shipped: Collection[str] = (), program: str = "") -> None:
    """Put the skills that lie in the folders `below` into the house, but for those that were `shipped` with a program.

    Of two with one name, that in the earlier folder is taken. A file that several skills' folders hold belongs to the
    innermost. All skills come before all other files of theirs.
    """
    ranked = [
        (rank, path) for rank, folder in enumerate(below) for path in draft.found if path.startswith(f"{folder}/")
    ]
    found = [path for _, path in sorted(ranked)]
    names = {match["folder"]: match["name"] for path in found if (match := _SKILL.fullmatch(path))}
    owners = {path: owner for path in found if (owner := _owner(path, names))}
    theirs = [path for path, owner in owners.items() if names[owner] in shipped]
    named = f"{len({owners[path] for path in theirs})} skills of {program}"
    draft.leave_out_all(theirs, "they come with it, and are not the person's", named=named)
    taken: dict[str, str] = {}
    for folder, name in names.items():
        taken.setdefault(name, folder)
    own = [path for path in owners if names[owners[path]] not in shipped]
    for path in sorted(own, key=lambda path: path != f"{owners[path]}/SKILL.md"):
        folder = owners[path]
        if taken[names[folder]] != folder:
            draft.leave_out(path, f"there is another skill of this name in {taken[names[folder]]}")
        elif (text := draft.text(path)) is not None:
            draft.put(f"{SKILLS}/{names[folder]}{path[len(folder) :]}", text, sources=[path])


def _owner(path: str, folders: Collection[str]) -> str:
    """Return the skill's folder that a file belongs to; "" if it is in none."""
    steps = path.split("/")
    inside = ("/".join(steps[:count]) for count in range(len(steps) - 1, 0, -1))
    return next((folder for folder in inside if folder in folders), "")

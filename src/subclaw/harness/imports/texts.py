"""The two texts of a house that are made of several files: what an agent is told of itself, and its memory."""

from functools import cache

from subclaw.core.house import FILE_LIMIT_BYTES, MEMORY, SYSTEM
from subclaw.harness.defaults import default_files
from subclaw.harness.imports.draft import Draft, fitting

HEADINGS_ROOM_BYTES = 1_024
"""What is left free in a file for the headings that are put between its parts."""

NOTES_ROOM_BYTES = 16 * 1024
"""How much memory may have in all with notes of single days in it: it is part of every prompt."""


def put_system(draft: Draft, sources: list[str], *, origin: str) -> None:
    """Make `system.md`: our default text, whose manners and tools must stay, then each of `sources` that is there."""
    default = default_system()
    pages = [(path, page) for path in sources if (page := draft.page(path))]
    room_bytes = FILE_LIMIT_BYTES - HEADINGS_ROOM_BYTES - len(default.encode())
    kept = fitting(draft, pages, room_bytes=room_bytes, target=SYSTEM)
    if kept:
        draft.put(SYSTEM, compose_system(default, kept, origin=origin), sources=[path for path, _ in kept])


def compose_system(default: str, pages: list[tuple[str, str]], *, origin: str) -> str:
    """Return what an agent is told of itself: the default text, then pages (name and text) that came from elsewhere."""
    intro = (
        f"# Who you were before\n\nThe rest comes from {origin}. Be that person, with the machine and the tools that "
        "you have here: where it speaks of other tools, files or commands, do the same thing with yours."
    )
    return "\n\n".join([default, intro, *(f"## {name}\n\n{text}" for name, text in pages)]) + "\n"


def put_memory(draft: Draft, sources: list[str], notes: list[str], *, entries: str = "") -> None:
    """Make `memory.md`: each of `sources`, then the newest of `notes`, which are of single days, oldest first.

    `entries` is what divides a source into entries, if it is not an empty line.
    """
    pages = [(path, page) for path in sources if (page := draft.page(path))]
    pages = [(path, page.replace(entries, "\n\n")) for path, page in pages] if entries else pages
    kept = fitting(draft, pages, room_bytes=FILE_LIMIT_BYTES - HEADINGS_ROOM_BYTES, target=MEMORY)
    room_bytes = NOTES_ROOM_BYTES - sum(len(text.encode()) for _, text in kept)
    newest = [(path, page) for path in reversed(notes) if (page := draft.page(path))]
    kept += reversed(_before_full(draft, newest, room_bytes))
    if kept:
        text = "\n\n".join(f"## {path}\n\n{text}" for path, text in kept) + "\n"
        draft.put(MEMORY, text, sources=[path for path, _ in kept])


def _before_full(draft: Draft, pages: list[tuple[str, str]], room_bytes: int) -> list[tuple[str, str]]:
    """Return pages until there is no more room: what is older than one that was left out is left out too."""
    for number, (_, text) in enumerate(pages):
        room_bytes -= len(text.encode())
        if room_bytes < 0:
            for path, _ in pages[number:]:
                draft.leave_out(path, f"older notes of single days have no room in {MEMORY}, which is in every prompt")
            return pages[:number]
    return pages


@cache
def default_system() -> str:
    """Return the default `system.md`."""
    return default_files()[SYSTEM].decode().strip()

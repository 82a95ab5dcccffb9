"""Files that go out: which ones an answer links to, what becomes of those links, and the port by which they are taken.

An agent sends a file of its machine by linking to it, as it would in any Markdown: `![chart](chart.png)` or
`[report](~/report.pdf)`. Where a channel cannot send a file, the person gets a link to it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, unquote

from subclaw.core.attachment import safe_name
from subclaw.core.channel import Address
from subclaw.core.machine import HOME
from subclaw.core.manners import AnswerCut, AnswerEvent, AnswerSentBack
from subclaw.core.tenant import TenantId

FILES_LIMIT = 10
FILES_LIMIT_BYTES = 25 * 1024 * 1024
"""Most files of one reply, and most bytes that they have together."""

KEPT_DAYS = 30
KEPT_LIMIT_BYTES = 200 * 1024 * 1024
"""How long a file is kept for whoever has the link to it; of one tenant at most so much, the newest."""

UPLOAD_LIMIT_BYTES = 15 * 1024 * 1024
"""Largest file that a channel uploads: the egress gateway passes 16 MB on, form and all."""

FILES_PATH = "/files"
"""Where files are in the web process."""

TITLE_LIMIT_CHARACTERS = 100

_CODE = re.compile(
    r"^ {0,3}(?:(`{3,})[^`\n]*|(~{3,})[^\n]*)\n.*?(?:^ {0,3}(?:\1|\2)[`~]*[ \t]*$|\Z)"
    r"|(?<!`)(`++).{1,4000}?(?<!`)\3(?!`)",
    re.M | re.S,
)
_LINK = re.compile(
    r"!?\[(?P<title>[^\[\]\n]{0,300})\]\([ \t]*<?(?P<target>(?:[^()<>\n]|\([^()<>\n]*\)){1,1000}?)>?"
    r'(?:[ \t]+"[^"\n]*")?[ \t]*\)'
)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//|#|\?|www\.", re.IGNORECASE)
_ITS_OWN = "file://"
_TOO_MANY_BREAKS = re.compile(r"(?:[ \t]*\n){3,}")
_END_OF_LINE_SPACE = re.compile(r"[ \t]+$", re.M)


@dataclass(frozen=True, kw_only=True)
class OutgoingFile:
    """A file that is kept to be sent. Whoever knows its `id` may have it: it is random, and good for `KEPT_DAYS`.

    `title` is what the agent calls it, `media_type` what it is by its content.
    """

    id: str
    name: str
    title: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class FileTaken:
    """What came of a path that an answer links to: the file, kept; or, without one, the `problem` in words."""

    path: str
    file: OutgoingFile | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class FilesTaken:
    """The files that an answer links to were taken from the machine, or could not be: each, in order."""

    taken: tuple[FileTaken, ...]


class TakesFiles(Protocol):
    """Where files that are to go out are taken from the machine and kept."""

    async def take(self, tenant_id: TenantId, to: Address, wanted: Mapping[str, str]) -> FilesTaken:
        """Take files, their titles by their paths, to be sent to an address. What goes wrong is told in words.

        Errors: `Unavailable` if the database is lost.
        """
        ...


def linked_files(text: str) -> dict[str, str]:
    """Return the files of the machine that a text links to, with their titles, in order. Code is not looked at."""
    wanted: dict[str, str] = {}
    for match in _links(text):
        wanted.setdefault(_path(match["target"]), _title(match))
    return wanted


def first_file_link(text: str) -> int | None:
    """Return where in a text the first link to a file of the machine begins; None if there is none."""
    return next((match.start() for match in _links(text)), None)


def problem_of(path: str) -> str:
    """Return in words why a path cannot be that of a file that goes out; nothing if it can."""
    if not path.startswith(f"{HOME}/"):
        return f"only files in {HOME} can be sent, and links begin with https://"
    return ""


def mend_links(answer: str, taken: FilesTaken, *, may_send_back: bool) -> AnswerEvent | None:
    """Return what is to happen to an answer that links to files which cannot be sent; None if there are none."""
    problems = {one.path: one.problem for one in taken.taken if one.file is None}
    missing = [f"{path}: {problems[path]}" for path in linked_files(answer) if path in problems]
    if not missing:
        return None
    told = "; ".join(missing)
    if may_send_back:
        words = f"Your last answer was not shown. It links to what cannot be sent ({told})."
        return AnswerSentBack(
            request=f"{words} Put that right, or answer without it. Write the answer itself, without a word about this."
        )

    def without(match: re.Match[str]) -> str:
        problem = problems.get(_path(match["target"]))
        return match[0] if problem is None else f"{_title(match)} (which I could not send)"

    return AnswerCut(
        text=_replaced(answer, without), left_out=f"The person was shown your answer without files ({told})."
    )


def sent_files(answer: str, taken: FilesTaken) -> tuple[OutgoingFile, ...]:
    """Return the files that go out with an answer, in the order in which it links to them."""
    files = {one.path: one.file for one in taken.taken}
    return tuple(file for path in linked_files(answer) if (file := files.get(path)) is not None)


def without_links(text: str) -> str:
    """Return a text as it is sent along with the files that it links to: pictures are left out, links are words.

    Lines with nothing else in them are left out. So the whole may be empty.
    """
    marked = _replaced(
        text.replace("\0", ""), lambda match: "\0\0" if match[0].startswith("!") else f"\0{match['title'].strip()}\0"
    )
    lines = (line.replace("\0", "") for line in marked.split("\n") if "\0" not in line or _has_words(line))
    return _tidied("\n".join(lines))


def link_path(file: OutgoingFile) -> str:
    """Return where a file is, below the address of the web process. It has nothing in it that looks like Markdown."""
    return f"{FILES_PATH}/{file.id}/{quote(safe_name(file.name).replace('_', '-'))}"


def link_words(files: Sequence[OutgoingFile], public_url: str | None) -> str:
    """Return what a person is told of files that their channel does not send: where they are, for as long as they are.

    Without an address of the web process they can only be told that there are files.
    """
    if public_url is None:
        return "\n".join(f"({file.name} cannot be sent here.)" for file in files)
    return "\n".join(f"{file.title}: {public_url}{link_path(file)}" for file in files)


def _links(text: str) -> list[re.Match[str]]:
    """Return the links to files, but for those in code."""
    code = [match.span() for match in _CODE.finditer(text)]
    return [
        match
        for match in _LINK.finditer(text)
        if _is_file(match["target"]) and not any(start <= match.start() < end for start, end in code)
    ]


def _is_file(target: str) -> bool:
    target = target.strip()
    return target != "" and (target.startswith(_ITS_OWN) or not _ELSEWHERE.match(target))


def _title(match: re.Match[str]) -> str:
    name = _path(match["target"]).rpartition("/")[2]
    return " ".join(match["title"].split())[:TITLE_LIMIT_CHARACTERS] or name


def _path(target: str) -> str:
    """Return the path that a link means, in its shortest form."""
    path = unquote(target.strip().removeprefix(_ITS_OWN)).replace("\0", "")
    if path == "~" or path.startswith("~/"):
        path = HOME + path[1:]
    steps: list[str] = []
    for step in (path if path.startswith("/") else f"{HOME}/{path}").split("/"):
        if step == "..":
            del steps[-1:]
        elif step not in ("", "."):
            steps.append(step)
    return "/" + "/".join(steps)


def _replaced(text: str, replacement: Callable[[re.Match[str]], str]) -> str:
    pieces, end = [], 0
    for match in _links(text):
        pieces += [text[end : match.start()], replacement(match)]
        end = match.end()
    if not pieces:
        return text
    return "".join([*pieces, text[end:]])


def _has_words(marked: str) -> bool:
    """Say whether a line has words beside links, which stand between marks."""
    return re.search(r"\w", re.sub("\0[^\0]*\0", "", marked)) is not None


def _tidied(text: str) -> str:
    return _TOO_MANY_BREAKS.sub("\n\n", _END_OF_LINE_SPACE.sub("", text)).strip()

"""The front page's words: what this is, for somebody who has never been here. They are the operator's to change.

`front.toml` in the state folder goes before the file that subclaw comes with. It is read again when it changes; while
it says something that it may not, what it said before holds, and the log tells what is wrong.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from markdown_it import MarkdownIt
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field

from subclaw.core.errors import Invalid
from subclaw.toml_file import parse_toml, read_toml

log = logging.getLogger(__name__)

_Line = Annotated[str, Field(min_length=1, max_length=120)]


class _File(BaseModel):
    """What the file may say."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: _Line | None = None
    title: _Line
    words: Annotated[str, Field(max_length=20_000)]
    suggestions: Annotated[list[_Line], Field(max_length=6)] = []
    more: Annotated[str, Field(max_length=20_000)] = ""


@dataclass(frozen=True, kw_only=True)
class Front:
    """The words: the product's `name`, a `title`, HTML below it, `suggestions` to tap, and `more` HTML at the end."""

    name: str
    title: str
    words: Markup
    suggestions: tuple[str, ...]
    more: Markup


def read_front(path: Path | None, name: str) -> Front:
    """Read the operator's words, or subclaw's without a file. `name` is what this is called unless the file says.

    Errors: `Invalid`, in words for the operator.
    """
    text = read_toml(path) if path else None
    if text is None:
        return _front((files("subclaw.channels.web") / "front.toml").read_text(encoding="utf-8"), name)
    try:
        return _front(text, name)
    except Invalid as error:
        raise Invalid(f"{path}: {error.public}") from error


def kept_front(path: Path | None, name: str) -> Callable[[], Front]:
    """Return what gives the words of now, reading the file only when it changed."""
    known: tuple[object, Front] | None = None

    def front() -> Front:
        nonlocal known
        seen = _fingerprint(path)
        if known is None or known[0] != seen:
            try:
                known = seen, read_front(path, name)
            except Invalid as error:
                log.error("the front page keeps its words: %s", error.public)
                known = seen, known[1] if known else read_front(None, name)
        return known[1]

    return front


def render_markdown(text: str) -> Markup:
    """Return Markdown (CommonMark) as HTML: tags in it are shown as text, images are left out, as are odd links.

    Links may be http, https, mailto, tel and sms; they open beside the page, and tell nobody where they were followed.
    """
    return Markup(_markdown().render(text))


def _front(text: str, name: str) -> Front:
    found = parse_toml(text, _File)
    return Front(
        name=found.name or name,
        title=found.title,
        words=render_markdown(found.words),
        suggestions=tuple(found.suggestions),
        more=render_markdown(found.more),
    )


def _fingerprint(path: Path | None) -> object:
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return status and (status.st_mtime_ns, status.st_size, status.st_ino)


@cache
def _markdown() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).disable("image")
    parser.validateLink = lambda url: url.lower().startswith(("http://", "https://", "mailto:", "tel:", "sms:", "/"))  # type: ignore[method-assign]
    parser.add_render_rule("link_open", _open_link)
    return parser


def _open_link(renderer, tokens, index, options, environment):  # type: ignore[no-untyped-def]
    tokens[index].attrSet("rel", "noopener noreferrer")
    return renderer.renderToken(tokens, index, options, environment)

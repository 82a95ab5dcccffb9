"""Markdown, in which replies are written, taken apart for channels that write it otherwise, and cut into parts.

Source: CommonMark 0.31, by markdown-it-py, less what people do not mean in a chat: indented code, underlined headings,
HTML, entities and references. Line breaks stay.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, auto

from markdown_it import MarkdownIt
from markdown_it.token import Token

from subclaw.channels.text import size_units, split_text

_NOT_MEANT = ["code", "lheading", "html_block", "html_inline", "entity", "reference"]
PARSER = MarkdownIt("commonmark", {"html": False}).enable("strikethrough").disable(_NOT_MEANT)
"""What takes Markdown apart, for channels that take HTML."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^`]*)")
_FENCE_LIMIT = 8
_LANGUAGE_LIMIT = 20
_FENCES_UNITS = 2 * (_FENCE_LIMIT + 1) + _LANGUAGE_LIMIT
"""What a part may grow by when a block of code is cut: its fences are closed there, and opened anew."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Characters that look alike. `link` is an address, or empty."""

    text: str
    bold: bool = False
    italic: bool = False
    struck: bool = False
    code: bool = False
    link: str = ""


class BlockKind(StrEnum):
    """What a block is."""

    TEXT = auto()
    HEADING = auto()
    CODE = auto()
    RULE = auto()


@dataclass(frozen=True, kw_only=True)
class Block:
    """A paragraph, a heading, a block of code (of a `language`, if it is said), a rule.

    In a list `depth` counts from 1, and the first block of an item has a `marker`: `•`, or its number as it is written.
    """

    kind: BlockKind
    spans: tuple[Span, ...] = ()
    depth: int = 0
    marker: str = ""
    quoted: bool = False
    language: str = ""

    @property
    def text(self) -> str:
        """Return its characters without how they look."""
        return "".join(span.text for span in self.spans)


def read_markdown(text: str) -> tuple[Block, ...]:
    """Take a text apart. Every text is Markdown of some kind."""
    return tuple(_blocks(PARSER.parse(text)))


def lay_out(blocks: Sequence[Block], draw: Callable[[Block], str]) -> str:
    """Put blocks together: items of a list below each other, an empty line between other blocks."""
    laid = ""
    for index, block in enumerate(blocks):
        if index:
            laid += "\n" if block.depth and block.marker and blocks[index - 1].depth else "\n\n"
        margin = "  " * max(block.depth - 1, 0)
        drawn = draw(block)
        # Code is indented by its own lines only: its first one belongs where the others do.
        laid += f"{margin}{block.marker} {drawn}" if block.marker else drawn
    return laid


def plain(text: str) -> str:
    """Return Markdown as people read it where there is nothing but characters; links have their address beside them."""

    def draw(block: Block) -> str:
        return "".join(_plain_span(span) for span in block.spans) if block.kind is not BlockKind.RULE else "———"

    return lay_out(read_markdown(text), draw)


def split_markdown(text: str, limit: int) -> list[str]:
    """Cut Markdown into parts of at most `limit` UTF-16 units (at least 100), as `split_text` does.

    A block of code that is cut ends with its part and begins anew with the next one, so that each part stands alone.
    """
    if size_units(text.strip()) <= limit:
        return split_text(text, limit)
    parts, opened = [], ""
    for piece in split_text(text, limit - _FENCES_UNITS):
        part = f"{opened}\n{piece}" if opened else piece
        opened = _open_fence(part)
        parts.append(f"{part}\n{_fence_of(opened)}" if opened else part)
    return parts


def _open_fence(text: str) -> str:
    """Return the line by which the block of code begins that is not closed in a text; empty if all are."""
    fence = language = ""
    for line in text.split("\n"):
        match = _FENCE.fullmatch(line)
        if match is None:
            continue
        marks, info = match[1], match[2].strip()
        if not fence:
            fence, language = marks, info
        elif marks[0] == fence[0] and len(marks) >= len(fence) and not info:
            fence = ""
    return f"{fence}{language[:_LANGUAGE_LIMIT]}" if 0 < len(fence) <= _FENCE_LIMIT else ""


def _fence_of(opened: str) -> str:
    return opened[: len(opened) - len(opened.lstrip(opened[0]))]


def _plain_span(span: Span) -> str:
    return f"{span.text} ({span.link})" if span.link and span.link != span.text else span.text


def _blocks(tokens: Iterable[Token]) -> Iterable[Block]:
    place = Block(kind=BlockKind.TEXT)
    lists: list[str] = []
    quotes = 0
    for token in tokens:
        match token.type:
            case "bullet_list_open" | "ordered_list_open":
                lists.append("•" if token.type == "bullet_list_open" else "")
            case "bullet_list_close" | "ordered_list_close":
                lists.pop()
            case "list_item_open":
                place = replace(place, marker=lists[-1] or f"{token.info}{token.markup}")
            case "list_item_close":
                place = replace(place, marker="")
            case "blockquote_open":
                quotes += 1
            case "blockquote_close":
                quotes -= 1
            case "heading_open":
                place = replace(place, kind=BlockKind.HEADING)
            case "paragraph_open":
                place = replace(place, kind=BlockKind.TEXT)
            case "inline":
                yield replace(place, depth=len(lists), quoted=quotes > 0, spans=tuple(_spans(token.children or ())))
                place = replace(place, marker="")
            case "fence":
                code = (Span(text=token.content.rstrip("\n"), code=True),)
                language = token.info.strip().partition(" ")[0]
                yield replace(
                    place, kind=BlockKind.CODE, depth=len(lists), quoted=quotes > 0, spans=code, language=language
                )
                place = replace(place, marker="")
            case "hr":
                yield Block(kind=BlockKind.RULE)


_LOOKS = {"strong": "bold", "em": "italic", "s": "struck"}


def _spans(tokens: Iterable[Token]) -> Iterable[Span]:
    look = Span(text="")
    for token in tokens:
        name, _, edge = token.type.rpartition("_")
        match token.type:
            case "softbreak" | "hardbreak":
                yield replace(look, text="\n")
            case "code_inline":
                yield replace(look, text=token.content, code=True)
            case "image":
                yield replace(look, text=token.content or "picture", link=str(token.attrGet("src") or ""))
            case "link_open":
                look = replace(look, link=str(token.attrGet("href") or ""))
            case "link_close":
                look = replace(look, link="")
            case _ if name in _LOOKS:
                look = replace(look, **{_LOOKS[name]: edge == "open"})  # type: ignore[arg-type]
            case _ if token.content:
                yield replace(look, text=token.content)

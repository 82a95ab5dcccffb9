"""Markdown as Matrix' HTML, and what a message holds.

Source: https://spec.matrix.org/v1.16/client-server-api/#mroommessage-msgtypes.
"""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from subclaw.channels.markdown import PARSER, plain

CONTENT_LIMIT_BYTES = 44_000
"""What a message's content has at most, as nio writes it: an event has 64 KB, encrypted and with what servers add."""


class _Renderer(RendererHTML):
    """markdown-it's HTML, with line breaks as they are, and links in the place of pictures from elsewhere."""

    def softbreak(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "<br>\n"

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        source = escape(str(tokens[idx].attrGet("src") or ""))
        return f'<a href="{source}">{escape(tokens[idx].content or "picture")}</a>'


_RENDERER = _Renderer()


def matrix_html(text: str) -> str:
    """Return Markdown as HTML that Matrix' clients show; empty if it has no format."""
    html = str(_RENDERER.render(PARSER.parse(text), PARSER.options, {})).strip()
    words = html.removeprefix("<p>").removesuffix("</p>")
    return "" if "<" not in words.replace("<br>\n", "") else html


def content_of(text: str) -> dict[str, Any]:
    """Return the content of a message. Its format goes if there is no room for it; nobody is called by it."""
    content: dict[str, Any] = {"msgtype": "m.text", "body": plain(text).strip() or text, "m.mentions": {}}
    html = matrix_html(text)
    formatted = content | {"format": "org.matrix.custom.html", "formatted_body": html}
    is_fitting = len(json.dumps(formatted)) <= CONTENT_LIMIT_BYTES
    return formatted if html and is_fitting else content

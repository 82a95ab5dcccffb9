"""Markdown as Telegram's HTML.

Source: https://core.telegram.org/bots/api#html-style. With a tag that Telegram does not know, or one that is not
closed, it takes nothing of a message; so whatever is not a tag of ours is escaped.
"""

import re
from html import escape

from subclaw.channels.markdown import Block, BlockKind, Span, lay_out, read_markdown

_LINK = re.compile(r"(https?://|tg://|mailto:)\S+", re.IGNORECASE)
_LANGUAGE = re.compile(r"[A-Za-z0-9+#.-]{1,20}")


def telegram_html(text: str) -> str:
    """Return Markdown as Telegram's HTML. It has no more characters between its tags than the Markdown."""
    return lay_out(read_markdown(text), _draw)


def _draw(block: Block) -> str:
    match block.kind:
        case BlockKind.RULE:
            return "———"
        case BlockKind.CODE:
            code = escape(block.text, quote=False)
            named = _LANGUAGE.fullmatch(block.language)
            drawn = (
                f'<pre><code class="language-{block.language}">{code}</code></pre>' if named else f"<pre>{code}</pre>"
            )
        case BlockKind.HEADING:
            drawn = f"<b>{_inside(block)}</b>"
        case _:
            drawn = "".join(map(_span, block.spans))
    return f"<blockquote>{drawn}</blockquote>" if block.quoted else drawn


def _inside(block: Block) -> str:
    return "".join(_span(Span(text=span.text, code=span.code, link=span.link)) for span in block.spans)


def _span(span: Span) -> str:
    drawn = escape(span.text, quote=False)
    for is_so, tag in ((span.code, "code"), (span.struck, "s"), (span.italic, "i"), (span.bold, "b")):
        if is_so and span.text.strip() and not (span.code and tag != "code"):
            drawn = f"<{tag}>{drawn}</{tag}>"
    if span.link and _LINK.fullmatch(span.link):
        return f'<a href="{escape(span.link)}">{drawn}</a>'
    return drawn

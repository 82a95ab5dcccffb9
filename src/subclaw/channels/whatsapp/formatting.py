"""Markdown as WhatsApp's own format.

Source: https://faq.whatsapp.com/539178204879377. It knows no escapes: a star in a text is one, whatever comes of it.
"""

from subclaw.channels.markdown import Block, BlockKind, Span, lay_out, read_markdown


def whatsapp_text(text: str) -> str:
    """Return Markdown as WhatsApp writes it; links have their address beside them."""
    return lay_out(read_markdown(text), _draw)


def _draw(block: Block) -> str:
    match block.kind:
        case BlockKind.RULE:
            return "———"
        case BlockKind.CODE:
            drawn = f"```{block.text}```"
        case BlockKind.HEADING:
            drawn = _marked("".join(map(_plain, block.spans)), "*")
        case _:
            drawn = "".join(map(_span, block.spans))
    return "\n".join(f"> {line}" for line in drawn.split("\n")) if block.quoted else drawn


def _span(span: Span) -> str:
    drawn = _marked(span.text, "`") if span.code else span.text
    for is_so, mark in ((span.struck, "~"), (span.italic, "_"), (span.bold, "*")):
        drawn = _marked(drawn, mark) if is_so else drawn
    return _with_address(drawn, span)


def _plain(span: Span) -> str:
    return _with_address(span.text, span)


def _with_address(drawn: str, span: Span) -> str:
    return f"{drawn} ({span.link})" if span.link and span.link != span.text else drawn


def _marked(text: str, mark: str) -> str:
    """Put marks around the words of a text: WhatsApp does not take them for marks beside a space."""
    words = text.strip()
    if not words:
        return text
    start = text.index(words)
    return f"{text[:start]}{mark}{words}{mark}{text[start + len(words) :]}"

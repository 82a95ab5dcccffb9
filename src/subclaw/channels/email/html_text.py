"""Mail that is HTML alone, as text. What it looks like is lost; what it says, and where its links lead, is not."""

import re
from html.parser import HTMLParser

_UNSEEN = frozenset("script style head title template noscript svg".split())
_BLOCKS = frozenset("p div br tr table ul ol li h1 h2 h3 h4 h5 h6 pre hr section article header footer dd dt".split())
_VOID = frozenset("br hr img meta link input".split())
_APART = frozenset("p ul ol table h1 h2 h3 h4 h5 h6 pre blockquote".split())


def html_text(html: str) -> str:
    """Return the words of HTML; what is quoted begins with `>`, as in a text."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    text = "\n".join(_tidy(line) for line in "".join(reader.pieces).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._unseen = self._quoted = 0
        self._link = ""
        self._link_words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See `HTMLParser`."""
        given = dict(attrs)
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag == "blockquote":
            self._break(2)
            self._quoted += 1
        elif tag == "a":
            self._link, self._link_words = given.get("href") or "", ""
        if tag in _BLOCKS:
            self._break(2 if tag in _APART else 1)
        if tag == "li":
            self.pieces.append("- ")

    def handle_endtag(self, tag: str) -> None:
        """See `HTMLParser`."""
        if tag in _UNSEEN:
            self._unseen = max(self._unseen - 1, 0)
        elif tag == "blockquote":
            self._quoted = max(self._quoted - 1, 0)
            self._break(2)
        elif tag == "a":
            if self._link.startswith(("http://", "https://")) and self._link != self._link_words.strip():
                self.pieces.append(f" ({self._link})")
            self._link = ""
        elif tag in _BLOCKS and tag not in _VOID:
            self._break(2 if tag in _APART else 1)

    def handle_data(self, data: str) -> None:
        """See `HTMLParser`."""
        if self._unseen:
            return
        words = re.sub(r"[ \t\r\n\f]+", " ", data)
        if self._at_line_start():
            words = words.lstrip(" ")
            if words and self._quoted:
                self.pieces.append("> ")
        self.pieces.append(words)
        if self._link:
            self._link_words += words

    def _at_line_start(self) -> bool:
        last = next((piece for piece in reversed(self.pieces) if piece), "\n")
        return last.endswith("\n")

    def _break(self, lines: int) -> None:
        if not self._unseen and self.pieces:
            self.pieces.append("\n" * lines)


def _tidy(line: str) -> str:
    return line.replace("\N{NO-BREAK SPACE}", " ").replace("\N{ZERO WIDTH SPACE}", "").rstrip()

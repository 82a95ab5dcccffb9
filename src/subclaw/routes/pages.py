"""The few pages that the router itself answers with, when there is no site to answer."""

from html import escape

_STYLE = (
    ":root{color-scheme:light dark}body{font:1.1rem/1.5 system-ui,sans-serif;display:grid;place-content:center;"
    "min-height:90vh;margin:0 1.5rem;text-align:center}h1{font-size:1.6rem;margin:0}p{margin:.5rem 0;opacity:.75}"
)


def _page(title: str, text: str, *, again_after_s: int | None = None) -> str:
    """Return one small page, which loads nothing else. Caddy expands braces: `_escaped` keeps its own from that."""
    again = f'<meta http-equiv="refresh" content="{again_after_s}">' if again_after_s else ""
    return _escaped(
        f'<!doctype html><html lang="en"><meta charset="utf-8">{again}'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1><p>{escape(text)}</p></html>"
    )


def _escaped(text: str) -> str:
    return text.replace("{", "\\{")


NOTHING_HERE = _page("Nothing here yet", "No site has been published at this address.")
NOT_FOUND = _page("Page not found", "This site has no page at this address.")
WAKING = _page("One moment", "This site is waking up. The page tries again by itself.", again_after_s=5)
REFUSED = _page("That did not work", "The server could not answer this request.")

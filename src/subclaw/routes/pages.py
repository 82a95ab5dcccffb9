"""The few pages that the router itself answers with, when there is no site to answer."""

from html import escape

from subclaw.core.visit import REPORT_PATH

_STYLE = (
    ":root{color-scheme:light dark}body{font:1.1rem/1.5 system-ui,sans-serif;display:grid;place-content:center;"
    "min-height:90vh;margin:0 1.5rem;text-align:center}h1{font-size:1.6rem;margin:0}p{margin:.5rem 0;opacity:.75}"
)


def _page(title: str, text: str, *, again_after_s: int | None = None, is_sites: bool = False) -> str:
    """Return a page that Caddy answers with. It expands braces: `_escaped` keeps its own from that."""
    return _escaped(_document(title, text, again_after_s=again_after_s, is_sites=is_sites))


def _document(title: str, text: str, *, again_after_s: int | None = None, is_sites: bool = False) -> str:
    """Return one small page, which loads nothing else; a site's has a link by which the site is reported."""
    report = f'<p><a href="{REPORT_PATH}">Report this site</a></p>' if is_sites else ""
    again = f'<meta http-equiv="refresh" content="{again_after_s}">' if again_after_s else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{again}'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1><p>{escape(text)}</p>{report}</html>"
    )


def _escaped(text: str) -> str:
    return text.replace("{", "\\{")


def coming_page(name: str) -> str:
    """Return the page of a site that is still to be made; it looks again by itself."""
    return _document(
        f"{name}'s site will be here", "It is being made. Come back in a while.", again_after_s=30, is_sites=True
    )


def nothing_page() -> str:
    """Return the page of a hostname that is nobody's."""
    return _document(*_NOTHING)


_NOTHING = "Nothing here yet", "No site has been published at this address."
NOTHING_HERE = _page(*_NOTHING)
NOT_FOUND = _page("Page not found", "This site has no page at this address.", is_sites=True)
WAKING = _page("One moment", "This site is waking up. The page tries again by itself.", again_after_s=5)
PAUSED_PAGE = _page("This site is paused", "Whoever runs this host has paused it for now.")
REFUSED = _page("That did not work", "The server could not answer this request.")

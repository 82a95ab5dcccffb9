"""What is said of a site's versions, to people and to models."""

from collections.abc import Sequence

from subclaw.core.site import SiteVersion, StaticSite

NO_SITE = "There is no site yet."
NOTHING_BEFORE = "There is nothing to go back to: no earlier version of the site is kept."
NOTHING_AFTER = "There is nothing to bring back: this is the newest version of the site."


def versions_words(versions: Sequence[SiteVersion]) -> str:
    """Return a site's versions as lines, the newest first."""
    return "\n".join(map(_version_line, versions)) if versions else NO_SITE


def undone_words(number: int) -> str:
    """Say that an earlier version is back."""
    return f'Your site is as it was before, version {number}. Say "redo site" if that was wrong.'


def redone_words(number: int) -> str:
    """Say that a later version is there again."""
    return f"Your site is at version {number} again."


def _version_line(version: SiteVersion) -> str:
    content = version.content
    what = f"{version.files} files" if isinstance(content, StaticSite) else f"port {content.port} of the machine"
    shown = ", shown now" if version.is_served else ""
    return f"{version.number}: {version.published_at:%Y-%m-%d %H:%M} UTC, {what}{shown}"

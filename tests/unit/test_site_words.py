"""What people say of their site below the agent, and how versions are told."""

from datetime import UTC, datetime

import pytest

from subclaw.core.control import SiteWish, read_control
from subclaw.core.site import DynamicSite, SiteVersion, StaticSite
from subclaw.core.site_words import NO_SITE, versions_words


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("site history", SiteWish.HISTORY),
        (" Site  History. ", SiteWish.HISTORY),
        ("/site history", SiteWish.HISTORY),
        ("Undo", SiteWish.UNDO_LAST),
        ("undo site!", SiteWish.UNDO),
        ("site undo", SiteWish.UNDO),
        ("redo site", SiteWish.REDO),
        ("undo the last change to my site", None),
        ("what is my site history", None),
        ("redo", None),
    ],
)
def test_only_the_words_and_nothing_else_count(text: str, wish: SiteWish | None) -> None:
    assert read_control("web", text) == wish


def test_versions_are_lines() -> None:
    at = datetime(2026, 11, 21, 14, 2, tzinfo=UTC)
    folder = SiteVersion(
        number=3, content=StaticSite(release="a"), files=4, size_bytes=99, published_at=at, is_served=True
    )
    port = SiteVersion(
        number=2, content=DynamicSite(port=8000), files=0, size_bytes=0, published_at=at, is_served=False
    )
    assert versions_words([folder, port]) == (
        "3: 2026-11-21 14:02 UTC, 4 files, shown now\n2: 2026-11-21 14:02 UTC, port 8000 of the machine"
    )
    assert versions_words([]) == NO_SITE

"""Site actions: the versions of a site, and going back and forth between them."""

from collections.abc import Sequence

from subclaw.core.errors import Invalid, NotFound
from subclaw.core.site import SiteHistory
from subclaw.core.site_words import NOTHING_AFTER, NOTHING_BEFORE, redone_words, undone_words, versions_words
from subclaw.core.tenant import TenantId
from subclaw.tools.site import SiteAction


def history_actions(history: SiteHistory) -> tuple[SiteAction, ...]:
    """Return `history`, `undo` and `redo`."""

    async def tell(tenant_id: TenantId, words: Sequence[str]) -> str:
        return versions_words(await history.versions(tenant_id))

    async def undo(tenant_id: TenantId, words: Sequence[str]) -> str:
        if words:
            number = _number(words[0])
            if not await history.go_to(tenant_id, number):
                raise NotFound(f"Version {number} is not kept. `history` lists those that are.")
            return undone_words(number)
        before = await history.undo(tenant_id)
        return undone_words(before) if before else NOTHING_BEFORE

    async def redo(tenant_id: TenantId, words: Sequence[str]) -> str:
        after = await history.redo(tenant_id)
        return redone_words(after) if after else NOTHING_AFTER

    return (
        SiteAction(name="history", usage="history: the versions of the site", perform=tell),
        SiteAction(name="undo", usage="undo [NUMBER]: the version before, or that one, is shown again", perform=undo),
        SiteAction(name="redo", usage="redo: take an undo back", perform=redo),
    )


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 9):
        raise Invalid(f"{word[:40]!r} is no version's number. `history` lists them.")
    return int(word)

"""What visitors of sites leave and reach: forms, webhooks, short links, private sites, reports of abuse."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from subclaw.core.tenant import TenantId
from subclaw.core.visit import (
    CALLS_AN_HOUR,
    ENTRIES_KEPT,
    FORMS_AN_HOUR,
    HOOKS_LIMIT,
    LINKS_A_DAY,
    PATHS_A_DAY,
    REPORTS_A_DAY,
    TOLD_AN_HOUR,
    VIEWS_KEPT_DAYS,
    FormEntry,
    PageViews,
)
from subclaw.store.database import Database

CODE_LIFE, CODE_WAIT, CODE_TRIES = timedelta(minutes=10), timedelta(minutes=1), 5
KEY_LIFE = timedelta(days=30)
_LISTED = 50


class Taken(StrEnum):
    """What became of what a visitor sent."""

    KEPT = "kept"
    TOLD = "told"
    DUPLICATE = "duplicate"
    FULL = "full"


@dataclass(frozen=True, kw_only=True)
class ShortLink:
    """A short link, how often it was opened, and whether once is all."""

    code: str
    target: str
    is_once: bool
    opened: int


@dataclass(frozen=True, kw_only=True)
class Followed:
    """Where a short link leads. One that was for once, and was opened, `is_over`."""

    target: str
    is_once: bool
    is_over: bool
    tenant_name: str


async def take_form(database: Database, tenant_id: TenantId, form: str, fields: Mapping[str, str], words: str) -> Taken:
    """Keep what a form was sent, and tell the agent with these words. Errors: `Unavailable`."""
    values = form, json.dumps(fields), words, FORMS_AN_HOUR, TOLD_AN_HOUR, ENTRIES_KEPT
    ((taken,),) = await database.rows("SELECT take_form(%s, %s, %s, %s, %s, %s, %s)", tenant_id, *values)
    return Taken(taken)


async def form_entries(database: Database, tenant_id: TenantId, form: str) -> Sequence[FormEntry]:
    """Return what was sent last by a form, or by all of them, the newest first. Errors: `Unavailable`."""
    rows = await database.rows("SELECT * FROM form_entries(%s, %s, %s)", tenant_id, form, _LISTED)
    return [FormEntry(form=name, fields=fields, received_at=at) for name, fields, at in rows]


async def make_hook(database: Database, tenant_id: TenantId, name: str, token_hash: bytes) -> bool:
    """Make a webhook, or give it another address; false if there are too many. Errors: `Unavailable`."""
    values = tenant_id, name, token_hash, HOOKS_LIMIT
    return bool((await database.rows("SELECT make_hook(%s, %s, %s, %s)", *values))[0][0])


async def remove_hook(database: Database, tenant_id: TenantId, name: str) -> bool:
    """End a webhook; false if there is none of that name. Errors: `Unavailable`."""
    return bool((await database.rows("SELECT remove_hook(%s, %s)", tenant_id, name))[0][0])


async def hooks(database: Database, tenant_id: TenantId) -> Sequence[tuple[str, datetime]]:
    """Return webhooks' names, and when they got their addresses. Errors: `Unavailable`."""
    return [(name, at) for name, at in await database.rows("SELECT * FROM hooks(%s)", tenant_id)]


async def find_hook(database: Database, tenant_id: TenantId, token_hash: bytes) -> str | None:
    """Return the name of the webhook of an address. Errors: `Unavailable`."""
    ((name,),) = await database.rows("SELECT find_hook(%s, %s)", tenant_id, token_hash)
    return name if name is None else str(name)


async def take_hook(database: Database, tenant_id: TenantId, hook: str, delivery: str, words: str) -> Taken:
    """Take a call of a webhook, which `delivery` names, and tell the agent. Errors: `Unavailable`."""
    values = tenant_id, hook, delivery, words, CALLS_AN_HOUR
    return Taken((await database.rows("SELECT take_hook(%s, %s, %s, %s, %s)", *values))[0][0])


async def make_short_link(database: Database, tenant_id: TenantId, code: str, target: str, *, is_once: bool) -> bool:
    """Make a short link; false if there were too many today. Errors: `Unavailable`."""
    values = tenant_id, code, target, is_once, LINKS_A_DAY
    return bool((await database.rows("SELECT make_short_link(%s, %s, %s, %s, %s)", *values))[0][0])


async def short_links(database: Database, tenant_id: TenantId) -> Sequence[ShortLink]:
    """Return a tenant's short links, the newest first. Errors: `Unavailable`."""
    rows = await database.rows("SELECT * FROM short_links(%s, %s)", tenant_id, _LISTED)
    return [ShortLink(code=code, target=target, is_once=is_once, opened=count) for code, target, is_once, count in rows]


async def follow_short_link(database: Database, code: str, *, is_opened: bool) -> Followed | None:
    """Say where a short link leads, and count that it was opened. Errors: `Unavailable`."""
    rows = await database.rows("SELECT * FROM follow_short_link(%s, %s)", code, is_opened)
    return next((Followed(target=t, is_once=o, is_over=over, tenant_name=name) for t, o, over, name in rows), None)


async def set_private(database: Database, tenant_id: TenantId, link_hash: bytes | None) -> None:
    """Make a site private with a new link; with None, let everybody see it. Errors: `Unavailable`."""
    await database.rows("SELECT set_private(%s, %s)", tenant_id, link_hash)


async def is_private(database: Database, tenant_id: TenantId) -> bool:
    """Say whether a site is private. Errors: `Unavailable`."""
    return bool((await database.rows("SELECT is_private(%s)", tenant_id))[0][0])


async def send_site_code(
    database: Database, tenant_id: TenantId, code_hash: bytes, words: str, read_in_place: Collection[str]
) -> bool:
    """Have a code said to the owner; false if one was said within a minute. Errors: `Unavailable`."""
    values = tenant_id, code_hash, words, CODE_WAIT, list(read_in_place)
    return bool((await database.rows("SELECT send_site_code(%s, %s, %s, %s, %s)", *values))[0][0])


async def enter_site(
    database: Database,
    tenant_id: TenantId,
    *,
    link_hash: bytes | None = None,
    code_hash: bytes | None = None,
    key_hash: bytes,
) -> bool:
    """Let a visitor in by the link or by the code, from now on by a key. Errors: `Unavailable`."""
    values = tenant_id, link_hash, code_hash, CODE_LIFE, CODE_TRIES, key_hash, KEY_LIFE
    return bool((await database.rows("SELECT enter_site(%s, %s, %s, %s, %s, %s, %s)", *values))[0][0])


async def may_see_site(database: Database, tenant_id: TenantId, key_hash: bytes) -> bool:
    """Say whether a key lets its bearer see a site. Errors: `Unavailable`."""
    return bool((await database.rows("SELECT may_see_site(%s, %s)", tenant_id, key_hash))[0][0])


async def report_abuse(database: Database, tenant_id: TenantId, *, page: str, reason: str, contact: str) -> bool:
    """Keep a report for the operator; false if there were too many today. Errors: `Unavailable`."""
    values = tenant_id, page, reason, contact, REPORTS_A_DAY
    return bool((await database.rows("SELECT report_abuse(%s, %s, %s, %s, %s)", *values))[0][0])


async def open_reports(operator: Database, limit: int) -> list[dict[str, object]]:
    """Return reports that nobody has settled, the newest first, for the operator. Errors: `Unavailable`."""
    rows = await operator.rows(_REPORTS, limit)
    return [dict(zip(("number", "tenant", "at", "page", "reason", "contact"), row, strict=True)) for row in rows]


async def settle_report(operator: Database, number: int) -> bool:
    """Put a report aside; false if there is none open of that number. Errors: `Unavailable`."""
    settle = "UPDATE abuse_report SET settled_at = now() WHERE id = %s AND settled_at IS NULL RETURNING id"
    return bool(await operator.rows(settle, number))


_REPORTS = """
    SELECT r.id, t.name, to_char(r.at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), r.page, r.reason, r.contact
    FROM abuse_report r JOIN tenant t ON t.id = r.tenant_id WHERE r.settled_at IS NULL ORDER BY r.id DESC LIMIT %s
"""


async def count_views(database: Database, tenant_id: TenantId, views: Mapping[str, int]) -> None:
    """Count that pages were looked at just now, by their paths. Errors: `Unavailable`."""
    values = tenant_id, list(views), list(views.values()), PATHS_A_DAY, VIEWS_KEPT_DAYS
    await database.rows("SELECT count_views(%s, %s::text[], %s::bigint[], %s, %s)", *values)


async def page_views(database: Database, tenant_id: TenantId, days: int) -> Sequence[PageViews]:
    """Return how often pages were looked at on the last days, the newest first. Errors: `Unavailable`."""
    rows = await database.rows("SELECT * FROM views(%s, %s)", tenant_id, days)
    return [PageViews(day=day, path=path, views=views) for day, path, views in rows]


async def tenant_of_name(database: Database, name: str) -> TenantId | None:
    """Return whose site a name is now. Errors: `Unavailable`."""
    ((found,),) = await database.rows("SELECT tenant_of_name(%s)", name)
    return None if found is None else TenantId(found)

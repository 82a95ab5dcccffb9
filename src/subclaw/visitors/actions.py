"""Site actions: forms that were sent, webhooks, short links, and who may see the site."""

import random
import secrets
from collections.abc import Awaitable, Callable, Sequence

from subclaw.core.access import TOKEN_BYTES, token_hash
from subclaw.core.errors import Exhausted, Invalid, NotFound
from subclaw.core.tenant import TenantId
from subclaw.core.visit import (
    HOOKS_LIMIT,
    LINKS_A_DAY,
    VIEWS_KEPT_DAYS,
    entries_words,
    parse_name,
    parse_target,
    views_words,
)
from subclaw.store import visitors
from subclaw.store.database import Database
from subclaw.tools.site import SiteAction

SiteUrl = Callable[[TenantId], Awaitable[str]]
"""Returns the address of a tenant's site, with a slash at its end. Errors: `NotFound`, `Unavailable`."""

_CODE_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_CODE_CHARACTERS = 8


def visitor_actions(database: Database, site_url: SiteUrl, public_url: str) -> tuple[SiteAction, ...]:
    """Return the actions. `public_url` is the control plane's, without a slash at its end."""
    forms, hooks = _form_actions(database), _hook_actions(database, site_url)
    links, private = _link_actions(database, public_url), _private_action(database, site_url)
    return (*forms, *hooks, *links, private, _views_action(database))


def _form_actions(database: Database) -> tuple[SiteAction, ...]:
    async def entries(tenant_id: TenantId, words: Sequence[str]) -> str:
        form = parse_name(words[0], "form") if words else ""
        return entries_words(await visitors.form_entries(database, tenant_id, form))

    usage = (
        "entries [FORM]: what visitors sent by forms. A form needs no server: "
        '<form method="post" action="/_/form/NAME">, with a hidden field _next for the page after it'
    )
    return (SiteAction(name="entries", usage=usage, perform=entries),)


def _hook_actions(database: Database, site_url: SiteUrl) -> tuple[SiteAction, ...]:
    async def hook(tenant_id: TenantId, words: Sequence[str]) -> str:
        if words[:1] == ["remove"]:
            name = parse_name(" ".join(words[1:]), "webhook")
            if not await visitors.remove_hook(database, tenant_id, name):
                raise NotFound(f"There is no webhook {name}.")
            return f"The webhook {name} is removed."
        if not words:
            lines = [f"{name}, since {at:%Y-%m-%d}" for name, at in await visitors.hooks(database, tenant_id)]
            return "\n".join(lines) or "There is no webhook."
        name, token = parse_name(" ".join(words), "webhook"), secrets.token_urlsafe(TOKEN_BYTES)
        if not await visitors.make_hook(database, tenant_id, name, token_hash(token)):
            raise Exhausted(f"There are {HOOKS_LIMIT} webhooks already. Remove one first.")
        return (
            f"What is POSTed to {await site_url(tenant_id)}_/hook/{token} is told you. An older address of it is over."
        )

    usage = "hook [NAME | remove NAME]: an address for a webhook, whose calls you are told of, even asleep"
    return (SiteAction(name="hook", usage=usage, perform=hook),)


def _link_actions(database: Database, public_url: str) -> tuple[SiteAction, ...]:
    chooser = random.SystemRandom()

    async def link(tenant_id: TenantId, words: Sequence[str]) -> str:
        if not words:
            links = await visitors.short_links(database, tenant_id)
            lines = [f"{public_url}/s/{one.code} to {one.target}, opened {one.opened} times" for one in links]
            return "\n".join(lines) or "There is no short link."
        target, *more = words
        if more not in ([], ["once"]):
            raise Invalid("A short link is: link ADDRESS, or: link ADDRESS once")
        code = "".join(chooser.choice(_CODE_LETTERS) for _ in range(_CODE_CHARACTERS))
        if not await visitors.make_short_link(
            database, tenant_id, code, parse_target(target), is_once=more == ["once"]
        ):
            raise Exhausted(f"{LINKS_A_DAY} short links were made today, which is the most.")
        return f"{public_url}/s/{code} leads to {target}{', once' if more else ''}."

    usage = "link [ADDRESS [once]]: a short link to an address; without one, those that there are"
    return (SiteAction(name="link", usage=usage, perform=link),)


def _private_action(database: Database, site_url: SiteUrl) -> SiteAction:
    async def private(tenant_id: TenantId, words: Sequence[str]) -> str:
        match list(words):
            case []:
                is_private = await visitors.is_private(database, tenant_id)
                return "The site is private." if is_private else "Everybody can see the site."
            case ["off"]:
                await visitors.set_private(database, tenant_id, None)
                return "Everybody can see the site."
            case ["on"]:
                token = secrets.token_urlsafe(TOKEN_BYTES)
                await visitors.set_private(database, tenant_id, token_hash(token))
                url = await site_url(tenant_id)
                return (
                    f"The site is private. Who has {url}_/enter/{token} comes in; your person can come in at {url} "
                    "with a code that is sent to them. An older link, and who came in by it, is out."
                )
            case _:
                raise Invalid("It is: private on, or: private off")

    usage = "private [on | off]: only who has a link, or a code that is sent to your person, sees the site"
    return SiteAction(name="private", usage=usage, perform=private)


def _views_action(database: Database) -> SiteAction:
    async def views(tenant_id: TenantId, words: Sequence[str]) -> str:
        said = words[0] if words else "7"
        if not (said.isascii() and said.isdigit() and 1 <= int(said[:6]) <= VIEWS_KEPT_DAYS):
            raise Invalid(f"It is: visits, or: visits DAYS, with {VIEWS_KEPT_DAYS} days at most")
        return views_words(await visitors.page_views(database, tenant_id, int(said)))

    usage = (
        "visits [DAYS]: how often pages were looked at, without cookies. Counted are pages that have "
        '<img src="/_/hit" alt="" width="1" height="1">'
    )
    return SiteAction(name="visits", usage=usage, perform=views)

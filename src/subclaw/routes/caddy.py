"""Caddy's routes, changed while it runs, by `@id` over the admin API.

A change names the place it is meant for together with what must still be there (`If-Match`), so a route never lands
behind the wildcard or on another's place, whoever else changes the configuration at the same time.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

from subclaw.core.errors import SubclawError, Unavailable
from subclaw.core.route import Route
from subclaw.routes.admin import AdminReply, ask
from subclaw.routes.config import EPOCH_ID, WILDCARD_ID, CaddySettings, config_with, route_config, route_id

_log = logging.getLogger(__name__)

_ATTEMPTS = 6
_FIRST_PAUSE_S = 0.05


class CaddyRoutes:
    """The routes of one Caddy. Safe to share in a process; safe beside others that use the admin API by `If-Match`.

    Every call is idempotent. Errors: `Unavailable` if Caddy is away or refuses, after a bounded number of tries;
    `Invalid` for a route that cannot be.
    """

    def __init__(self, settings: CaddySettings) -> None:
        self._settings = settings
        self._changing = asyncio.Lock()

    async def put(self, route: Route) -> None:
        """Add a hostname's route or replace it. One that is there already costs no reload."""
        config = self._config(route)
        await self._change(lambda: self._put_once(config))

    async def remove(self, hostname: str) -> None:
        """Take a hostname's route away; nothing happens if there is none."""
        identifier = route_id(hostname)
        await self._change(lambda: self._remove_once(identifier))

    async def replace_all(self, routes: Iterable[Route], mark: str = "") -> None:
        """Make these the only routes, in one reload, and leave the mark that `restored` looks for."""
        configs = {config["@id"]: config for config in map(self._config, routes)}
        whole = config_with(self._settings, list(configs.values()), epoch=f"{secrets.token_hex(8)} {mark}")
        await self._change(lambda: self._load_once(whole))

    async def restored(self, mark: str = "") -> bool:
        """Say whether routes were put in since Caddy started, the last of all with this mark.

        That is false after a restart, or a loss of its configuration.
        """
        reply = await self._ask("GET", f"/id/{EPOCH_ID}/epoch")
        return reply.status == 200 and str(reply.json()).partition(" ")[1:] == (" ", mark)

    def _config(self, route: Route) -> dict[str, Any]:
        return route_config(route, body_limit_bytes=self._settings.site_body_limit_bytes)

    async def _change(self, once: Callable[[], Awaitable[bool]]) -> None:
        """Try a change until it holds: when a place moved meanwhile, or Caddy is just being started again."""
        async with self._changing:
            for attempt in range(_ATTEMPTS):
                last = attempt == _ATTEMPTS - 1
                try:
                    if await once():
                        return
                except Unavailable:
                    if last:
                        raise
                if not last:
                    await asyncio.sleep(_FIRST_PAUSE_S * 2**attempt)
        raise Unavailable("The web server is busy; try again.", internal="caddy: a route's place kept moving")

    async def _put_once(self, config: dict[str, Any]) -> bool:
        there = await self._ask("GET", f"/id/{config['@id']}")
        if there.status == 200:
            return there.json() == config or await self._write("PATCH", there, config)
        wildcard = await self._ask("GET", f"/id/{WILDCARD_ID}")
        if wildcard.status != 200:
            raise Unavailable("The web server lost its configuration.", internal="caddy: there is no wildcard route")
        # PUT at an index inserts there, and moves the wildcard one place back.
        return await self._write("PUT", wildcard, config)

    async def _remove_once(self, identifier: str) -> bool:
        there = await self._ask("GET", f"/id/{identifier}")
        return there.status == 404 or await self._write("DELETE", there, None)

    async def _load_once(self, whole: dict[str, Any]) -> bool:
        return _accepted(await self._ask("POST", "/load", whole))

    async def _write(self, method: Literal["PUT", "PATCH", "DELETE"], at: AdminReply, value: Any) -> bool:
        return _accepted(await self._ask(method, at.path, value, if_match=at.etag))

    async def _ask(self, method: str, path: str, value: Any = None, *, if_match: str = "") -> AdminReply:
        return await ask(self._settings.admin_socket, method, path, value, if_match=if_match)


def _accepted(reply: AdminReply) -> bool:
    """Say whether a change was made; false if what it was made for has moved or changed meanwhile."""
    if reply.status == 412:
        return False
    if reply.status != 200:
        reason = reply.body[:500].decode("utf-8", "replace")
        raise Unavailable("The web server refused the change.", internal=f"caddy answered {reply.status}: {reason}")
    return True


async def unmarked() -> str:
    """Say that routes have no mark."""
    return ""


async def keep_routes(
    routes: CaddyRoutes,
    restore: Callable[[], Awaitable[object]],
    *,
    mark: Callable[[], Awaitable[str]] = unmarked,
    interval_s: float = 1.0,
) -> None:
    """Watch over Caddy for as long as the caller lets it, and restore the routes whenever it lost them.

    They are restored as well when those that it has are of another `mark` than is wanted. Looking costs one small
    request on a unix socket. While Caddy is away nothing is done but to look again.
    """
    away = False
    while True:
        try:
            if not await routes.restored(await mark()):
                await restore()
                _log.info("caddy's routes were restored")
            away = False
        except SubclawError as error:
            if not away:
                _log.warning("caddy's routes cannot be kept now: %s", error.internal)
            away = True
        await asyncio.sleep(interval_s)

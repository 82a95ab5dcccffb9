"""Caddy's configuration as pure values (Caddy's JSON structure, version 2.6). It is made once and never changed.

One HTTP server with its routes in this order: files of sites that anybody may read, the control plane, what is ours
below every hostname, whatever else hostnames with a folder have (`sites.py`), and last hostnames without a site.

What Caddy 2.6 does, and what follows from it:
- every change of the configuration loads all of it anew and ends web sockets, and hosts are matched one after the
  other: so a hostname is a folder on disk, and no route;
- with `flush_interval` -1 a visitor who leaves is not noticed, and the stream behind stays open. Unset, event streams
  and all answers of unknown length are flushed at once too, and a visitor who leaves ends them;
- its logs quote whole requests; those are somebody's words and cookies, so the field is taken out.
"""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import Invalid
from subclaw.core.oauth import RESERVED_PATH
from subclaw.routes.answers import UNNAMED, Json, answer, control_proxy, plain_path
from subclaw.routes.hostname import parse_hostname
from subclaw.routes.pages import NOTHING_HERE, REFUSED, WAKING
from subclaw.routes.sites import ORIGINAL_URI_HEADER, open_file_route, site_error_route, site_route, unmarked_route

SERVER = "front"
UNPUBLISHED_PATH = "/-/unpublished"
"""What the control plane is asked for in place of anything at a hostname that has no route."""

INTERNAL_PATHS = "/-/*"
"""What the router alone asks the control plane: nobody outside reaches it."""

RESERVED_BODY_LIMIT_BYTES = 128 * 1024
_IP_AS_HOST = r"^(\d{1,3}(\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\])(:\d+)?$"
_ODDLY_SPELT = r"[A-Z]|\.(:\d+)?$"


@dataclass(frozen=True, kw_only=True)
class CaddySettings:
    """What Caddy is told once, at its start. Paths are absolute.

    The control plane has the hostname `domain`, tenants' sites those below `sites_domain`. `listen` are IP addresses to
    listen on, all with `port`; empty means every address of the host. `state` is the folder that Caddy's user may write
    to, `sites` the one with a folder a hostname (`folders.py`), `doors` the one with the ways into machines.
    """

    domain: str
    sites_domain: str
    port: int
    listen: tuple[str, ...] = ("127.0.0.1",)
    control_socket: Path
    state: Path
    sites: Path
    doors: Path
    control_body_limit_bytes: int = 16 * 1024 * 1024
    site_body_limit_bytes: int = 64 * 1024 * 1024


def caddy_config(settings: CaddySettings) -> Json:
    """Return the whole configuration.

    Errors: `Invalid` for a port that is none, or a path that Caddy would read as something else.
    """
    server: Json = {
        "listen": _listen(settings),
        "automatic_https": {"disable": True},
        "protocols": ["h1"],
        "read_header_timeout": "10s",
        # No limits on the whole of a request or an answer: they would cut event streams and slow uploads.
        "idle_timeout": "2m",
        "max_header_bytes": 32 * 1024,
        "routes": [
            open_file_route(settings.sites),
            unmarked_route(),
            _control_route(settings, {"host": [parse_hostname(settings.domain)]}),
            _reserved_route(settings),
            site_route(
                settings.sites, settings.doors, settings.control_socket, body_limit_bytes=settings.site_body_limit_bytes
            ),
            _control_route(settings, {"header_regexp": {"Host": {"pattern": _IP_AS_HOST}}}),
            _unpublished_route(settings),
            {"handle": [answer(404, NOTHING_HERE)]},
        ],
        "errors": {"routes": _error_routes(settings)},
    }
    return {
        "admin": {"disabled": True, "config": {"persist": False}},
        "logging": {"logs": {"default": _log()}},
        "storage": {"module": "file_system", "root": str(plain_path(settings.state / "storage"))},
        "apps": {"http": {"servers": {SERVER: server}}},
    }


def _listen(settings: CaddySettings) -> list[str]:
    if not 1 <= settings.port <= 65535:
        raise Invalid(f"{settings.port} is not a port: it must be from 1 to 65535.")
    addresses = [ipaddress.ip_address(address) for address in settings.listen]
    hosts = [f"[{address}]" if address.version == 6 else str(address) for address in addresses] or [""]
    return [f"{host}:{settings.port}" for host in hosts]


def _log() -> Json:
    return {
        "writer": {"output": "stderr"},
        "level": "WARN",
        "encoder": {"format": "filter", "wrap": {"format": "json"}, "fields": {"request": {"filter": "delete"}}},
    }


def _control_route(settings: CaddySettings, match: Json) -> Json:
    inside: list[Json] = [
        {"match": [{"path": [INTERNAL_PATHS]}], "handle": [answer(404, NOTHING_HERE)], "terminal": True},
        {
            "handle": [
                UNNAMED,
                {"handler": "request_body", "max_size": settings.control_body_limit_bytes},
                control_proxy(settings.control_socket),
            ]
        },
    ]
    return {"match": [match], "handle": [{"handler": "subroute", "routes": inside}], "terminal": True}


def _reserved_route(settings: CaddySettings) -> Json:
    """What is ours below every tenant's hostname, whether there is a site or not."""
    return {
        "match": [{"path": [f"{RESERVED_PATH}*"]}],
        "handle": [
            UNNAMED,
            {"handler": "request_body", "max_size": RESERVED_BODY_LIMIT_BYTES},
            control_proxy(settings.control_socket),
        ],
        "terminal": True,
    }


def _unpublished_route(settings: CaddySettings) -> Json:
    """The control plane says whose hostname it is; while it is away, or has no page for it, there is nothing here."""
    asked = control_proxy(settings.control_socket)
    del asked["load_balancing"]  # a visitor need not wait for a page that says so little
    headers = {"set": {ORIGINAL_URI_HEADER: ["{http.request.orig_uri}"]}, "delete": ["Cookie", "Authorization"]}
    reads = {"method": ["GET", "HEAD"]}
    return {
        "match": [
            reads | {"host": [f"*.{parse_hostname(settings.sites_domain)}"]},
            reads | {"header_regexp": {"Host": {"pattern": _ODDLY_SPELT}}},
        ],
        "handle": [
            UNNAMED,
            {"handler": "vars", "site": "unpublished"},
            {"handler": "rewrite", "uri": UNPUBLISHED_PATH},
            {**asked, "headers": {"request": headers}},
        ],
        "terminal": True,
    }


def _error_routes(settings: CaddySettings) -> list[Json]:
    status = "{http.error.status_code}"
    unwanted = {"deferred": True, "delete": ["Server", "Last-Modified", "Etag"]}
    return [
        {"handle": [{"handler": "headers", "response": unwanted}]},
        site_error_route(settings.sites),
        {"match": [{"vars": {"site": ["unpublished"]}}], "handle": [answer(404, NOTHING_HERE)], "terminal": True},
        {
            "match": [{"expression": f"{status} in [502, 503, 504]"}],
            "handle": [answer(503, WAKING, {"Retry-After": ["5"]})],
            "terminal": True,
        },
        {"handle": [answer(status, REFUSED)]},
    ]

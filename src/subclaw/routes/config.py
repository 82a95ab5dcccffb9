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
from subclaw.routes.https import CERTIFICATE_PATH, CaddyHttps, redirecting_routes, strict_route, tls_app
from subclaw.routes.pages import NOTHING_HERE, REFUSED, WAKING
from subclaw.routes.sites import ORIGINAL_URI_HEADER, open_file_route, site_error_route, site_route, unmarked_route

FRONT, REDIRECTING, INNER = "front", "redirecting", "inner"
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

    Without `https` everything is served at `port`. With it, `port` is one of this host alone, for the control plane and
    for Caddy's own questions, and the world is served at those of `https`. `listen` are the IP addresses for that;
    empty means every address of the host. The control plane has the hostname `domain`, tenants' sites those below
    `sites_domain`. `state` is the folder that Caddy's user may write to, `sites` the one with a folder a hostname
    (`folders.py`), `doors` the one with the ways into machines.
    """

    domain: str
    sites_domain: str
    port: int
    listen: tuple[str, ...] = ("127.0.0.1",)
    control_socket: Path
    state: Path
    sites: Path
    doors: Path
    https: CaddyHttps | None = None
    control_body_limit_bytes: int = 16 * 1024 * 1024
    site_body_limit_bytes: int = 64 * 1024 * 1024


def caddy_config(settings: CaddySettings) -> Json:
    """Return the whole configuration.

    Errors: `Invalid` for a port that is none, or a path that Caddy would read as something else.
    """
    config: Json = {
        "admin": {"disabled": True, "config": {"persist": False}},
        "logging": {"logs": {"default": _log()}},
        "storage": {"module": "file_system", "root": str(plain_path(settings.state / "storage"))},
        "apps": {
            "http": {"servers": {FRONT: _server(_listen(settings.listen, settings.port), _front_routes(settings))}}
        },
    }
    if settings.https is not None:
        config["apps"] = _https_apps(settings, settings.https)
    for name in (FRONT, REDIRECTING):
        if server := config["apps"]["http"]["servers"].get(name):
            server["errors"] = {"routes": _error_routes(settings)}
    return config


def _https_apps(settings: CaddySettings, https: CaddyHttps) -> Json:
    strict = [strict_route()] if https.is_strict else []
    front = _server(_listen(settings.listen, https.port), [*strict, *_front_routes(settings)])
    front |= {"protocols": ["h1", "h2"], "tls_connection_policies": [{}]}
    servers = {
        FRONT: front,
        REDIRECTING: _server(_listen(settings.listen, https.http_port), redirecting_routes(https.port)),
        INNER: _server(_listen(("127.0.0.1",), settings.port), _inner_routes(settings, https)),
    }
    ports = {"http_port": https.http_port, "https_port": https.port}
    return {"http": {**ports, "servers": servers}, "tls": tls_app(https, ask_port=settings.port)}


def _server(listen: list[str], routes: list[Json]) -> Json:
    return {
        "listen": listen,
        "automatic_https": {"disable": True},
        "protocols": ["h1"],
        "read_header_timeout": "10s",
        # No limits on the whole of a request or an answer: they would cut event streams and slow uploads.
        "idle_timeout": "2m",
        "max_header_bytes": 32 * 1024,
        "routes": routes,
    }


def _front_routes(settings: CaddySettings) -> list[Json]:
    by_address = _control_route(settings, {"header_regexp": {"Host": {"pattern": _IP_AS_HOST}}})
    return [
        open_file_route(settings.sites),
        unmarked_route(),
        _control_route(settings, {"host": [parse_hostname(settings.domain)]}),
        _reserved_route(settings),
        site_route(
            settings.sites, settings.doors, settings.control_socket, body_limit_bytes=settings.site_body_limit_bytes
        ),
        *([by_address] if settings.https is None else []),
        _unpublished_route(settings),
        {"handle": [answer(404, NOTHING_HERE)]},
    ]


def _inner_routes(settings: CaddySettings, https: CaddyHttps) -> list[Json]:
    """What this host itself may ask: whether there may be a certificate, and the control plane."""
    asked = {"match": [{"path": [CERTIFICATE_PATH]}], "handle": [control_proxy(https.socket)], "terminal": True}
    return [asked, _control_route(settings, {})]


def _listen(listen: tuple[str, ...], port: int) -> list[str]:
    if not 1 <= port <= 65535:
        raise Invalid(f"{port} is not a port: it must be from 1 to 65535.")
    addresses = [ipaddress.ip_address(address) for address in listen]
    hosts = [f"[{address}]" if address.version == 6 else str(address) for address in addresses] or [""]
    return [f"{host}:{port}" for host in hosts]


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
    matched = {"match": [match]} if match else {}
    return {**matched, "handle": [{"handler": "subroute", "routes": inside}], "terminal": True}


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

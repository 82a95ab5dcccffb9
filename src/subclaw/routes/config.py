"""Caddy's configuration as pure values (Caddy's JSON structure, version 2.6).

One HTTP server with its routes in this order: headers for all, the control plane, what is ours below every hostname,
one route a hostname by `@id`, and last the wildcard. A hostname's folder route only says which folder is its root; the
wildcard's route holds, once, how a folder is served, so that a route costs a few hundred bytes and Caddy loads many of
them fast.

What Caddy 2.6 does, and what follows from it:
- every change loads the whole configuration anew: web sockets of all sites end with it, connections that wait to be
  accepted at that instant are reset (see `process.spare_waiting_connections`), and for a few milliseconds after the
  admin API's answer a visitor may still meet the old one. So a new release changes a link on disk, and no route;
- with `flush_interval` -1 a visitor who leaves is not noticed, and the stream behind stays open. Unset, event streams
  and all answers of unknown length are flushed at once too, and a visitor who leaves ends them;
- its logs quote whole requests; those are somebody's words and cookies, so the field is taken out.
"""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subclaw.core.errors import Invalid
from subclaw.core.oauth import RESERVED_PATH
from subclaw.core.route import FolderRoute, PausedRoute, Route
from subclaw.routes.hostname import parse_hostname
from subclaw.routes.pages import NOT_FOUND, NOTHING_HERE, PAUSED, REFUSED, WAKING

Json = dict[str, Any]

SERVER = "front"
ROUTES_PATH = f"/config/apps/http/servers/{SERVER}/routes"
WILDCARD_ID = "wildcard"
EPOCH_ID = "routes-epoch"
UNPUBLISHED_PATH = "/-/unpublished"
"""What the control plane is asked for in place of anything at a hostname that has no route."""

ORIGINAL_URI_HEADER = "X-Original-Uri"
ADMIN_HOST = "caddy.invalid"
"""The `Host` that the admin API expects: a name that no browser can be led to (RFC 2606 §2)."""

RESERVED_BODY_LIMIT_BYTES = 128 * 1024
_SOCKET_PATH_LIMIT_BYTES = 107
_IP_AS_HOST = r"^(\d{1,3}(\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\])(:\d+)?$"
_HIDDEN = r"/\.|\x00"
_WELL_KNOWN = r"^/\.well-known(/[^./][^/]*)*/?$"
_HTML = {"Content-Type": ["text/html; charset=utf-8"], "Cache-Control": ["no-store"]}


@dataclass(frozen=True, kw_only=True)
class CaddySettings:
    """What Caddy is told once, at its start. Paths are absolute.

    `listen` are IP addresses to listen on, all with `port`; empty means every address of the host. `state` is the
    folder that Caddy's user may write to; `admin_socket` lies in a folder that only it and the control plane may enter.
    """

    domain: str
    port: int
    listen: tuple[str, ...] = ("127.0.0.1",)
    control_socket: Path
    admin_socket: Path
    state: Path
    control_body_limit_bytes: int = 16 * 1024 * 1024
    site_body_limit_bytes: int = 64 * 1024 * 1024


def base_config(settings: CaddySettings) -> Json:
    """Return the configuration that Caddy starts with: the control plane, the wildcard, and no site yet."""
    return config_with(settings, [], epoch="")


def config_with(settings: CaddySettings, routes: list[Json], *, epoch: str) -> Json:
    """Return the whole configuration with these routes (as `route_config` makes them), and `epoch` to know them by."""
    server: Json = {
        "listen": _listen(settings),
        "automatic_https": {"disable": True},
        "protocols": ["h1"],
        "read_header_timeout": "10s",
        # No limits on the whole of a request or an answer: they would cut event streams and slow uploads.
        "idle_timeout": "2m",
        "max_header_bytes": 32 * 1024,
        "routes": [
            _headers_route(),
            _control_route(settings),
            _reserved_route(settings),
            *routes,
            _wildcard_route(settings, epoch),
        ],
        "errors": {"routes": _error_routes()},
    }
    return {
        "admin": {
            "listen": f"unix/{_socket(settings.admin_socket)}",
            "origins": [ADMIN_HOST],
            "config": {"persist": False},
        },
        "logging": {"logs": {"default": _log()}},
        "storage": {"module": "file_system", "root": str(_plain(settings.state / "storage"))},
        "apps": {"http": {"servers": {SERVER: server}}},
    }


def route_id(hostname: str) -> str:
    """Return the `@id` of a hostname's route."""
    return f"site:{parse_hostname(hostname)}"


def route_config(route: Route, *, body_limit_bytes: int = CaddySettings.site_body_limit_bytes) -> Json:
    """Return a hostname's route.

    Errors: `Invalid` for a hostname, or a path that Caddy would read as something else.
    """
    if isinstance(route, PausedRoute):
        handlers: list[Json] = [_answer(503, PAUSED)]
    elif isinstance(route, FolderRoute):
        handlers = [{"handler": "vars", "site": "folder", "root": str(_plain(route.folder))}]
    else:
        handlers = [
            _site_headers({}),
            {"handler": "request_body", "max_size": body_limit_bytes},
            # A kept connection would count as a use of the machine behind it, and break when that goes to sleep.
            _proxy(route.address, keep_alive={"enabled": False}),
        ]
    config: Json = {
        "@id": route_id(route.hostname),
        "match": [{"host": [parse_hostname(route.hostname)]}],
        "handle": handlers,
    }
    return config if isinstance(route, FolderRoute) else {**config, "terminal": True}


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


def _headers_route() -> Json:
    return {"handle": [{"handler": "headers", "response": {"deferred": True, "delete": ["Server"]}}]}


def _control_route(settings: CaddySettings) -> Json:
    return {
        "@id": "control",
        "match": [{"host": [parse_hostname(settings.domain)]}, {"header_regexp": {"Host": {"pattern": _IP_AS_HOST}}}],
        "handle": [
            {"handler": "request_body", "max_size": settings.control_body_limit_bytes},
            _control_proxy(settings),
        ],
        "terminal": True,
    }


def _control_proxy(settings: CaddySettings) -> Json:
    # Shorter than the five seconds after which uvicorn closes an idle connection: a POST must not meet that.
    return _proxy(f"unix/{settings.control_socket}", keep_alive={"enabled": True, "idle_timeout": "2s"})


def _reserved_route(settings: CaddySettings) -> Json:
    """What is ours below every tenant's hostname, whether there is a site or not."""
    return {
        "@id": "reserved",
        "match": [{"path": [f"{RESERVED_PATH}*"]}],
        "handle": [{"handler": "request_body", "max_size": RESERVED_BODY_LIMIT_BYTES}, _control_proxy(settings)],
        "terminal": True,
    }


def _proxy(address: str, *, keep_alive: Json) -> Json:
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": _dial(address)}],
        "transport": {
            "protocol": "http",
            "dial_timeout": "3s",
            "response_header_timeout": "2m",
            "max_response_header_size": 64 * 1024,
            "compression": False,
            "keep_alive": keep_alive,
        },
        # Only a failed dial is tried again, so no request reaches a server twice; a restart behind goes unnoticed.
        "load_balancing": {"try_duration": "3s", "try_interval": "100ms"},
    }


def _site_headers(more: Json, *, without: tuple[str, ...] = ()) -> Json:
    headers = {"X-Content-Type-Options": ["nosniff"], "Origin-Agent-Cluster": ["?1"], **more}
    return {"handler": "headers", "response": {"deferred": True, "set": headers, "delete": list(without)}}


def _wildcard_route(settings: CaddySettings, epoch: str) -> Json:
    routes: list[Json] = [
        {"match": [{"vars": {"site": ["folder"]}}], "handle": _folder_handlers(), "terminal": True},
        {
            "match": [{"host": [f"*.{parse_hostname(settings.domain)}"], "method": ["GET", "HEAD"]}],
            "handle": _unpublished_handlers(settings),
            "terminal": True,
        },
        {"handle": [_answer(404, NOTHING_HERE)]},
    ]
    mark = {"@id": EPOCH_ID, "handler": "vars", "epoch": epoch}
    return {"@id": WILDCARD_ID, "handle": [mark, {"handler": "subroute", "routes": routes}]}


def _unpublished_handlers(settings: CaddySettings) -> list[Json]:
    """The control plane says whose hostname it is; while it is away, or has no page for it, there is nothing here."""
    proxy = _proxy(f"unix/{settings.control_socket}", keep_alive={"enabled": True, "idle_timeout": "2s"})
    del proxy["load_balancing"]  # a visitor need not wait for a page that says so little
    asked = {"set": {ORIGINAL_URI_HEADER: ["{http.request.orig_uri}"]}, "delete": ["Cookie", "Authorization"]}
    return [
        {"handler": "vars", "site": "unpublished"},
        {"handler": "rewrite", "uri": UNPUBLISHED_PATH},
        {**proxy, "headers": {"request": asked}},
    ]


def _folder_handlers() -> list[Json]:
    files = {
        "handler": "file_server",
        "index_names": ["index.html"],
        "precompressed": {"gzip": {}},
        "precompressed_order": ["gzip"],
    }
    routes: list[Json] = [
        {
            "match": [{"not": [{"method": ["GET", "HEAD"]}]}],
            "handle": [
                {"handler": "headers", "response": {"set": {"Allow": ["GET, HEAD"]}}},
                {"handler": "error", "status_code": 405},
            ],
        },
        {
            "match": [{"path_regexp": {"pattern": _HIDDEN}, "not": [{"path_regexp": {"pattern": _WELL_KNOWN}}]}],
            "handle": [{"handler": "error", "status_code": 404}],
        },
        {"handle": [{**files, "pass_thru": True}]},
        # What is not there by its name may be a page without its ".html". Asked only then, it costs the others nothing.
        {
            "match": [{"file": {"try_files": ["{http.request.uri.path}.html"]}}],
            "handle": [{"handler": "rewrite", "uri": "{http.matchers.file.relative}"}],
        },
        {"handle": [files]},
    ]
    # A release's file times are fingerprints of their content, for the ETag; they are no dates, and none are compared.
    dates = {"handler": "headers", "request": {"delete": ["If-Modified-Since", "If-Unmodified-Since"]}}
    policy = {"Referrer-Policy": ["strict-origin-when-cross-origin"], "Cache-Control": ["no-cache"]}
    headers = _site_headers(policy, without=("Last-Modified",))
    return [dates, headers, {"handler": "subroute", "routes": routes}]


def _error_routes() -> list[Json]:
    status = "{http.error.status_code}"
    # A path that the file system cannot take, too long a name for one, is an error to Caddy and to visitors a page that
    # is missing.
    missing = {"vars": {"site": ["folder"]}, "expression": f"{status} in [404, 500]"}
    own_page = {**missing, "file": {"try_files": ["/404.html"]}}
    unwanted = {"deferred": True, "delete": ["Server", "Last-Modified", "Etag"]}
    return [
        {"handle": [{"handler": "headers", "response": unwanted}]},
        {
            "match": [own_page],
            "handle": [{"handler": "rewrite", "uri": "/404.html"}, {"handler": "file_server", "status_code": "404"}],
            "terminal": True,
        },
        {"match": [missing], "handle": [_answer(404, NOT_FOUND)], "terminal": True},
        {"match": [{"vars": {"site": ["unpublished"]}}], "handle": [_answer(404, NOTHING_HERE)], "terminal": True},
        {
            "match": [{"expression": f"{status} in [502, 503, 504]"}],
            "handle": [_answer(503, WAKING, {"Retry-After": ["5"]})],
            "terminal": True,
        },
        {"handle": [_answer(status, REFUSED)]},
    ]


def _answer(status: int | str, body: str, headers: Json | None = None) -> Json:
    sent = {**_HTML, "X-Content-Type-Options": ["nosniff"], **(headers or {})}
    return {"handler": "static_response", "status_code": status, "headers": sent, "body": body}


def _plain(path: Path) -> Path:
    """Return a path in which Caddy finds no placeholder and no port."""
    if not path.is_absolute() or any(character in "{}\\\0" for character in str(path)):
        raise Invalid(f"Caddy cannot use the path {str(path)!r}: it must be absolute, without braces or backslashes.")
    return path


def _dial(address: str) -> str:
    network, _, path = address.partition("/")
    if network != "unix":
        raise Invalid(f"Caddy is not told to dial {address!r}: it is not the address of a unix socket.")
    return f"unix/{_socket(Path(path))}"


def _socket(path: Path) -> Path:
    if len(str(_plain(path)).encode()) > _SOCKET_PATH_LIMIT_BYTES:
        raise Invalid(f"The path {str(path)!r} is too long for a socket: choose a shorter state folder (SUBCLAW_HOME).")
    return path

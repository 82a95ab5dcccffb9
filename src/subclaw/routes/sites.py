"""How Caddy serves hostnames that are folders on disk (`folders.py`): a few routes for all of them.

The first sends a file of an open site after two small matchers, and looks at nothing on disk but that file: it is what
nearly all visitors get. Whatever it leaves falls through to the others, each of which may look at the site's folder.
"""

from pathlib import Path

from subclaw.core.oauth import RESERVED_PATH
from subclaw.routes.answers import UNNAMED, Json, answer, control_proxy, plain_path, proxy
from subclaw.routes.folders import DOOR_SUFFIX, FOLDER, OPEN, PAUSED, PRIVATE
from subclaw.routes.pages import NOT_FOUND, PAUSED_PAGE
from subclaw.routes.stand_in import stand_in

ORIGINAL_URI_HEADER = "X-Original-Uri"
PRIVATE_PATH = "/-/private"
"""What the control plane is asked before anybody gets a private site; with 2xx it lets them in."""

_HOSTNAME: Json = {"header_regexp": {"Host": {"pattern": r"^[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::[0-9]+)?$"}}}
"""A hostname as the folders have it: no upper case, no dot at either end, no label that is empty or something else."""

_HIDDEN = r"/\.|\x00"
_WELL_KNOWN = r"^/\.well-known(/[^./][^/]*)*/?$"
_READS: Json = {"method": ["GET", "HEAD"]}
_UNDATED: Json = {"header": {"If-Modified-Since": None, "If-Unmodified-Since": None}}
_GUARDS = {"X-Content-Type-Options": ["nosniff"], "Origin-Agent-Cluster": ["?1"]}
_STATIC = {**_GUARDS, "Referrer-Policy": ["strict-origin-when-cross-origin"], "Cache-Control": ["no-cache"]}
_FROM_FILE = "X-From-File"


def open_file_route(sites: Path) -> Json:
    """Return the route of files that anybody may read; it comes before all others, and passes on what is none.

    A release's file times are fingerprints of their content, for the ETag; they are no dates, and none are told. But a
    server's own dates, behind a door that this route passes on to, stay: hence the mark.
    """
    left_to_others = rf"{_HIDDEN}|^{RESERVED_PATH}"
    return {
        "match": [_READS | _HOSTNAME | _UNDATED | {"not": [{"path_regexp": {"pattern": left_to_others}}]}],
        "handle": [
            {"handler": "headers", "response": {"set": {**_STATIC, _FROM_FILE: ["1"]}, "delete": ["Server"]}},
            {
                "handler": "headers",
                "response": {"require": {"headers": {_FROM_FILE: ["1"]}}, "delete": [_FROM_FILE, "Last-Modified"]},
            },
            _files(_site(sites / OPEN), pass_thru=True),
        ],
    }


def unmarked_route() -> Json:
    """Return the route that takes off what the first one has put on, for whatever it did not answer."""
    return {"handle": [{"handler": "headers", "response": {"delete": [*_STATIC, _FROM_FILE, "Server"]}}]}


def site_route(sites: Path, doors: Path, control_socket: Path, *, body_limit_bytes: int) -> Json:
    """Return the route of hostnames that have a folder in `sites`; it answers all their requests."""
    site = _site(sites)
    routes: list[Json] = [
        _has(site, PAUSED, [answer(503, PAUSED_PAGE)]),
        {"match": [_file(site, PRIVATE)], "handle": [_admission(control_socket)]},
        _has(site, f"*{DOOR_SUFFIX}", _door_handlers(doors, f"{site}/{FOLDER}", body_limit_bytes)),
        {"handle": _folder_handlers(f"{site}/{FOLDER}")},
    ]
    return {
        "match": [_HOSTNAME | _file(site, "")],
        "handle": [{"handler": "subroute", "routes": routes}],
        "terminal": True,
    }


def site_error_route(sites: Path) -> Json:
    """Return what visitors get when a page of a folder is missing.

    A path that the file system cannot take, too long a name for one, is an error to Caddy and to visitors a page that
    is missing.
    """
    site = _site(sites)
    missing = {"expression": "{http.error.status_code} in [404, 500]"}
    own_page = _file(f"{site}/{FOLDER}", "404.html")
    pages: list[Json] = [
        {
            "match": [own_page],
            "handle": [
                {"handler": "rewrite", "uri": "/404.html"},
                {"handler": "file_server", "root": f"{site}/{FOLDER}", "status_code": "404"},
            ],
            "terminal": True,
        },
        {"handle": [answer(404, NOT_FOUND)]},
    ]
    served = (_HOSTNAME | _file(_site(sites / OPEN), ""), {"vars": {"site": ["folder"]}})
    return {
        "match": [missing | one for one in served],
        "handle": [{"handler": "subroute", "routes": pages}],
        "terminal": True,
    }


def _site(sites: Path) -> str:
    """Return where a request's site is. Only what matches `_HOSTNAME` may come this far."""
    return f"{plain_path(sites)}/{{http.request.host}}"


def _file(root: str, name: str) -> Json:
    """Match if a file is there; a folder if the name ends with a slash, or is empty."""
    return {"file": {"root": root, "try_files": [f"/{name}"]}}


def _has(site: str, name: str, handlers: list[Json]) -> Json:
    return {"match": [_file(site, name)], "handle": handlers, "terminal": True}


def _files(root: str, *, pass_thru: bool = False) -> Json:
    compressed = {"precompressed": {"gzip": {}}, "precompressed_order": ["gzip"]}
    return {"handler": "file_server", "root": root, "index_names": ["index.html"], "pass_thru": pass_thru, **compressed}


def _admission(control_socket: Path) -> Json:
    """Ask the control plane; what it answers is the visitor's answer, but 2xx, which lets the request go on."""
    asked = {"method": "GET", "uri": PRIVATE_PATH}
    # A web socket is asked about like a page: the control plane opens none.
    plain = ["Connection", "Upgrade", "Sec-Websocket-*"]
    headers = {"request": {"set": {ORIGINAL_URI_HEADER: ["{http.request.orig_uri}"]}, "delete": plain}}
    admitted: Json = {
        "match": {"status_code": [2]},
        "routes": [{"handle": [{"handler": "vars", "visitor": "admitted"}]}],
    }
    return {**control_proxy(control_socket), "rewrite": asked, "headers": headers, "handle_response": [admitted]}


def _door_handlers(doors: Path, folder: str, body_limit_bytes: int) -> list[Json]:
    """Pass a request on to the socket that is named as the file which the matcher found.

    Files of the folder, if there are any, answer what the machine behind it is not to serve.
    """
    door = f"unix/{plain_path(doors)}{{http.matchers.file.relative}}"
    return [
        UNNAMED,
        {"handler": "headers", "response": {"deferred": True, "set": _GUARDS}},
        {"handler": "request_body", "max_size": body_limit_bytes},
        # A kept connection would count as a use of the machine behind it, and break when that goes to sleep.
        {**proxy(door, keep_alive={"enabled": False}), "handle_response": stand_in(folder)},
    ]


def _folder_handlers(root: str) -> list[Json]:
    routes: list[Json] = [
        {
            "match": [{"not": [_READS]}],
            "handle": [
                {"handler": "headers", "response": {"set": {"Allow": ["GET, HEAD"]}}},
                {"handler": "error", "status_code": 405},
            ],
        },
        {
            "match": [{"path_regexp": {"pattern": _HIDDEN}, "not": [{"path_regexp": {"pattern": _WELL_KNOWN}}]}],
            "handle": [{"handler": "error", "status_code": 404}],
        },
        {"handle": [_files(root, pass_thru=True)]},
        # What is not there by its name may be a page without its ".html". Asked only then, it costs the others nothing.
        {
            "match": [{"file": {"root": root, "try_files": ["{http.request.uri.path}.html"]}}],
            "handle": [{"handler": "rewrite", "uri": "{http.matchers.file.relative}"}],
        },
        {"handle": [_files(root)]},
    ]
    dates = {"handler": "headers", "request": {"delete": ["If-Modified-Since", "If-Unmodified-Since"]}}
    headers = {"handler": "headers", "response": {"deferred": True, "set": _STATIC, "delete": ["Last-Modified"]}}
    return [{"handler": "vars", "site": "folder"}, dates, headers, {"handler": "subroute", "routes": routes}]

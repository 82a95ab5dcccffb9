"""What answers a visit that a machine is not to serve: the files of the site's last static release, if it ever had one.

The door says so in a header of its answer (`core/waking.py`); what else it says is a plain page.
"""

from typing import Any

from subclaw.core.waking import RESTING_HEADER

Json = dict[str, Any]

_HIDDEN = r"/\.|\x00"


def stand_in(root: str) -> list[Json]:
    """Return what Caddy's `reverse_proxy` does with such an answer; `root` is the folder of the release."""
    path = "{http.request.uri.path}"
    is_file: Json = {
        "method": ["GET", "HEAD"],
        "not": [{"path_regexp": {"pattern": _HIDDEN}}],
        "file": {"root": root, "try_files": [path, f"{path}/index.html"]},
    }
    headers = {"Cache-Control": ["no-cache"], "X-Content-Type-Options": ["nosniff"]}
    files: Json = {"handler": "file_server", "root": root, "index_names": ["index.html"]}
    unmarked = {"handler": "headers", "response": {"deferred": True, "delete": [RESTING_HEADER]}}
    routes: list[Json] = [
        {
            "match": [is_file],
            "handle": [
                {"handler": "headers", "response": {"deferred": True, "set": headers, "delete": ["Last-Modified"]}},
                files,
            ],
            "terminal": True,
        },
        {"handle": [unmarked, {"handler": "copy_response"}]},
    ]
    return [{"match": {"headers": {RESTING_HEADER: ["*"]}}, "routes": routes}]

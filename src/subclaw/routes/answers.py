"""Parts of Caddy's configuration that several kinds of routes are made of."""

from pathlib import Path
from typing import Any

from subclaw.core.errors import Invalid

Json = dict[str, Any]

_SOCKET_PATH_LIMIT_BYTES = 107
_HTML = {"Content-Type": ["text/html; charset=utf-8"], "Cache-Control": ["no-store"]}

UNNAMED: Json = {"handler": "headers", "response": {"deferred": True, "delete": ["Server"]}}
"""Says nothing of what answers: neither Caddy nor a server behind it."""


def answer(status: int | str, body: str, headers: Json | None = None) -> Json:
    """Return a handler that answers with a page of our own (see `pages`)."""
    sent = {**_HTML, "X-Content-Type-Options": ["nosniff"], **(headers or {})}
    return {"handler": "static_response", "status_code": status, "headers": sent, "body": body}


def proxy(address: str, *, keep_alive: Json) -> Json:
    """Return a handler that passes a request on to an address in Caddy's notation."""
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": address}],
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


def control_proxy(control_socket: Path) -> Json:
    """Return a handler that passes a request on to the control plane."""
    # Shorter than the five seconds after which uvicorn closes an idle connection: a POST must not meet that.
    return proxy(f"unix/{socket_path(control_socket)}", keep_alive={"enabled": True, "idle_timeout": "2s"})


def plain_path(path: Path) -> Path:
    """Return a path in which Caddy finds no placeholder and no port. Errors: `Invalid`."""
    if not path.is_absolute() or any(character in "{}\\\0" for character in str(path)):
        raise Invalid(f"Caddy cannot use the path {str(path)!r}: it must be absolute, without braces or backslashes.")
    return path


def socket_path(path: Path) -> Path:
    """Return a path that the kernel takes for a socket, too. Errors: `Invalid`."""
    if len(str(plain_path(path)).encode()) > _SOCKET_PATH_LIMIT_BYTES:
        raise Invalid(f"The path {str(path)!r} is too long for a socket: choose a shorter state folder (SUBCLAW_HOME).")
    return path

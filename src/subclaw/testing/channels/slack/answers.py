"""What methods are called with, and how they refuse."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

Arguments = Mapping[str, Any]
"""What a method is called with, by name."""


def refusal(code: str) -> web.Response:
    """Return Slack's refusal: HTTP 200, and a code in words."""
    return web.json_response({"ok": False, "error": code})

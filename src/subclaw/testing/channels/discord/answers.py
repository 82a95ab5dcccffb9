"""Answers of the REST API, as Discord writes them."""

import json
from collections.abc import Mapping

from aiohttp import web


def json_answer(document: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an answer as Discord gives it: discord.py looks for this media type and no other."""
    told = {"Content-Type": "application/json", **(headers or {})}
    return web.Response(body=json.dumps(document).encode(), status=status, headers=told)


def error_answer(status: int, code: int, message: str) -> web.Response:
    """Return a refusal: the HTTP status, Discord's own code, and words."""
    return json_answer({"message": message, "code": code}, status=status)

"""`subclaw keys`: API keys are made, listed, ended and rotated."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.core.api_key import KEY_BYTES, new_key, read_scopes
from subclaw.core.errors import Invalid
from subclaw.store import api_keys

NAME_LIMIT_CHARACTERS = 200


async def make(
    settings: Settings,
    console: Console,
    *,
    name: str,
    scopes: Sequence[str],
    agents: Sequence[str],
    per_minute: int,
    days: int | None,
    as_json: bool,
) -> None:
    """Make a key and print it. Errors: `Invalid`, `Unavailable`."""
    if not 0 < len(name) <= NAME_LIMIT_CHARACTERS:
        raise Invalid(f"A key's name has 1 to {NAME_LIMIT_CHARACTERS} characters.")
    read, key = read_scopes(scopes), new_key(secrets.token_bytes(KEY_BYTES))
    life = None if days is None else timedelta(days=days)
    async with operator_database(settings) as operator:
        number = await api_keys.make_key(
            operator, key, name=name, scopes=read, agents=agents, per_minute=per_minute, life=life
        )
    show(
        [{"number": number, "key": key, "name": name, "scopes": " ".join(sorted(read))}],
        console,
        as_json=as_json,
        none="",
    )


async def show_list(settings: Settings, console: Console, *, limit: int, as_json: bool) -> None:
    """Print the newest keys, without what they are. Errors: `Unavailable`."""
    async with operator_database(settings) as operator:
        found = await api_keys.listed(operator, limit=limit)
    rows = [
        {
            "number": key.id,
            "name": key.name,
            "begins": key.shown,
            "state": key.state,
            "scopes": " ".join(key.scopes),
            "agents": " ".join(key.agents) or "all",
            "per_minute": key.per_minute,
            "until": _shown(key.expires_at),
            "last_used": _shown(key.last_used_at),
        }
        for key in found
    ]
    show(rows, console, as_json=as_json, none="There are no keys. Make one with: subclaw keys make")


async def revoke(settings: Settings, console: Console, number: int) -> None:
    """End a key. Errors: `NotFound`, `Unavailable`."""
    async with operator_database(settings) as operator:
        await api_keys.revoke_key(operator, number)
    console.print(f"Key {number} is good for nothing any more.")


async def rotate(settings: Settings, console: Console, number: int, *, overlap_hours: int, as_json: bool) -> None:
    """Make another key in the place of one, and print it. Errors: `NotFound`, `Unavailable`."""
    key = new_key(secrets.token_bytes(KEY_BYTES))
    async with operator_database(settings) as operator:
        new = await api_keys.rotate_key(operator, number, key, overlap=timedelta(hours=overlap_hours))
    show([{"number": new, "key": key, "in_place_of": number}], console, as_json=as_json, none="")


def _shown(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else ""

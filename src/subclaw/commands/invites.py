"""`subclaw invites`: codes by which strangers come in."""

import random
from datetime import timedelta

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.core.errors import Invalid, NotFound
from subclaw.core.onboarding import new_invite
from subclaw.store import invites

NOTE_LIMIT_CHARACTERS = 200


async def make_invites(
    settings: Settings, console: Console, *, uses: int, days: int, count: int, note: str, as_json: bool
) -> None:
    """Make codes and print them. Errors: `Invalid`, `Unavailable`."""
    if len(note) > NOTE_LIMIT_CHARACTERS:
        raise Invalid(f"A note has at most {NOTE_LIMIT_CHARACTERS} characters.")
    chooser, rows = random.SystemRandom(), []
    async with operator_database(settings) as operator:
        for _ in range(count):
            code = new_invite(chooser)
            number = await invites.make(operator, code, note=note, uses=uses, life=timedelta(days=days))
            rows.append({"number": number, "code": code, "uses": uses, "days": days, "note": note})
    show(rows, console, as_json=as_json, none="")


async def list_invites(settings: Settings, console: Console, *, limit: int, as_json: bool) -> None:
    """Print the newest codes, without what they are. Errors: `Unavailable`."""
    async with operator_database(settings) as operator:
        found = await invites.listed(operator, limit=limit)
    rows = [
        {
            "number": invite.id,
            "state": invite.state,
            "used": f"{invite.used} of {invite.uses}",
            "until": f"{invite.expires_at:%Y-%m-%d %H:%M}",
            "note": invite.note,
        }
        for invite in found
    ]
    show(rows, console, as_json=as_json, none="There are no invites. Make one with: subclaw invites make")


async def revoke_invite(settings: Settings, console: Console, number: int) -> None:
    """End a code. Errors: `NotFound`, `Unavailable`."""
    async with operator_database(settings) as operator:
        if not await invites.revoke(operator, number):
            raise NotFound(f"There is no invite {number} that is not revoked yet.")
    console.print(f"Nobody comes in by invite {number} any more.")

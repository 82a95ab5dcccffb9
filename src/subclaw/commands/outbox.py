"""`subclaw outbox`: replies that did not go out, and sending them again or giving them up."""

from datetime import UTC

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.store.dead_letters import dead_letters, drop_letter, retry_letter


async def list_outbox(settings: Settings, console: Console, *, limit: int, as_json: bool) -> None:
    """List replies that did not go out, the newest first."""
    async with operator_database(settings) as operator:
        found = await dead_letters(operator, limit=limit)
    rows = [
        {
            "id": letter.id,
            "tenant": letter.tenant_name,
            "channel": letter.channel,
            "state": letter.state,
            "goes_on": letter.waits,
            "parts_sent": f"{letter.parts_sent}/{letter.parts}" if letter.parts else "0",
            "tries": letter.attempts,
            "written": letter.written_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ"),
            "reason": letter.detail,
        }
        for letter in found
    ]
    show(rows, console, as_json=as_json, none="Every reply went out.")


async def retry(settings: Settings, console: Console, id: int) -> None:
    """Have a reply sent again. Errors: `Conflict`."""
    async with operator_database(settings) as operator:
        await retry_letter(operator, id)
    console.print(f"Reply {id} is sent again.", soft_wrap=True)


async def drop(settings: Settings, console: Console, id: int) -> None:
    """Give a reply up. Errors: `Conflict`."""
    async with operator_database(settings) as operator:
        await drop_letter(operator, id)
    console.print(f"Reply {id} is given up.", soft_wrap=True)

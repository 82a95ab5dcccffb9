"""The tool that undoes what was done on the tenant's machine, and the checkpoints that it goes back to."""

from collections.abc import Mapping, Sequence
from typing import Any

from subclaw.core.errors import Exhausted, NotFound
from subclaw.core.machine import BEFORE_ROLL_BACK, Checkpoint, Machines
from subclaw.core.tool import Caller
from subclaw.tools.toolbox import Tool, define

MOST_TURNS_BACK = 3


def undo_tools(machines: Machines) -> tuple[Tool, ...]:
    """Return the tool `undo`."""

    async def undo(caller: Caller, arguments: Mapping[str, Any]) -> str:
        kept = await machines.checkpoints(caller.tenant_id)
        if arguments.get("redo", False):
            goal = last_undone(kept)
        else:
            goal = before_turn(kept, label_of(caller), arguments.get("turns_back", 1))
        await machines.roll_back(caller.tenant_id, goal.label)
        return f"All files are as they were at {goal.made_at:%Y-%m-%d %H:%M} UTC. A published site has not changed."

    return (Tool(definition=_UNDO, perform=undo),)


async def keep_files(machines: Machines, caller: Caller) -> None:
    """Keep what the machine's disk is before a turn first changes it.

    A host without room for that keeps nobody from working: this turn then cannot be undone.
    """
    try:
        await machines.checkpoint(caller.tenant_id, label_of(caller))
    except Exhausted:
        return


def label_of(caller: Caller) -> str:
    """Return the label of the checkpoint from before the caller's turn."""
    return caller.turn_id.replace("_", "-")


def before_turn(kept: Sequence[Checkpoint], own: str, turns_back: int) -> Checkpoint:
    """Return the checkpoint from before the turn that was so many turns with changes ago. Raises `NotFound`."""
    earlier = [checkpoint for checkpoint in kept if checkpoint.label not in (own, BEFORE_ROLL_BACK)]
    if len(earlier) < turns_back:
        raise NotFound(f"Nothing can be undone that far back: {len(earlier)} earlier turns are kept.")
    return earlier[-turns_back]


def last_undone(kept: Sequence[Checkpoint]) -> Checkpoint:
    """Return what the disk was before it was last rolled back. Raises `NotFound`."""
    found = next((checkpoint for checkpoint in kept if checkpoint.label == BEFORE_ROLL_BACK), None)
    if found is None:
        raise NotFound("Nothing was undone that could be brought back.")
    return found


_UNDO = define(
    "undo",
    "Put your machine back to before an earlier turn.",
    idempotent=False,
    turns_back={"type": "integer", "minimum": 1, "maximum": MOST_TURNS_BACK, "default": 1},
    redo={"type": "boolean", "default": False},
)

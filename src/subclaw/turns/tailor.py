"""The tailor: makes of turns what a conversation's tenant has of its own: the files of its house, and a model."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from subclaw.core.errors import SubclawError
from subclaw.core.harness import Harness, NewerDefault, newer_defaults, read_harness
from subclaw.core.house import StoredFile, fingerprint
from subclaw.core.machine import Machines
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.core.turn import Conversation
from subclaw.harness.system import system_text
from subclaw.models.by_name import OpenedModel
from subclaw.store.database import Database
from subclaw.store.house import note_shown, read_house, read_marks, read_revision, serve_house
from subclaw.tools.commands import Placeholders
from subclaw.tools.harness import Reloaded
from subclaw.tools.tenant import tenant_tools
from subclaw.tools.toolbox import BuiltInToolbox, always, never
from subclaw.turns.run import Turns

KEPT_LIMIT = 500
"""Of how many tenants a worker keeps what it has read."""

SYNC_LIMIT_S = 5.0
"""How long a turn waits for a machine to say what is in its house; then it goes by the mirror."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Outfit:
    """What a house makes of an agent at one revision, and the newer defaults that its tenant has not been shown."""

    revision: int
    harness: Harness
    toolbox: BuiltInToolbox
    newer: tuple[NewerDefault, ...]


class Tailor:
    """Reads houses, and keeps what they come to. `url_of` makes the address of a website of a tenant's name.

    `toolbox` has the built-in tools; `defaults` are the files of a house that its tenant has not touched, by path.
    `model_of` opens models by name. With `approve_commands` a person must approve each call of a tenant's own tools:
    they are commands as those of `shell_exec` are, and it would be of no use to have only the latter approved.
    """

    def __init__(
        self,
        *,
        database: Database,
        machines: Machines,
        placeholders: Placeholders,
        toolbox: BuiltInToolbox,
        defaults: Mapping[str, bytes],
        model_of: Callable[[str], OpenedModel],
        url_of: Callable[[str], str],
        clock: Callable[[], datetime],
        approve_commands: bool = False,
    ) -> None:
        self._database = database
        self._machines = machines
        self._placeholders = placeholders
        self._toolbox = toolbox
        self._built_in = [tool.name for tool in toolbox.definitions()]
        self._defaults = defaults
        self._model_of = model_of
        self._url_of = url_of
        self._clock = clock
        self._must_be_approved = always if approve_commands else never
        self._kept: OrderedDict[TenantId, Outfit] = OrderedDict()
        self._plain = self._made(0, (), ())

    async def __call__(self, turns: Turns, conversation: Conversation) -> Turns:
        """Return the turns of a conversation; see `Turns.tailor`."""
        outfit = await self._outfit(conversation)
        name = conversation.tenant_name
        text = system_text(
            outfit.harness,
            name=name,
            url=self._url_of(name),
            now=self._clock(),
            time_zone=conversation.time_zone,
            newer=[default.path for default in outfit.newer],
        )
        opened = self._model_of(conversation.model)
        return replace(
            turns,
            instructions=lambda _: text,
            toolbox=outfit.toolbox,
            model=opened.model,
            cheaper=opened.cheaper,
            tariff=opened.tariff,
            window_tokens=opened.window_tokens,
        )

    async def reload(self, caller: Caller) -> Reloaded:
        """Read a tenant's house anew. The newer defaults that it is shown by that, it is not shown again."""
        before = self._kept.get(caller.tenant_id, self._plain)
        after = await self._read_anew(caller.tenant_id)
        if after.newer:
            marks = {default.path: fingerprint(self._defaults[default.path]) for default in after.newer}
            await note_shown(self._database, caller.tenant_id, marks)
            self._keep(caller.tenant_id, replace(after, newer=()))
        return Reloaded(before=before.harness, after=after.harness, newer=after.newer)

    async def _outfit(self, conversation: Conversation) -> Outfit:
        tenant_id = conversation.lease.tenant_id
        if conversation.is_awake:
            return await self._read_anew(tenant_id)
        if not conversation.house_revision:
            return self._plain
        return self._known(tenant_id, conversation.house_revision) or await self._read(tenant_id)

    async def _read_anew(self, tenant_id: TenantId) -> Outfit:
        """Read a house after the machine, if it is awake, has said what is in it."""
        try:
            async with asyncio.timeout(SYNC_LIMIT_S):
                await self._machines.sync_house(tenant_id)
        except (SubclawError, TimeoutError) as error:
            log.warning("the house of tenant %s is as it was last seen: %s", tenant_id, type(error).__name__)
        return await self._read(tenant_id)

    async def _read(self, tenant_id: TenantId) -> Outfit:
        revision = await read_revision(self._database, tenant_id)
        if revision is None:
            return self._plain
        if known := self._known(tenant_id, revision):
            return known
        files = await read_house(self._database, tenant_id)
        marks = await read_marks(self._database, tenant_id)
        outfit = self._made(revision, files, newer_defaults(files, self._defaults, marks.laid, marks.shown))
        await serve_house(self._database, tenant_id, revision, sorted(outfit.harness.good))
        return self._keep(tenant_id, outfit)

    def _known(self, tenant_id: TenantId, revision: int) -> Outfit | None:
        outfit = self._kept.get(tenant_id)
        return outfit if outfit and outfit.revision == revision else None

    def _keep(self, tenant_id: TenantId, outfit: Outfit) -> Outfit:
        self._kept[tenant_id] = outfit
        self._kept.move_to_end(tenant_id)
        if len(self._kept) > KEPT_LIMIT:
            self._kept.popitem(last=False)
        return outfit

    def _made(self, revision: int, files: Sequence[StoredFile], newer: tuple[NewerDefault, ...]) -> Outfit:
        harness = read_harness(files, self._defaults, self._built_in)
        own = tenant_tools(self._machines, self._placeholders, harness.tools)
        tools = [replace(tool, must_be_approved=self._must_be_approved) for tool in own]
        return Outfit(revision=revision, harness=harness, toolbox=self._toolbox.joined(tools), newer=newer)

"""Versions of agents: what was applied, what is live, and what a share of customers tries.

The database is open in the operator's role, but where it says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from subclaw.core.business import AgentPackage
from subclaw.core.errors import Conflict, NotFound
from subclaw.store.database import Connection, Database


@dataclass(frozen=True, kw_only=True)
class AppliedAgent:
    """What customers of an agent get: `live`, or for `canary_share` hundredths of them `canary`.

    `before` is what a rollback goes back to. Each is a version's number, None if there is none.
    """

    id: str
    live: int | None
    before: int | None
    canary: int | None
    canary_share: int


@dataclass(frozen=True, kw_only=True)
class VersionSummary:
    """One line of the list of versions. `sessions` counts those that were ever opened with it."""

    number: int
    digest: str
    files: int
    size_bytes: int
    applied_at: datetime
    sessions: int


async def applied_agent(operator: Database, agent: str) -> AppliedAgent | None:
    """Return what is applied of an agent; None if nothing ever was. Errors: `Unavailable`."""
    rows = await operator.rows(f"{_AGENTS} WHERE id = %s", agent)
    return AppliedAgent(**dict(zip(_FIELDS, rows[0], strict=True))) if rows else None


async def applied_agents(operator: Database, *, limit: int) -> tuple[AppliedAgent, ...]:
    """List agents by name. Errors: `Unavailable`."""
    rows = await operator.rows(f"{_AGENTS} ORDER BY id LIMIT %s", limit)
    return tuple(AppliedAgent(**dict(zip(_FIELDS, row, strict=True))) for row in rows)


async def version_files(database: Database, agent: str, number: int) -> Mapping[str, bytes]:
    """Return a version's files by path; also in the application's role. Errors: `NotFound`, `Unavailable`."""
    query = "SELECT paths, contents FROM agent_version WHERE agent = %s AND number = %s"
    for paths, contents in await database.rows(query, agent, number):
        return dict(zip(paths, map(bytes, contents), strict=True))
    raise NotFound(f"There is no version {number} of {agent}.")


async def list_versions(operator: Database, agent: str, *, limit: int) -> tuple[VersionSummary, ...]:
    """List an agent's versions, the newest first. Errors: `Unavailable`."""
    query = """
        SELECT v.number, v.digest, cardinality(v.paths),
               (SELECT coalesce(sum(length(c)), 0)::bigint FROM unnest(v.contents) c), v.applied_at,
               (SELECT count(*) FROM session s WHERE s.agent = v.agent AND s.version = v.number)
        FROM agent_version v WHERE v.agent = %s ORDER BY v.number DESC LIMIT %s
    """
    return tuple(
        VersionSummary(
            number=number, digest=digest, files=files, size_bytes=size_bytes, applied_at=applied_at, sessions=sessions
        )
        for number, digest, files, size_bytes, applied_at, sessions in await operator.rows(query, agent, limit)
    )


@dataclass(frozen=True, kw_only=True)
class SessionSummary:
    """One line of the list of sessions: a conversation, of whom, with what, and how many messages came."""

    conversation_id: int
    customer: str
    version: int
    opened_at: datetime
    messages: int


async def list_sessions(
    operator: Database, agent: str, *, customer: str | None, limit: int
) -> tuple[SessionSummary, ...]:
    """List an agent's sessions, or those of one customer, the newest first. Errors: `Unavailable`."""
    query = """
        SELECT s.conversation_id, t.customer, s.version, s.opened_at, c.inbox_seq
        FROM session s JOIN tenant t ON t.id = s.tenant_id JOIN conversation c ON c.id = s.conversation_id
        WHERE s.agent = %s AND (%s::text IS NULL OR t.customer = %s) ORDER BY s.conversation_id DESC LIMIT %s
    """
    return tuple(
        SessionSummary(
            conversation_id=conversation_id, customer=name, version=version, opened_at=opened_at, messages=messages
        )
        for conversation_id, name, version, opened_at, messages in await operator.rows(
            query, agent, customer, customer, limit
        )
    )


async def apply(operator: Database, package: AgentPackage, *, canary_share: int = 0) -> int:
    """Keep a folder as a version, and make it live, or the canary of a share of customers; return its number.

    What was applied before, as it is now, keeps its number. Errors: `Conflict`, `Unavailable`.
    """
    async with operator.transaction() as connection:
        await connection.execute("INSERT INTO agent (id) VALUES (%s) ON CONFLICT DO NOTHING", [package.id])
        agent = await _hold(connection, package.id)
        number = await _kept(connection, package)
        if not canary_share:
            await _go_live(connection, agent, number)
        elif agent.live is None:
            raise Conflict(f"Nothing of {agent.id} is live yet: apply it without --canary.")
        elif agent.live == number:
            raise Conflict(f"Version {number} is live already: there is nothing to try.")
        else:
            query = "UPDATE agent SET canary = %s, canary_share = %s, changed_at = now() WHERE id = %s"
            await connection.execute(query, [number, canary_share, agent.id])
    return number


async def promote(operator: Database, agent_id: str) -> int:
    """Make the canary live for everybody; return its number. Errors: `NotFound`, `Conflict`, `Unavailable`."""
    async with operator.transaction() as connection:
        agent = await _hold(connection, agent_id)
        if agent.canary is None:
            raise Conflict(f"{agent.id} has no canary: subclaw agents apply FOLDER --canary 10%")
        await _go_live(connection, agent, agent.canary)
        return agent.canary


async def roll_back(operator: Database, agent_id: str, *, to: int | None = None) -> int:
    """Take the canary away if there is one, and otherwise go back to the version before, or to one; return its number.

    Errors: `NotFound`, `Conflict`, `Unavailable`.
    """
    async with operator.transaction() as connection:
        agent = await _hold(connection, agent_id)
        if to is None and agent.canary is not None and agent.live is not None:
            await connection.execute(f"{_NO_CANARY} WHERE id = %s", [agent.id])
            return agent.live
        number = to if to is not None else agent.before
        if number is None:
            raise Conflict(f"There is no version before this one: subclaw agents versions {agent.id}")
        found = await connection.execute(
            "SELECT FROM agent_version WHERE agent = %s AND number = %s", [agent.id, number]
        )
        if not found.rowcount:
            raise NotFound(f"There is no version {number} of {agent.id}.")
        await _go_live(connection, agent, number)
        await connection.execute("UPDATE agent SET before = NULL WHERE id = %s", [agent.id])
        return number


_FIELDS = ("id", "live", "before", "canary", "canary_share")
_AGENTS = "SELECT id, live, before, canary, canary_share FROM agent"
_NO_CANARY = "UPDATE agent SET canary = NULL, canary_share = 0, changed_at = now()"


async def _hold(connection: Connection, agent: str) -> AppliedAgent:
    """Return an agent, which nobody else changes until the transaction ends."""
    cursor = await connection.execute(f"{_AGENTS} WHERE id = %s FOR UPDATE", [agent])
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"There is no agent {agent[:64]!r}: subclaw agents apply FOLDER")
    return AppliedAgent(**dict(zip(_FIELDS, row, strict=True)))


async def _kept(connection: Connection, package: AgentPackage) -> int:
    query = "SELECT number FROM agent_version WHERE agent = %s AND digest = %s"
    cursor = await connection.execute(query, [package.id, package.digest])
    if row := await cursor.fetchone():
        return int(row[0])
    cursor = await connection.execute(
        """
        INSERT INTO agent_version (agent, number, digest, paths, contents, channels)
            SELECT %s, coalesce(max(number), 0) + 1, %s, %s, %s::bytea[], %s FROM agent_version WHERE agent = %s
            RETURNING number
        """,
        [
            package.id,
            package.digest,
            list(package.files),
            list(package.files.values()),
            list(package.channels),
            package.id,
        ],
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def _go_live(connection: Connection, agent: AppliedAgent, number: int) -> None:
    before = agent.before if agent.live == number else agent.live
    query = f"{_NO_CANARY}, live = %s, before = %s WHERE id = %s"
    await connection.execute(query, [number, before, agent.id])

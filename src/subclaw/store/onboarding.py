"""Onboarding: strangers let in or turned away, names given, and what is made ready meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from subclaw.core.channel import Address, InboundMessage, Receipt
from subclaw.core.fault import FaultPoint, reached
from subclaw.core.onboarding import Need, Refusal, Stage
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database

NAME_KEPT = timedelta(days=30)
"""How long a name that a tenant had leads to its site, and is nobody else's."""

NAMES_A_DAY = 5
"""Most names that a tenant has in a day."""

TOLD_LIMIT = 1
CODES_TOLD_LIMIT = 5
"""How often a stranger is answered in a day: once, and some times more if they try codes."""

TOLD_AN_HOUR = 200
"""Most strangers who are answered in an hour; what they say costs them nothing, and the operator a text each."""

_ADMIT = "SELECT * FROM admit(%s, %s, %s, %s::bytea[], %s, %s::text[], %s::text[], %s, %s, %s, %s)"
_ANSWER = "SELECT answer_onboarding(%s, %s, %s, %s, %s, %s, %s, %s)"
_CHOOSE = "SELECT choose_name(%s, %s, %s, %s, %s, %s::text[], %s::text[], %s, %s, %s, %s, %s)"


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What a stranger comes in by: what they need, hashes of codes that they sent, names with their greetings.

    None in place of a greeting is none. With `answers` it is said at once, as the answer to the message.
    """

    need: Need
    code_hashes: Sequence[bytes]
    names: Sequence[str]
    greetings: Sequence[str | None]
    answers: bool


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """What the platform knows of whoever writes. `is_answered` says that it has answered this very message before."""

    receipt: Receipt
    name: str
    stage: Stage
    is_answered: bool


async def admit(
    database: Database, message: InboundMessage, admission: Admission, *, an_hour: int, send: bool
) -> Receipt | Refusal:
    """Let a stranger in, or say why not; somebody who is in already stays so."""
    reached(FaultPoint.STRANGER_MET)
    ((outcome, tenant_id, conversation_id),) = await database.rows(
        _ADMIT,
        message.sender.channel,
        message.sender.address,
        admission.need.value,
        list(admission.code_hashes),
        an_hour,
        list(admission.names),
        list(admission.greetings),
        send,
        message.provider_id,
        message.text if admission.answers else None,
        message.received_at,
    )
    if tenant_id:
        reached(FaultPoint.STRANGER_ADMITTED)
        return Receipt(tenant_id=TenantId(tenant_id), conversation_id=conversation_id, duplicate=outcome == "known")
    return Refusal(outcome)


async def find_newcomer(database: Database, address: Address, provider_id: str) -> Newcomer | None:
    """Return what is known of whoever writes from this address; None for a stranger."""
    rows = await database.rows("SELECT * FROM onboarding_of(%s, %s, %s)", address.channel, address.address, provider_id)
    for tenant_id, conversation_id, name, stage, is_answered in rows:
        receipt = Receipt(tenant_id=TenantId(tenant_id), conversation_id=conversation_id, duplicate=is_answered)
        return Newcomer(receipt=receipt, name=name, stage=Stage(stage), is_answered=is_answered)
    return None


async def answer(database: Database, message: InboundMessage, *, stage: Stage, reply: str, send: bool) -> None:
    """Answer a message beside the agent, once."""
    await database.rows(_ANSWER, *_of(message), stage.value, reply, send)
    reached(FaultPoint.NAME_ANSWERED)


async def choose_name(
    database: Database,
    message: InboundMessage,
    names: Sequence[str],
    replies: Sequence[str],
    *,
    exact: bool,
    too_often: str,
    send: bool,
) -> None:
    """Give the tenant the first name that is free, and answer with the reply that goes with it, once.

    With `exact` only the first name will do; the reply that goes with another tells of that.
    """
    await database.rows(
        _CHOOSE, *_of(message), list(names), list(replies), exact, send, NAMES_A_DAY, too_often, NAME_KEPT
    )
    reached(FaultPoint.NAME_ANSWERED)


async def turn_away(database: Database, message: InboundMessage, *, limit: int, an_hour: int) -> bool:
    """Note that somebody is turned away, and say whether they are to be told so."""
    ((told,),) = await database.rows(
        "SELECT turn_away_person(%s, %s, %s, %s, %s)",
        message.sender.channel,
        message.sender.address,
        message.provider_id,
        limit,
        an_hour,
    )
    return bool(told)


async def used_up(database: Database, message: InboundMessage, free: int) -> int | None:
    """Return how many messages a person has, if they have said as many; None while they may say more."""
    ((limit,),) = await database.rows(
        "SELECT may_say(%s, %s, %s, %s)", message.sender.channel, message.sender.address, message.provider_id, free
    )
    return None if limit is None else int(limit)


async def claim_preparations(database: Database, limit: int, within: timedelta) -> Sequence[TenantId]:
    """Take tenants whose machines are wanted ahead, and were not long ago."""
    rows = await database.rows("SELECT * FROM claim_preparations(%s, %s)", limit, within)
    return [TenantId(tenant_id) for (tenant_id,) in rows]


async def unmoved_names(database: Database, limit: int) -> Sequence[tuple[str, TenantId]]:
    """Return names that tenants gave up, and that the router may serve still."""
    rows = await database.rows("SELECT * FROM unmoved_names(%s)", limit)
    return [(name, TenantId(tenant_id)) for name, tenant_id in rows]


async def note_moved(database: Database, name: str, tenant_id: TenantId) -> None:
    """Note that the router serves a former name no more."""
    await database.rows("SELECT note_moved(%s, %s)", name, tenant_id)


async def named_tenant(database: Database, name: str) -> str | None:
    """Return what the tenant is called now that has or had this name; None if nobody has."""
    ((found,),) = await database.rows("SELECT named_tenant(%s)", name)
    return None if found is None else str(found)


def _of(message: InboundMessage) -> tuple[object, ...]:
    return (
        message.sender.channel,
        message.sender.address,
        message.provider_id,
        message.text,
        message.received_at,
    )

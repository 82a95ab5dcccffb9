"""All that the gateway goes by for a tenant, in one call, and the word that it has changed. In the gateway's role."""

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from subclaw.core.errors import Unavailable
from subclaw.core.policy import Mode, Rule, Scope
from subclaw.core.quota import Quota
from subclaw.core.quota_setting import QuotaSetting
from subclaw.core.secret import BoundSecret, Grant
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import TenantPolicy
from subclaw.store.database import Database, DatabaseAddress, Role, connect
from subclaw.store.notify import Topic, listen, notifications
from subclaw.store.secrets import binding_from

_log = logging.getLogger(__name__)

RECONNECT_S = 1.0


async def load_policy(egress: Database, tenant_id: TenantId) -> TenantPolicy:
    """Return what the gateway goes by for a tenant. The database is open in the gateway's role.

    Errors: `Unavailable`, `Corrupt`.
    """
    ((found,),) = await egress.rows("SELECT tenant_egress(%s)", tenant_id)
    return TenantPolicy(
        rules=tuple(map(_rule, found["rules"])),
        secrets=tuple(map(_secret, found["secrets"])),
        quota=QuotaSetting(**found["quota"]).over(Quota()),
        starter=found["starter"],
    )


async def listen_changes(address: DatabaseAddress, on_change: Callable[[TenantId | None], None]) -> None:
    """Say whose policy, secrets or quota has changed, until cancelled; None is for everybody's.

    Says None too whenever it has just begun to listen, as what happened before then is not known.
    """
    while True:
        try:
            connection = await connect(address, Role.EGRESS)
            async with connection:
                await listen(connection, Topic.EGRESS)
                on_change(None)
                async for notification in notifications(connection):
                    on_change(TenantId(int(notification.payload)) if notification.payload else None)
        except Unavailable as error:
            _log.warning("changes of the egress policy are not heard of: %s", error.internal)
        await asyncio.sleep(RECONNECT_S)


def _rule(row: Mapping[str, Any]) -> Rule:
    return Rule(
        host=row["host"],
        ports=tuple(row["ports"]),
        methods=tuple(row["methods"]),
        paths=tuple(row["paths"]),
        mode=Mode(row["mode"]),
        addresses=tuple(row["addresses"]),
        scope=Scope(row["scope"]),
        tools=row["tools"],
        comment=row["comment"],
    )


def _secret(row: Mapping[str, Any]) -> BoundSecret:
    return BoundSecret(
        id=row["id"],
        name=row["name"],
        scope=Scope(row["scope"]),
        tenant_id=row["tenant_id"],
        placeholder=row["placeholder"],
        binding=binding_from(row["binding"]),
        sealed=base64.b64decode(row["sealed"]),
        minted=row["minted"],
        grant=_grant(row["grant"]) if row["grant"] else None,
    )


def _grant(row: Mapping[str, Any]) -> Grant:
    expires_at_s = row["expires_at_s"]
    return Grant(
        id=row["id"],
        provider=row["provider"],
        generation=row["generation"],
        expires_at=None if expires_at_s is None else datetime.fromtimestamp(float(expires_at_s), UTC),
        renewed_at=datetime.fromtimestamp(float(row["renewed_at_s"]), UTC),
        renewable=row["renewable"],
        over=row["over"],
    )

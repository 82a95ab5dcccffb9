"""Secrets, sealed. Whoever may write them cannot read them; the egress gateway reads them and holds the key."""

from collections.abc import Sequence

from subclaw.core.secret import SealedSecret
from subclaw.store.database import Database


async def save_secret(operator: Database, secret: SealedSecret) -> None:
    """Store a sealed secret under its name, in place of an older one."""
    await operator.rows(
        "INSERT INTO secret (name, sealed) VALUES (%s, %s)"
        " ON CONFLICT (name) DO UPDATE SET sealed = %s, updated_at = now()",
        secret.name,
        secret.sealed,
        secret.sealed,
    )


async def load_secrets(egress: Database) -> Sequence[SealedSecret]:
    """Return all sealed secrets. The database is open in the gateway's role."""
    return [
        SealedSecret(name=name, sealed=bytes(sealed))
        for name, sealed in await egress.rows("SELECT name, sealed FROM secret")
    ]

"""Beginning to connect an account: a link that the agent gives to its person."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urljoin

from subclaw.core.access import TOKEN_BYTES, token_hash
from subclaw.core.errors import NotFound
from subclaw.core.oauth import CALLBACK_PATH, START_PATH, VERIFIER_BYTES, verifier_label
from subclaw.core.tool import Caller
from subclaw.egress.seal import seal
from subclaw.store.database import Database
from subclaw.store.oauth import begin_flow, offered


@dataclass(frozen=True, kw_only=True)
class AccountLinks:
    """Makes links. The database is open in the application's role, `public_key` is the gateway's.

    `site_url` gives the address of a tenant's own hostname by the tenant's name, with a slash at its end.
    """

    database: Database
    public_key: bytes
    site_url: Callable[[str], str]

    async def start(self, caller: Caller, provider: str) -> str:
        """Return a link by which the caller's person connects an account at a provider, once.

        Errors: `NotFound`, with the providers that there are; `Unavailable`, `Corrupt`.
        """
        offer = await offered(self.database, caller.tenant_id, provider)
        if offer.provider is None:
            there_are = f"There are: {', '.join(offer.names)}." if offer.names else "There is none."
            raise NotFound(f"There is no provider {provider!r} that accounts can be connected at. {there_are}")
        token, verifier = secrets.token_urlsafe(TOKEN_BYTES), secrets.token_urlsafe(VERIFIER_BYTES)
        own = urljoin(self.site_url(offer.tenant_name), CALLBACK_PATH)
        redirect = offer.provider.redirect_uri or own
        await begin_flow(
            self.database,
            caller,
            offer.provider,
            token=token,
            verifier=verifier,
            sealed=seal(self.public_key, verifier, verifier_label(token_hash(token))),
            redirect=redirect,
        )
        return urljoin(redirect, f"{START_PATH}{token}")

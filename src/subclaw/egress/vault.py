"""The vault: opens sealed secrets by name. Only the egress gateway imports this."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

from subclaw.core.errors import Corrupt, NotFound, SubclawError, Unavailable
from subclaw.core.secret import SealedSecret
from subclaw.egress.keys import read_private_key
from subclaw.egress.secrets.opened import Opened

LoadSecrets = Callable[[], Awaitable[Sequence[SealedSecret]]]
"""Reads all sealed secrets from where they are stored."""

LOAD_EVERY_S = 1.0
"""Shortest time between two loads, however many unknown names are asked for."""

FRESH_S = 60.0
"""Age at which the seals are read again, so that a changed secret is in use after at most this long."""

LOAD_TIMEOUT_S = 5.0


class Vault:
    """The secrets that the gateway can use. It keeps the seals, and the values that were asked for."""

    def __init__(self, key_folder: Path, load: LoadSecrets, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the private key. Errors: `NotFound`, `Corrupt`."""
        self._box = SealedBox(read_private_key(key_folder))
        self._load = load
        self._clock = clock
        self._loading = asyncio.Lock()
        self._seals: Mapping[str, bytes] = {}
        self._opened: dict[str, Opened] = {}
        self._loaded_at = float("-inf")

    async def secret(self, name: str) -> Opened:
        """Return a secret.

        Errors: `NotFound` if there is none of that name, `Corrupt` if its seal is not for this gateway's key,
        `Unavailable` if the name is unknown and secrets cannot be read now. A known secret outlives such a failure.
        """
        known = self._opened.get(name)
        if known is not None and self._age_s() < FRESH_S:
            return known
        await self._refresh(name)
        if name not in self._opened:
            self._opened[name] = self._open(name)
        return self._opened[name]

    def _age_s(self) -> float:
        return self._clock() - self._loaded_at

    async def _refresh(self, name: str) -> None:
        async with self._loading:
            wanted_age_s = FRESH_S if name in self._seals else LOAD_EVERY_S
            if self._age_s() < wanted_age_s:
                return
            try:
                async with asyncio.timeout(LOAD_TIMEOUT_S):
                    found = await self._load()
            except (SubclawError, OSError) as error:
                if name not in self._seals:
                    raise Unavailable("Secrets cannot be read now.") from error
                # Wait before the next try here as well: a dead database is not asked at every call.
                self._loaded_at = self._clock() - FRESH_S + LOAD_EVERY_S
                return
            self._loaded_at = self._clock()
            seals = {secret.name: secret.sealed for secret in found}
            self._opened = {n: value for n, value in self._opened.items() if seals.get(n) == self._seals[n]}
            self._seals = seals

    def _open(self, name: str) -> Opened:
        sealed = self._seals.get(name)
        if sealed is None:
            raise NotFound(f"There is no secret {name}.")
        return open_seal(self._box, sealed, name)


def open_seal(box: SealedBox[PrivateKey], sealed: bytes, label: str) -> Opened:
    """Open a seal that is for what `label` says. Errors: `Corrupt`."""
    try:
        content = json.loads(box.decrypt(sealed))
        if content["label"] == label:
            return Opened(content["value"])
    except (CryptoError, ValueError, KeyError, TypeError):
        pass
    raise Corrupt("A secret was not sealed for this gateway, or for another use; set it again.")

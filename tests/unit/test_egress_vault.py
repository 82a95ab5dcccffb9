"""Keys, seals and the vault."""

import asyncio
import copy
import os
import pickle
import stat
import traceback
from collections.abc import Sequence
from pathlib import Path

import pytest

from subclaw.core.errors import Corrupt, Invalid, NotFound, Unavailable
from subclaw.core.secret import SealedSecret
from subclaw.egress.keys import PRIVATE_NAME, PUBLIC_NAME, ensure_key, read_public_key
from subclaw.egress.seal import seal
from subclaw.egress.secrets.opened import Opened
from subclaw.egress.vault import FRESH_S, LOAD_EVERY_S, Vault

VALUE = "sk-live-0123456789"


class Store:
    """Sealed secrets that can change and fail."""

    def __init__(self) -> None:
        self.secrets: list[SealedSecret] = []
        self.loads = 0
        self.down = False

    async def load(self) -> Sequence[SealedSecret]:
        self.loads += 1
        if self.down:
            raise Unavailable("The database is down.")
        return list(self.secrets)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def _sealed(folder: Path, name: str, value: str) -> SealedSecret:
    return SealedSecret(name=name, sealed=seal(read_public_key(folder), value, name))


def _vault(folder: Path, store: Store, clock: Clock) -> Vault:
    ensure_key(folder, os.getuid(), os.getgid())
    return Vault(folder, store.load, clock)


def test_keys_are_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "keys"
    ensure_key(folder, os.getuid(), os.getgid())
    private, public = (folder / PRIVATE_NAME).read_bytes(), read_public_key(folder)
    ensure_key(folder, os.getuid(), os.getgid())
    assert (folder / PRIVATE_NAME).read_bytes() == private
    assert read_public_key(folder) == public
    assert stat.S_IMODE((folder / PRIVATE_NAME).stat().st_mode) == 0o400
    assert stat.S_IMODE((folder / PUBLIC_NAME).stat().st_mode) == 0o644
    assert sorted(os.listdir(folder)) == [PRIVATE_NAME, PUBLIC_NAME]


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files to others")
def test_the_private_key_belongs_to_the_gateways_user(tmp_path: Path) -> None:
    ensure_key(tmp_path, 65_534, 65_534)
    assert ((tmp_path / PRIVATE_NAME).stat().st_uid, (tmp_path / PRIVATE_NAME).stat().st_gid) == (65_534, 65_534)


def test_a_lost_public_key_is_made_again_and_a_foreign_one_is_noticed(tmp_path: Path) -> None:
    ensure_key(tmp_path, os.getuid(), os.getgid())
    public = read_public_key(tmp_path)
    (tmp_path / PUBLIC_NAME).unlink()
    with pytest.raises(NotFound):
        read_public_key(tmp_path)
    ensure_key(tmp_path, os.getuid(), os.getgid())
    assert read_public_key(tmp_path) == public
    other = tmp_path / "other"
    ensure_key(other, os.getuid(), os.getgid())
    (tmp_path / PUBLIC_NAME).unlink()
    (tmp_path / PUBLIC_NAME).write_bytes((other / PUBLIC_NAME).read_bytes())
    with pytest.raises(Corrupt):
        ensure_key(tmp_path, os.getuid(), os.getgid())


@pytest.mark.parametrize("content", [b"", b"not base64!", b"c2hvcnQ="])
def test_a_damaged_key_is_noticed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / PUBLIC_NAME).write_bytes(content)
    with pytest.raises(Corrupt):
        read_public_key(tmp_path)


def test_sealing_refuses_what_is_no_value(tmp_path: Path) -> None:
    ensure_key(tmp_path, os.getuid(), os.getgid())
    public_key = read_public_key(tmp_path)
    assert seal(public_key, VALUE, "a") != seal(public_key, VALUE, "a")
    assert VALUE.encode() not in seal(public_key, VALUE, "a")
    for value in ("", "x" * 8_193, "\ud800"):
        with pytest.raises(Invalid):
            seal(public_key, value, "a")


def test_the_vault_opens_by_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        store, clock = Store(), Clock()
        vault = _vault(tmp_path, store, clock)
        store.secrets = [_sealed(tmp_path, "a", VALUE)]
        assert (await vault.secret("a")).reveal() == VALUE
        assert await vault.secret("a") is await vault.secret("a")
        assert store.loads == 1

    asyncio.run(scenario())


def test_unknown_names_reload_at_a_bounded_rate(tmp_path: Path) -> None:
    async def scenario() -> None:
        store, clock = Store(), Clock()
        vault = _vault(tmp_path, store, clock)
        for _ in range(50):
            with pytest.raises(NotFound):
                await vault.secret("a")
        assert store.loads == 1
        store.secrets = [_sealed(tmp_path, "a", VALUE)]
        clock.now_s += LOAD_EVERY_S
        assert (await vault.secret("a")).reveal() == VALUE
        assert store.loads == 2

    asyncio.run(scenario())


def test_a_changed_secret_is_taken_up_and_a_removed_one_dropped(tmp_path: Path) -> None:
    async def scenario() -> None:
        store, clock = Store(), Clock()
        vault = _vault(tmp_path, store, clock)
        store.secrets = [_sealed(tmp_path, "a", VALUE), _sealed(tmp_path, "b", VALUE)]
        await vault.secret("a")
        await vault.secret("b")
        store.secrets = [_sealed(tmp_path, "a", "sk-rotated")]
        clock.now_s += FRESH_S
        assert (await vault.secret("a")).reveal() == "sk-rotated"
        with pytest.raises(NotFound):
            await vault.secret("b")

    asyncio.run(scenario())


def test_known_secrets_outlive_the_store(tmp_path: Path) -> None:
    async def scenario() -> None:
        store, clock = Store(), Clock()
        vault = _vault(tmp_path, store, clock)
        store.secrets = [_sealed(tmp_path, "a", VALUE)]
        await vault.secret("a")
        store.down = True
        clock.now_s += FRESH_S
        for _ in range(10):
            assert (await vault.secret("a")).reveal() == VALUE
        assert store.loads == 2
        clock.now_s += LOAD_EVERY_S
        with pytest.raises(Unavailable):
            await vault.secret("b")

    asyncio.run(scenario())


def test_a_seal_for_another_name_is_corrupt(tmp_path: Path) -> None:
    ensure_key(tmp_path, os.getuid(), os.getgid())

    async def load() -> Sequence[SealedSecret]:
        return [SealedSecret(name="mine", sealed=_sealed(tmp_path, "yours", VALUE).sealed)]

    async def scenario() -> None:
        with pytest.raises(Corrupt):
            await Vault(tmp_path, load).secret("mine")

    asyncio.run(scenario())


def test_a_seal_for_another_key_is_corrupt(tmp_path: Path) -> None:
    async def scenario() -> None:
        store, clock = Store(), Clock()
        vault = _vault(tmp_path / "mine", store, clock)
        ensure_key(tmp_path / "other", os.getuid(), os.getgid())
        store.secrets = [_sealed(tmp_path / "other", "a", VALUE), SealedSecret(name="b", sealed=b"short")]
        for name in ("a", "b"):
            with pytest.raises(Corrupt) as caught:
                await vault.secret(name)
            assert VALUE not in "".join(traceback.format_exception(caught.value))

    asyncio.run(scenario())


def test_opened_values_hide() -> None:
    opened = Opened(VALUE)
    assert VALUE not in f"{opened} {opened!r} {[opened]}"
    with pytest.raises(TypeError):
        pickle.dumps(opened)
    with pytest.raises(TypeError):
        copy.copy(opened)

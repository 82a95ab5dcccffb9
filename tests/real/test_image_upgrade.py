"""Tenants are pinned to a golden image, move to a newer one at a cold start, and back if it does not come up."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.real.machines import Host, golden_image, running_host

from subclaw.core.tenant import TenantId
from subclaw.machines.images.image import MANIFEST, Image
from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import fresh_database

NEWER, BROKEN = "b" * 64, "c" * 64


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache with the golden image, a newer one, and one whose kernel is none."""
    shared, image = golden_image()
    cache = tmp_path_factory.mktemp("cache")
    shutil.copytree(image.folder, cache / "images" / image.digest, copy_function=os.link)
    put_image(cache, image, NEWER)
    broken = put_image(cache, image, BROKEN)
    size = (broken / "kernel").stat().st_size
    (broken / "kernel").unlink()
    (broken / "kernel").write_bytes(bytes(size))
    shutil.copytree(shared / "templates", cache / "templates", copy_function=os.link)
    yield cache
    shutil.rmtree(cache)


def put_image(cache: Path, image: Image, digest: str) -> Path:
    """Put an image of another digest into a cache, with the same files."""
    folder = cache / "images" / digest
    folder.mkdir()
    for path in image.folder.iterdir():
        os.link(path, folder / path.name)
    manifest = json.loads((folder / MANIFEST).read_bytes()) | {"digest": digest}
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    return folder


def pinned(host: Host, tenant: int) -> tuple[str, str]:
    """Return the image that a tenant is pinned to, and the one that was refused."""
    record = json.loads((host.home / "machines" / str(tenant) / "machine.json").read_bytes())
    return record["image"], record["refused_image"]


def test_tenant_moves_at_a_cold_start_with_its_changes(tmp_path: Path, address: DatabaseAddress, cache: Path) -> None:
    _, image = golden_image()
    with running_host(tmp_path, address, cache=str(cache)) as host:
        host.run(1, "echo mine > file; echo mine > /etc/mine; rm /etc/debian_version")
        assert pinned(host, 1) == (image.digest, "")
    with running_host(tmp_path, address, cache=str(cache), digest=NEWER) as host:
        assert (
            host.run(1, "cat file /etc/mine; [ -e /etc/debian_version ] || echo gone").output == b"mine\nmine\ngone\n"
        )
        assert pinned(host, 1) == (NEWER, "")
        (status,) = host.use(lambda client: client.statuses())
        assert status.image == NEWER


def test_machine_that_sleeps_with_memory_goes_on_where_it_is(
    tmp_path: Path, address: DatabaseAddress, cache: Path
) -> None:
    _, image = golden_image()
    with running_host(tmp_path, address, cache=str(cache)) as host:
        host.run(2, "sleep 600 >/dev/null 2>&1 &")
        host.use(lambda client: client.sleep(TenantId(2)))
    with running_host(tmp_path, address, cache=str(cache), digest=NEWER) as host:
        assert host.run(2, "pgrep -c -x sleep").output == b"1\n"
        assert pinned(host, 2) == (image.digest, "")
        host.run(2, "pkill -x sleep; echo mine > file")
        host.use(lambda client: client.sleep(TenantId(2)))
        assert host.run(2, "cat file").output == b"mine\n"
        assert pinned(host, 2) == (NEWER, "")


def test_host_does_without_an_image_that_does_not_boot(tmp_path: Path, address: DatabaseAddress, cache: Path) -> None:
    _, image = golden_image()
    with running_host(tmp_path, address, cache=str(cache)) as host:
        host.run(3, "echo mine > file")
    with running_host(tmp_path, address, cache=str(cache), digest=BROKEN) as host:
        assert host.run(3, "cat file").output == b"mine\n"
        host.run(4, "true")
        assert pinned(host, 3) == pinned(host, 4) == (image.digest, "")


def test_image_on_which_a_tenant_does_not_come_up_is_refused_once(
    tmp_path: Path, cluster: DatabaseAddress, cache: Path
) -> None:
    _, image = golden_image()
    with fresh_database(cluster) as address:
        with running_host(tmp_path, address, cache=str(cache)) as host:
            host.run(1, "echo mine > file")
        with running_host(tmp_path, address, cache=str(cache), digest=NEWER) as host:
            host.run(2, "true")
        spoil_template(cache, NEWER)
        with running_host(tmp_path, address, cache=str(cache), digest=NEWER) as host:
            assert host.run(1, "cat file").output == b"mine\n"
            assert pinned(host, 1) == (image.digest, NEWER)
            generation = host.use(lambda client: client.stats(TenantId(1))).generation
            host.use(lambda client: client.sleep(TenantId(1)))
            assert host.run(1, "cat file").output == b"mine\n"
            assert host.use(lambda client: client.stats(TenantId(1))).generation == generation + 1


def spoil_template(cache: Path, image: str) -> None:
    """Make a template one whose machines break their protocol when they are spoken to."""
    for path in (cache / "templates").glob("*/manifest.json"):
        manifest = json.loads(path.read_bytes())
        if manifest["image"] == image:
            path.write_text(json.dumps(manifest | {"last_stream": 0}), "utf-8")

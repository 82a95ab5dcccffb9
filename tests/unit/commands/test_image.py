"""What `subclaw image list` and `prune` print."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from tests.unit.machines.images import NEW, OLD, put_image, put_tenant

from subclaw.commands.image import list_, prune
from subclaw.config import Settings, load_settings
from subclaw.machines.images.image import load_image, make_current


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A cache with two images, and a home with one tenant, who has the old one."""
    settings = replace(load_settings({}), home=tmp_path / "home", cache=tmp_path / "cache")
    for digest in (OLD, NEW):
        put_image(settings.cache, digest)
    make_current(settings.cache, load_image(settings.cache, NEW))
    put_tenant(settings.home, 1, OLD)
    return settings


def listed(settings: Settings, *, as_json: bool = False) -> str:
    """Return what `list` prints."""
    output = io.StringIO()
    list_(settings, Console(file=output, width=80), verify=False, as_json=as_json)
    return output.getvalue()


def pruned(settings: Settings, *, dry_run: bool = False) -> list[str]:
    """Return the lines that `prune` prints."""
    output = io.StringIO()
    prune(settings, Console(file=output), dry_run=dry_run)
    return output.getvalue().splitlines()


def test_table_fits_a_terminal(settings: Settings) -> None:
    header, *rows = listed(settings).splitlines()
    assert header.split() == ["image", "built", "size", "kernel", "tenants", "state"]
    found = {row.split()[0]: row.split()[-2:] for row in rows}
    assert found == {NEW[:12]: ["0", "current"], OLD[:12]: ["6.1.0-1", "1"]}


def test_json_has_everything_whole(settings: Settings) -> None:
    found = {row["digest"]: row for row in json.loads(listed(settings, as_json=True))}
    assert (found[NEW]["tenants"], found[OLD]["tenants"]) == (0, 1)
    assert (found[NEW]["current"], found[OLD]["current"]) == (True, False)
    assert (found[OLD]["kernel"], found[OLD]["broken"]) == ("6.1.0-1-cloud-amd64", False)


def test_tenants_that_cannot_be_counted_are_unknown(settings: Settings) -> None:
    folder = put_tenant(settings.home, 2, OLD)
    (folder / "machine.json").write_bytes(b"")
    assert listed(settings).endswith(f"Tenants are not counted: {folder} cannot be read.\n")
    assert [row["tenants"] for row in json.loads(listed(settings, as_json=True))] == [None, None]


def test_broken_image_is_marked(settings: Settings) -> None:
    (settings.cache / "images" / NEW / "kernel").unlink()
    assert "current, broken" in listed(settings)


def test_prune_says_what_went(settings: Settings) -> None:
    assert pruned(settings) == ["Nothing to remove: every image is current, in use, or some tenant's."]
    (settings.home / "machines" / "1" / "machine.json").unlink()
    first, last = pruned(settings, dry_run=True)
    assert first.startswith(f"would remove image {OLD[:12]} (")
    assert last.endswith(" would be freed")
    first, last = pruned(settings)
    assert first.startswith(f"removed image {OLD[:12]} (")
    assert last.endswith(" freed")
    assert NEW[:12] in listed(settings)
    assert OLD[:12] not in listed(settings)

import json
from pathlib import Path

import pytest

from subclaw.core.errors import Corrupt
from subclaw.machines.qemu.template import MANIFEST, TEMPLATES, forget_templates, using_template


def make(cache: Path, template_id: str, key: str) -> Path:
    """Make as much of a template as is looked at when templates are removed."""
    folder = cache / TEMPLATES / template_id
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(json.dumps({"key": key}), "utf-8")
    return folder


def test_only_what_nothing_needs_is_removed(tmp_path: Path) -> None:
    newest, asleep, old = (
        make(tmp_path, "newest", "ours"),
        make(tmp_path, "asleep", "old"),
        make(tmp_path, "old", "old"),
    )
    forget_templates(tmp_path, {"ours"}, {"asleep"})
    assert newest.exists()
    assert asleep.exists()
    assert not old.exists()


def test_template_that_another_host_uses_stays(tmp_path: Path) -> None:
    folder = make(tmp_path, "theirs", "another")
    with using_template(tmp_path, "theirs"):
        forget_templates(tmp_path, {"ours"}, set())
        assert folder.exists()
    forget_templates(tmp_path, {"ours"}, set())
    assert not folder.exists()


def test_template_that_is_gone_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(Corrupt), using_template(tmp_path, "gone"):
        pass

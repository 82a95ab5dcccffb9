"""What the documentation of the kit for testing channels names is there."""

import importlib
import re
from enum import StrEnum
from pathlib import Path

import pytest

from subclaw.channels.registry import VARIABLES

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/testing-channels.md").read_text()
MODULES = ("twilio", "telegram", "whatsapp", "slack", "discord", "bluebubbles", "smtp")
NAMES = sorted(set(re.findall(rf"`((?:{'|'.join(MODULES)})\.[a-z_]+)`", PAGE)))
TESTS = sorted(set(re.findall(r"`(tests/[a-z_/]+\.py)(?:::(test_[a-z0-9_]+))?`", PAGE)))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_the_documentation_is_there(name: str) -> None:
    module, _, attribute = name.partition(".")
    assert callable(getattr(importlib.import_module(f"subclaw.testing.channels.{module}"), attribute))


@pytest.mark.parametrize("module", MODULES)
def test_every_misbehaviour_is_listed(module: str) -> None:
    behaviours: type[StrEnum] = importlib.import_module(f"subclaw.testing.channels.{module}").Behaviour
    listed = {
        name
        for names, of in re.findall(r"^\| (`[A-Z_`, ]+`) \| .* \| (.+) \|$", PAGE, re.MULTILINE)
        if (of.startswith("all") and module != "smtp") or f"`{module}`" in of
        for name in re.findall(r"[A-Z_]+", names)
    }
    assert listed == {behaviour.name for behaviour in behaviours}


@pytest.mark.parametrize(("file", "test"), TESTS)
def test_a_test_in_the_table_is_there(file: str, test: str) -> None:
    assert f"def {test}" in (ROOT / file).read_text()


def test_a_variable_in_the_documentation_is_one() -> None:
    named = set(re.findall(r"`([A-Z]+_[A-Z_]*URL)`", PAGE))
    assert len(named) >= len(MODULES) - 1
    assert named <= set(VARIABLES)

"""The audit of isolation on a real box, as an operator runs it: 50 customers, all processes, no crossing."""

import json
import subprocess
import sys
from typing import Any

from tests.real.box.conftest import ScriptedBox, model_settings
from tests.real.box.running import environment

LIMIT_S = 400
CUSTOMERS = 50


def audit(scripted: ScriptedBox, *options: str) -> tuple[int, str]:
    """Run the command; return how it exited and what it printed."""
    ended = subprocess.run(
        [sys.executable, "-m", "subclaw", "audit", "isolation", *options],
        env=environment(scripted.box.home, model_settings(scripted.model)),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert ended.stderr == "" or ended.returncode in (0, 1), ended.stderr
    return ended.returncode, ended.stdout


def test_nothing_crosses_between_fifty_customers(scripted_box: ScriptedBox) -> None:
    code, said = audit(scripted_box, "--customers", str(CUSTOMERS), "--json")
    found: dict[str, Any] = json.loads(said)
    assert (code, found["found"], found["unseen"]) == (0, [], 0)
    assert found["receipts"] == CUSTOMERS
    assert found["searched"].keys() >= {"rows", "prompts", "replies", "API answers", "logs", "console", "files"}
    assert scripted_box.box.rows("SELECT FROM tenant WHERE agent LIKE 'audit-%%'") == []
    assert scripted_box.box.rows("SELECT FROM egress_rule WHERE created_by = 'audit'") == []
    assert scripted_box.box.rows("SELECT FROM api_key WHERE name LIKE 'audit-%%'") == []


def test_the_table_says_what_was_tried_and_searched(scripted_box: ScriptedBox) -> None:
    code, said = audit(scripted_box, "--customers", "2")
    assert code == 0, said
    assert "POST /approvals/{approval}" in said
    assert "0 crossings" in said

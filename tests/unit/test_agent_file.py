"""The agent's file: what it may hold, and how mistakes are told."""

from decimal import Decimal
from pathlib import Path

import pytest

from subclaw.agent_file import parse_agent, read_agent
from subclaw.core.agent import Access, AgentEgress, AgentSettings, OnBusy
from subclaw.core.errors import Invalid
from subclaw.core.policy import Mode, Rule, Scope
from subclaw.core.price import Price


def test_what_is_not_said_is_as_it_is(tmp_path: Path) -> None:
    assert parse_agent("") == read_agent(tmp_path / "agent.toml") == AgentSettings()


def test_what_is_said() -> None:
    settings = parse_agent('on_busy = "queue"\nstep_limit = 5\nturn_limit_s = 60\n')
    assert settings == AgentSettings(on_busy=OnBusy.QUEUE, step_limit=5, turn_limit_s=60)


def test_what_one_turn_may_use() -> None:
    settings = parse_agent("turn_limit_tokens = 100000\nturn_limit_microusd = 500000\n")
    assert settings == AgentSettings(turn_limit_tokens=100_000, turn_limit_microusd=500_000)


def test_what_is_said_of_models() -> None:
    settings = parse_agent("""
        fallback = ["anthropic:claude-one", "google"]
        cheaper = "openai:small"
        model_limit_s = 60
        [prices."openai:my-model"]
        input = 0.15
        output = 1
        [windows]
        "openai:my-model" = 8192
    """)
    assert settings == AgentSettings(
        fallback=("anthropic:claude-one", "google:gemini-3.8-flash"),
        cheaper="openai:small",
        model_limit_s=60,
        prices={"openai:my-model": Price(input=Decimal("0.15"), output=Decimal(1))},
        windows={"openai:my-model": 8_192},
    )


def test_who_may_open_hosts() -> None:
    assert parse_agent("").access is Access.USER
    assert parse_agent('access = "never"\n').access is Access.NEVER


def test_which_tools_a_person_must_approve() -> None:
    settings = parse_agent('approve = ["publish_site", "mail_*"]\napproval_expires_s = 600\n')
    assert settings == AgentSettings(approve=("publish_site", "mail_*"), approval_expires_s=600)


def test_what_machines_may_reach() -> None:
    settings = parse_agent("""
        [egress]
        starter = false
        allow = [{host = "api.test", port = 8443, mode = "inject"}]
        [[egress.deny]]
        host = "*.evil.test"
    """)
    assert settings.egress == AgentEgress(
        starter=False,
        rules=(
            Rule(host="api.test", ports=(8443,), mode=Mode.INJECT, scope=Scope.AGENT),
            Rule(host="*.evil.test", mode=Mode.DENY, scope=Scope.AGENT),
        ),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("on_busy", "not TOML"),
        ('on_busy = "wait"', "on_busy: Input should be 'fold', 'queue', 'interrupt' or 'reject'"),
        ("step_limit = 0", "step_limit: Input should be greater than or equal to 1"),
        ("step_limit = true", "step_limit: Input should be a valid integer"),
        ('fallback = ["gpt"]', "fallback is 'gpt'; it must be provider:model"),
        ('cheaper = "gpt:4"', "cheaper is 'gpt:4'"),
        ("[windows]\ngpt = 8192", "windows is 'gpt'"),
        ('[prices."openai:x"]\ninput = 1', "prices.openai:x.output: Field required"),
        ('[prices."openai:x"]\ninput = nan\noutput = 1', "prices.openai:x.input"),
        ('[prices."openai:x"]\ninput = -1\noutput = 1', "prices.openai:x.input"),
        ('access = "everybody"', "access: Input should be 'user', 'operator' or 'never'"),
        ('approve = "publish_site"', "approve: Input should be a valid list"),
        ('approve = ["mail send"]', "approve.0: String should match pattern"),
        ("approval_expires_s = 5", "approval_expires_s: Input should be greater than or equal to 60"),
        ("steps = 5", "steps: Extra inputs are not permitted"),
        ("[egress]\nopen = true", "egress.open: Extra inputs are not permitted"),
        (
            '[[egress.allow]]\nhost = "a.test"\n[[egress.allow]]\nhost = "10.0.0.1"',
            "egress.allow.1: '10.0.0.1' is no host",
        ),
    ],
)
def test_mistakes_are_told_in_words(text: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_agent(text)
    assert words in caught.value.public


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        read_agent(tmp_path)
    (tmp_path / "agent.toml").write_bytes(b"\xff")
    with pytest.raises(Invalid, match="not UTF-8"):
        read_agent(tmp_path / "agent.toml")

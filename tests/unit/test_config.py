"""The operator's settings: read once, wrong ones named in words, secrets never handed on."""

import pytest

from subclaw.config import load_settings, process_environment
from subclaw.core.errors import Invalid


@pytest.mark.parametrize(
    ("environ", "model"),
    [
        ({}, "demo"),
        ({"OPENAI_API_KEY": "k"}, "openai:gpt-6-luna"),
        ({"ANTHROPIC_API_KEY": "k", "GOOGLE_API_KEY": "k"}, "anthropic:claude-sonnet-5-5"),
        ({"GOOGLE_API_KEY": "k"}, "google:gemini-3.8-flash"),
        ({"OPENAI_API_KEY": "k", "SUBCLAW_MODEL": "anthropic:claude-haiku-5-5"}, "anthropic:claude-haiku-5-5"),
        ({"SUBCLAW_MODEL": "openai:llama3:70b"}, "openai:llama3:70b"),
        ({"OPENAI_API_KEY": "k", "SUBCLAW_MODEL": "demo"}, "demo"),
    ],
)
def test_which_model_answers(environ: dict[str, str], model: str) -> None:
    assert str(load_settings(environ).model) == model


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUBCLAW_PORT", "http"),
        ("SUBCLAW_PORT", "70000"),
        ("SUBCLAW_MODEL", "skynet:t800"),
        ("SUBCLAW_DOMAIN", "Example.org"),
        ("SUBCLAW_DOMAIN", "a b"),
        ("SUBCLAW_PUBLIC_URL", "agents.example.org"),
        ("SUBCLAW_HOME", "/tmp/" + "x" * 80),
        ("OPENAI_BASE_URL", "ftp://example.org"),
        ("TWILIO_NUMBER", "5551234567"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(Invalid, match=name.removesuffix("_NUMBER")):
        load_settings({name: value})


def test_a_child_is_told_names_of_secrets_and_no_value() -> None:
    keys = {"OPENAI_API_KEY": "sk-canary-1", "TWILIO_AUTH_TOKEN": "canary-2"}
    settings = load_settings({**keys, "TWILIO_ACCOUNT_SID": "AC1", "TWILIO_NUMBER": "+15550001111"})
    handed_on = process_environment(settings)
    assert "canary" not in str(handed_on)
    child = load_settings(handed_on)
    assert child.model == settings.model
    assert child.upstreams == settings.upstreams
    assert {upstream.name: upstream.secret for upstream in child.upstreams} == {
        "openai": "openai.key",
        "anthropic": None,
        "google": None,
        "twilio": "twilio.token",
    }

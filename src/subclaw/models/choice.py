"""Which model answers: the operator's choice, in text and as a value."""

from dataclasses import dataclass

from subclaw.core.errors import Invalid


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A provider and one of its models."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}" if self.model else self.provider


DEMO = ModelChoice(provider="demo", model="")

DEFAULT_MODELS = {"openai": "gpt-6-luna", "anthropic": "claude-sonnet-5-5", "google": "gemini-3.8-flash"}
"""What a provider's key alone gets; `SUBCLAW_MODEL` says otherwise."""


def parse_choice(text: str, setting: str = "SUBCLAW_MODEL") -> ModelChoice:
    """Parse `provider:model`, a provider alone, or `demo`. Errors: `Invalid`, which names the setting."""
    provider, _, model = text.strip().partition(":")
    if provider == "demo" and not model:
        return DEMO
    if provider not in DEFAULT_MODELS:
        known = ", ".join(DEFAULT_MODELS)
        raise Invalid(f"{setting} is {text!r}; it must be provider:model with one of {known}, or demo.")
    return ModelChoice(provider=provider, model=model or DEFAULT_MODELS[provider])

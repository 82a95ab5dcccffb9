"""Tokens, estimated: how much of a model's window a text takes.

Providers' tokenizers differ, and the real ones are heavy: so bytes are counted, and the provider's own count of the
last prompt corrects what was in it.
"""

from dataclasses import dataclass

from subclaw.core.model import ModelSaid, Prompt, ToolSaid, UserSaid, Utterance
from subclaw.core.tool import ToolDefinition

BYTES_PER_TOKEN = 3
"""Bytes of UTF-8 in a token: fewer than in most text and code (3 to 5), more than in JSON (2) and base64 (1.5)."""

UTTERANCE_TOKENS = 8
"""What an utterance or a call takes beside its text."""

CORRECTION_LOWEST = 0.7
CORRECTION_HIGHEST = 3.0
"""By how much a provider's count may correct an estimate: to what English takes, and to one byte a token."""


def text_tokens(text: str) -> int:
    """Return an estimate of what a text takes."""
    size_bytes = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size_bytes // BYTES_PER_TOKEN)


def utterance_tokens(utterance: Utterance) -> int:
    """Return an estimate of what an utterance takes."""
    match utterance:
        case UserSaid(text=text):
            return UTTERANCE_TOKENS + text_tokens(text)
        case ModelSaid(text=text, calls=calls):
            made = sum(2 * UTTERANCE_TOKENS + text_tokens(call.name) + text_tokens(call.arguments) for call in calls)
            return UTTERANCE_TOKENS + text_tokens(text) + made
        case ToolSaid(content=content):
            return 2 * UTTERANCE_TOKENS + text_tokens(content)


def tool_tokens(tool: ToolDefinition) -> int:
    """Return an estimate of what the definition of a tool takes."""
    return UTTERANCE_TOKENS + text_tokens(tool.name + tool.description + tool.told_json)


def prompt_tokens(prompt: Prompt) -> int:
    """Return an estimate of what a whole prompt takes."""
    said, tools = sum(map(utterance_tokens, prompt.history)), sum(map(tool_tokens, prompt.tools))
    return text_tokens(prompt.instructions) + said + tools


@dataclass(frozen=True, kw_only=True, slots=True)
class Gauge:
    """How long a prompt is, as it grows: `estimated` tokens, of which a provider has counted `counted`.

    `correction` is what the count was to the estimate. What came after it is not believed to be any shorter for it: it
    may be of another kind.
    """

    estimated: int
    counted: int = 0
    correction: float = 1.0

    @property
    def tokens(self) -> int:
        """All of it, corrected."""
        return round(self.counted * self.correction + (self.estimated - self.counted) * max(self.correction, 1.0))

    def grown(self, tokens: int) -> "Gauge":
        """Return the gauge after an estimate of so much more."""
        return Gauge(estimated=self.estimated + tokens, counted=self.counted, correction=self.correction)

    def shrunk(self, tokens: int) -> "Gauge":
        """Return the gauge after an estimate of so much less, of what came first."""
        counted = max(self.counted - tokens, 0)
        return Gauge(estimated=self.estimated - tokens, counted=counted, correction=self.correction)

    def corrected(self, tokens: int) -> "Gauge":
        """Return the gauge after a provider has counted the prompt as it is now; 0 means that it did not."""
        if tokens <= 0 or self.estimated <= 0:
            return self
        correction = min(max(tokens / self.estimated, CORRECTION_LOWEST), CORRECTION_HIGHEST)
        return Gauge(estimated=self.estimated, counted=self.estimated, correction=correction)

"""A provider's response as our reply: refusals, answers that were cut off and too many calls are put into words."""

from collections.abc import Sequence

from pydantic_ai import messages as said

from subclaw.core.errors import Unavailable
from subclaw.core.manners import CUT_OFF
from subclaw.core.model import ModelReply, Prompt, Usage
from subclaw.core.tokens import prompt_tokens, text_tokens
from subclaw.core.tool import ToolCall

CALL_LIMIT = 16
"""Most tool calls of one reply that are performed."""

CALLS_KEPT = 64
"""Most tool calls of one reply that are kept at all, each with the word that it was not performed if so."""

COUNT_LIMIT = 1_000_000_000
"""Most tokens that a provider is believed to have counted in one call."""

REFUSED = "My model declined to answer that. Please put it another way."
CALL_CUT_OFF = (
    "Not performed: your reply reached its limit of length within this call. "
    "Write less at once, for example a long file in parts."
)


def reply_of(response: said.ModelResponse, choice: str, prompt: Prompt) -> ModelReply:
    """Return a response to a prompt as a reply. Without words and calls it is one that says nothing.

    Errors: `Unavailable` for a response that is not even that: providers' libraries read some nonsense as empty.
    """
    if not response.parts and response.finish_reason is None and not response.usage.has_values():
        raise Unavailable("The model's answer could not be used.", internal="not an answer of its protocol")
    usage = _usage(response, choice, prompt)
    if response.finish_reason == "content_filter":  # whatever else is in it, its provider says to throw away
        return ModelReply(text=_refusal(response), calls=(), usage=usage, refused=True)
    text = words_of([part.content for part in response.parts if isinstance(part, said.TextPart)])
    parts = [part for part in response.parts if isinstance(part, said.ToolCallPart)]
    cut_off = response.finish_reason == "length"
    if cut_off and text and not parts:
        text = f"{text}\n\n{CUT_OFF}"
    call_cut_off = cut_off and bool(parts) and response.parts[-1] is parts[-1]
    return ModelReply(text=text, calls=_calls(parts, last_is_cut_off=call_cut_off), usage=usage)


def words_of(texts: Sequence[str]) -> str:
    """Return the parts of an answer's words as one."""
    return "\n\n".join(filter(None, map(str.strip, texts)))


def _refusal(response: said.ModelResponse) -> str:
    words = (response.provider_details or {}).get("refusal")
    return words.strip() if isinstance(words, str) and words.strip() else REFUSED


def _calls(parts: Sequence[said.ToolCallPart], *, last_is_cut_off: bool) -> tuple[ToolCall, ...]:
    reasons = [""] * min(len(parts), CALL_LIMIT) + [_too_many(len(parts))] * max(0, len(parts) - CALL_LIMIT)
    if last_is_cut_off:
        reasons[-1] = CALL_CUT_OFF
    return tuple(
        ToolCall(id=part.tool_call_id, name=part.tool_name, arguments=_arguments(part), withheld=reason)
        for part, reason in list(zip(parts, reasons, strict=True))[:CALLS_KEPT]
    )


def _too_many(made: int) -> str:
    performed = f"of the {made} calls in your reply only the first {CALL_LIMIT} were"
    return f"Not performed: {performed}. Make it again if it is still needed."


def _arguments(part: said.ToolCallPart) -> str:
    """Return a call's arguments as the model wrote them: pydantic-ai's own JSON wraps up what was none."""
    return part.args if isinstance(part.args, str) else part.args_as_json_str()


def _usage(response: said.ModelResponse, choice: str, prompt: Prompt) -> Usage:
    """Return what a call used. Some servers do not count: then it is estimated, for it must not seem free."""
    counted = response.usage
    uncounted = not counted.input_tokens
    return Usage(
        model=response.model_name or "unknown",
        input_tokens=prompt_tokens(prompt) if uncounted else _bounded(counted.input_tokens),
        output_tokens=text_tokens(str(response.parts)) if uncounted else _bounded(counted.output_tokens),
        cache_read_tokens=_bounded(counted.cache_read_tokens),
        cache_write_tokens=_bounded(counted.cache_write_tokens),
        choice=choice,
    )


def _bounded(count: int) -> int:
    return max(0, min(count, COUNT_LIMIT))

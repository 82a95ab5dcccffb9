"""One request to a model of pydantic-ai's: answered at once, or said aloud, word by word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic_ai import messages as said
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from subclaw.core.key_shapes import kinds_by_shape
from subclaw.core.model import Hearer
from subclaw.models.answers import words_of


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as pydantic-ai has it."""

    messages: Sequence[said.ModelMessage]
    settings: ModelSettings
    parameters: ModelRequestParameters


async def said_at_once(model: Model, asked: Asked) -> said.ModelResponse:
    """Return the whole answer. Errors: any, of pydantic-ai's and the provider's library."""
    return await model_request(
        model, asked.messages, model_settings=asked.settings, model_request_parameters=asked.parameters
    )


async def said_aloud(model: Model, asked: Asked, hearer: Hearer) -> said.ModelResponse:
    """Return the answer, once its words were told to a hearer as they came; thoughts are no words.

    Errors: any, as `said_at_once`.
    """
    texts: dict[int, str] = {}
    async with model_request_stream(
        model, list(asked.messages), model_settings=asked.settings, model_request_parameters=asked.parameters
    ) as stream:
        async for event in stream:
            match event:
                case said.PartStartEvent(index=index, part=said.TextPart(content=text)):
                    texts[index] = text
                case said.PartDeltaEvent(index=index, delta=said.TextPartDelta(content_delta=text)):
                    texts[index] = texts.get(index, "") + text
                case said.PartStartEvent(part=said.ToolCallPart()):
                    hearer.calls()
                    continue
                case _:
                    continue
            hearer.hears(_in_order(texts))
        return stream.get()


def is_good_aloud(response: said.ModelResponse) -> bool:
    """Say whether an answer that was said aloud can be taken for the whole of it, and may be shown.

    One that ends without a word on why may have broken off, though some servers never say. And the gateway, which blots
    out our keys in answers, does not see those that come in pieces: what has the shape of one is to come as a whole.
    """
    has_ended = "finish_reason" in (response.provider_details or {})
    return has_ended and not _may_hold_key(response)


def _may_hold_key(response: said.ModelResponse) -> bool:
    arguments = (part.args_as_json_str() for part in response.parts if isinstance(part, said.ToolCallPart))
    texts = (part.content for part in response.parts if isinstance(part, said.TextPart))
    return any(any(kinds_by_shape(text)) for text in (*texts, *arguments))


def _in_order(texts: Mapping[int, str]) -> str:
    return words_of([texts[index] for index in sorted(texts)])

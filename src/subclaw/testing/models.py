"""A scripted model."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from subclaw.core.model import Hearer, ModelReply, Prompt, Usage
from subclaw.core.tool import ToolCall


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Where a model stops in the middle of its words until it is told to go on."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, kw_only=True)
class Aloud:
    """A reply that is said in pieces, if somebody listens. `then` is the whole of it, or what goes wrong after that."""

    pieces: Sequence[str | Pause]
    then: "ModelReply | Exception"

    async def say(self, hearer: Hearer | None) -> "ModelReply | Exception":
        """Say the pieces."""
        is_heard, said = hearer is not None and hearer.begins(), ""
        for piece in self.pieces:
            if isinstance(piece, Pause):
                piece.reached.set()
                await piece.go_on.wait()
            elif hearer and is_heard:
                said += piece
                hearer.hears(said)
        if hearer and is_heard and isinstance(self.then, ModelReply) and self.then.calls:
            hearer.calls()
        return self.then


Answer = ModelReply | Exception | Aloud


class ScriptedModel:
    """Answers from a list, in order, and keeps what it was sent. A callable in the list makes its answer when asked."""

    def __init__(self, answers: Sequence[Answer | Callable[[Prompt], Answer]]) -> None:
        self._answers = list(answers)
        self.prompts: list[Prompt] = []

    async def ask(self, prompt: Prompt) -> ModelReply:
        """See `core.model.Model.ask`."""
        self.prompts.append(prompt)
        await asyncio.sleep(0)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if callable(answer):
            answer = answer(prompt)
        if isinstance(answer, Aloud):
            answer = await answer.say(prompt.hearer)
        if isinstance(answer, Exception):
            raise answer
        return answer


def words(text: str) -> ModelReply:
    """Return a reply of words."""
    return ModelReply(text=text, calls=(), usage=_USAGE)


def aloud(*pieces: str | Pause) -> Aloud:
    """Return a reply of words that are said in pieces."""
    return Aloud(pieces=pieces, then=words("".join(piece for piece in pieces if isinstance(piece, str))))


def calls(*made: tuple[str, str]) -> ModelReply:
    """Return a reply that makes tool calls, each a name and its arguments as JSON."""
    return ModelReply(
        text="",
        calls=tuple(ToolCall(id=f"call_{i}", name=name, arguments=text) for i, (name, text) in enumerate(made)),
        usage=_USAGE,
    )


_USAGE = Usage(model="scripted", input_tokens=10, output_tokens=5)

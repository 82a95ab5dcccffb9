"""A scripted model."""

import asyncio
from collections.abc import Callable, Sequence

from subclaw.core.model import ModelReply, Prompt, Usage
from subclaw.core.tool import ToolCall

Answer = ModelReply | Exception


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
        if isinstance(answer, Exception):
            raise answer
        return answer


def words(text: str) -> ModelReply:
    """Return a reply of words."""
    return ModelReply(text=text, calls=(), usage=_USAGE)


def calls(*made: tuple[str, str]) -> ModelReply:
    """Return a reply that makes tool calls, each a name and its arguments as JSON."""
    return ModelReply(
        text="",
        calls=tuple(ToolCall(id=f"call_{i}", name=name, arguments=text) for i, (name, text) in enumerate(made)),
        usage=_USAGE,
    )


_USAGE = Usage(model="scripted", input_tokens=10, output_tokens=5)

"""The tool that asks a model several prompts at once, without tools and beside the conversation."""

from collections.abc import Mapping, Sequence
from typing import Any

from subclaw.core.completion import PROMPTS_LIMIT, Asker, Completions, completion_prompt
from subclaw.core.errors import Invalid, SubclawError
from subclaw.core.model import ModelReply, Prompt
from subclaw.core.tool import RESULT_LIMIT_CHARACTERS, Caller, ToolDefinition
from subclaw.tools.toolbox import Tool

HEADING_CHARACTERS = 100
"""What goes off the room of each answer for its number, and for the word of what was left out."""
SAID_NOTHING = "(The model said nothing.)"


def llm_tools(completions: Completions) -> tuple[Tool, ...]:
    """Return the tool `llm_complete`."""

    async def llm_complete(caller: Caller, arguments: Mapping[str, Any]) -> str:
        asker = Asker(tenant_id=caller.tenant_id, conversation_id=caller.conversation_id)
        answers = await completions.complete(asker, _prompts(arguments))
        errors = [answer for answer in answers if isinstance(answer, SubclawError)]
        if len(errors) == len(answers):
            raise errors[0]
        return together(list(map(_words, answers)))

    return (Tool(definition=_LLM_COMPLETE, perform=llm_complete),)


def together(answers: Sequence[str]) -> str:
    """Return answers as one result, each with its number if there are several, and no longer than its share of it."""
    limit = RESULT_LIMIT_CHARACTERS // len(answers) - HEADING_CHARACTERS
    bounded = [_beginning(answer, limit) for answer in answers]
    if len(bounded) == 1:
        return bounded[0]
    return "\n\n".join(f"[{number}]\n{answer}" for number, answer in enumerate(bounded, 1))


def _prompts(arguments: Mapping[str, Any]) -> list[Prompt]:
    texts: Sequence[str] = arguments["prompts"]
    if not texts:
        raise Invalid("There is no prompt.")
    system, max_tokens = arguments.get("system", ""), arguments.get("max_tokens")
    return [completion_prompt(text, system=system, max_tokens=max_tokens) for text in texts]


def _words(answer: ModelReply | SubclawError) -> str:
    if isinstance(answer, SubclawError):
        return f"(No answer: {answer.public})"
    return answer.text or SAID_NOTHING


def _beginning(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}\n[… {len(text) - limit:,} characters left out]"


# It costs money, and a call that is made again after a crash costs it again. That is all the harm there is: the answers
# of the first try are lost, and a model that is told so asks for them again, which costs a step more. The budgets hold.
_LLM_COMPLETE = ToolDefinition(
    name="llm_complete",
    description="Ask a model several prompts at once.",
    parameters={
        "type": "object",
        "properties": {
            "prompts": {"type": "array", "items": {"type": "string"}, "maxItems": PROMPTS_LIMIT},
            "system": {"type": "string"},
            "max_tokens": {"type": "integer"},
        },
        "required": ["prompts"],
    },
    idempotent=True,
)

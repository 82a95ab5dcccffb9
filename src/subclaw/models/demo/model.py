"""The demo model as a pydantic-ai model: it picks a play by the person's words, and takes its next step."""

import json
import re

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

from subclaw.core.approval import parse_decision
from subclaw.models.demo.plays import Act, Play, choose_play
from subclaw.models.demo.support import KNOWN_BY, support_play

LABEL = "[demo model]"


def demo_model() -> FunctionModel:
    """Return the demo model. It says in each reply that it is a demo."""
    return FunctionModel(_answer, model_name="demo")


async def _answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    wish, results = _since_last_wish(messages)
    is_support = any(tool.name == KNOWN_BY for tool in info.function_tools)
    play = support_play(wish) if is_support else choose_play(wish)
    failed = next((result for result, act in zip(results, play.acts, strict=False) if not _succeeded(act, result)), "")
    if failed:
        return _say(f"That did not work out. What I was told: {failed[:200]}")
    if len(results) < len(play.acts):
        act = play.acts[len(results)]
        return ModelResponse(parts=[ToolCallPart(tool_name=act.tool, args=dict(act.arguments))])
    return _say(_closing(play, results))


def _since_last_wish(messages: list[ModelMessage]) -> tuple[str, list[str]]:
    """Return the person's last message and the tool results since."""
    wish, results = "", list[str]()
    for message in messages:
        for part in message.parts if isinstance(message, ModelRequest) else ():
            match part:
                case UserPromptPart(content=str(text)):
                    # A yes to what was wished for comes as a message, and what came of it is told anew.
                    wish, results = (wish if parse_decision(text) else text), []
                case ToolReturnPart(content=content):
                    results.append(str(content))
    return wish, results


def _succeeded(act: Act, result: str) -> bool:
    return re.search(act.expect, result) is not None


def _closing(play: Play, results: list[str]) -> str:
    url = re.search(r"https?://\S+[^\s.,:;]", results[-1]) if results else None
    told = _in_words(results[-1]) if results else ""
    return play.closing.replace("{url}", url[0] if url else "").replace("{result}", told)


def _in_words(result: str) -> str:
    """Return a tool's result as somebody would say it who understands nothing of it."""
    try:
        found = json.loads(result)
    except ValueError:
        return result.rstrip(".")
    rows = found if isinstance(found, list) else [found]
    said = (", ".join(f"{name} {value}" for name, value in row.items()) for row in rows if isinstance(row, dict))
    return "; ".join(said).rstrip(".") or result


def _say(text: str) -> ModelResponse:
    return ModelResponse(parts=[TextPart(content=f"{text} {LABEL}")])

"""Models that say their words as they come: each by its provider's own library and protocol, by the real gateway."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from starlette.responses import Response
from tests.real.model_scene import HELLO, PATHS, QUICK, TOOL, opened, opened_all

from subclaw.core.agent import AgentSettings
from subclaw.core.errors import Unavailable
from subclaw.core.model import ModelReply, ModelSaid, Prompt, ToolSaid, Usage
from subclaw.models.answers import REFUSED
from subclaw.models.bounds import ANSWER_LIMIT_BYTES
from subclaw.models.patience import Patience
from subclaw.testing.broken import BrokenOff, Dripping
from subclaw.testing.egress import run
from subclaw.testing.openai import Declined, FakeOpenAi, Words
from subclaw.testing.providers import (
    CALL_ARGUMENTS,
    CALL_NAME,
    FakeProvider,
    anthropic_answer,
    anthropic_stream,
    google_answer,
    google_stream,
    openai_answer,
    openai_stream,
)

HALF = "All that there is to say is this and"
STREAMS = {
    "openai": openai_stream(openai_answer({"content": HALF}, "stop")),
    "anthropic": anthropic_stream(anthropic_answer({"type": "text", "text": HALF})),
    "google": google_stream(google_answer({"text": HALF})),
}


@dataclass(kw_only=True)
class Listener:
    """Hears, and keeps what it heard in each attempt; `called` counts those that came to tool calls."""

    attempts: list[list[str]] = field(default_factory=list)
    called: int = 0
    listens: bool = True

    def begins(self) -> bool:
        self.attempts.append([])
        return self.listens

    def hears(self, text: str) -> None:
        self.attempts[-1].append(text)

    def calls(self) -> None:
        self.called += 1


def streamed(name: str, cut: int = 0) -> Response:
    content = STREAMS[name]
    return Response(content[: len(content) - cut], media_type="text/event-stream")


@pytest.mark.parametrize("name", PATHS)
def test_a_call_its_result_and_words_as_they_come(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        provider, listener = FakeProvider(), Listener()
        async with opened(tmp_path, name, provider.app()) as model:
            asked = await model.ask(replace(HELLO, hearer=listener))
            (call,) = asked.calls
            assert (call.name, json.loads(call.arguments)) == (CALL_NAME, CALL_ARGUMENTS)
            assert (listener.attempts, listener.called) == ([[]], 1), "arguments are no words"
            assert asked.usage == Usage(
                model="served",
                input_tokens=11,
                output_tokens=7,
                cache_read_tokens=4,
                cache_write_tokens=0 if name == "google" else 3,
                choice=f"{name}:some-model",
            )
            history = [*HELLO.history, ModelSaid(text="", calls=asked.calls), ToolSaid(call=call, content="a red shoe")]
            told = await model.ask(Prompt(instructions="Be kind.", history=history, tools=[TOOL], hearer=listener))
            assert (told.text, told.calls) == ("I saw a red shoe.", ())
            heard = listener.attempts[-1]
            assert heard[-1] == told.text
            assert len(set(heard)) > 1
            assert all(told.text.startswith(said) for said in heard)

    run(scenario)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("kind", ["broken off", "too slow"])
def test_half_a_stream_is_asked_for_again(tmp_path: Path, name: str, kind: str) -> None:
    first = {
        "broken off": BrokenOff(STREAMS[name], media_type="text/event-stream"),
        "too slow": Dripping(STREAMS[name], media_type="text/event-stream"),
    }[kind]

    async def scenario() -> None:
        provider, listener = FakeProvider(first=[first, streamed(name)]), Listener()
        async with opened(tmp_path, name, provider.app(), patience=replace(QUICK, attempt_s=2.0)) as model:
            reply = await model.ask(replace(HELLO, hearer=listener))
        assert reply.text == HALF
        assert len(listener.attempts) == 2, "what was heard first is void"
        assert listener.attempts[-1][-1] == HALF
        assert len(provider.seen) == 2

    run(scenario)


@pytest.mark.parametrize("name", PATHS)
def test_a_stream_that_ends_too_early_is_asked_for_as_a_whole(tmp_path: Path, name: str) -> None:
    half = Response(STREAMS[name][: len(STREAMS[name]) // 2], media_type="text/event-stream")

    async def scenario() -> None:
        provider, listener = FakeProvider(first=[half]), Listener()
        async with opened(tmp_path, name, provider.app()) as model:
            reply = await model.ask(replace(HELLO, hearer=listener))
        assert [call.name for call in reply.calls] == [CALL_NAME]
        assert listener.attempts[-1] == []
        assert [bool(body.get("stream")) for body in provider.seen] == [name != "google", False]

    run(scenario)


@pytest.mark.parametrize("name", PATHS)
def test_where_nobody_listens_no_stream_is_asked_for(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        provider, listener = FakeProvider(), Listener(listens=False)
        async with opened(tmp_path, name, provider.app()) as model:
            await model.ask(replace(HELLO, hearer=listener))
            await model.ask(HELLO)
        assert listener.attempts == [[]]
        assert [body.get("stream") for body in provider.seen] in ([None, None], [False, False])

    run(scenario)


def test_the_next_model_begins_anew(tmp_path: Path) -> None:
    broken = [BrokenOff(STREAMS["openai"], media_type="text/event-stream") for _ in range(4)]

    async def scenario() -> None:
        apps = {
            "openai": FakeProvider(first=list(broken)).app(),
            "anthropic": FakeProvider(first=[streamed("anthropic")]).app(),
        }
        listener = Listener()
        async with opened_all(tmp_path, apps, AgentSettings(fallback=("anthropic:some-model",))) as models:
            reply = await models.chosen.ask(replace(HELLO, hearer=listener))
        assert reply.text == HALF
        assert len(listener.attempts) == 5
        assert listener.attempts[-1][-1] == HALF

    run(scenario)


def test_what_may_be_a_key_is_asked_for_as_a_whole(tmp_path: Path) -> None:
    key = "sk-ant-" + "abcDEF123456" * 3

    async def scenario() -> None:
        provider, listener = FakeOpenAi(otherwise=[Words(text=f"It is {key} here.")]), Listener()
        async with opened(tmp_path, "openai", provider.app()) as model:
            reply = await model.ask(replace(HELLO, hearer=listener))
        assert (provider.requests, provider.streamed) == (2, 1)
        assert reply.usage.output_tokens == 8, "both count"
        assert listener.attempts[-1] == []

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Declined(text="I would rather not."), "I would rather not."),
        (Words(text="Bad words", finish_reason="content_filter"), REFUSED),
    ],
)
def test_refusals_are_refusals(tmp_path: Path, answer: Declined | Words, text: str) -> None:
    async def scenario() -> ModelReply:
        async with opened(tmp_path, "openai", FakeOpenAi(otherwise=[answer]).app()) as model:
            return await model.ask(replace(HELLO, hearer=Listener()))

    reply: list[ModelReply] = []

    async def kept() -> None:
        reply.append(await scenario())

    run(kept)
    assert (reply[0].text, reply[0].refused) == (text, True)


def test_a_stream_without_end_is_bounded(tmp_path: Path) -> None:
    chunk = {"id": "c" * 20_000, "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    endless = f"data: {json.dumps(chunk)}\n\n" * (ANSWER_LIMIT_BYTES // 20_000 + 1)

    async def scenario() -> None:
        provider = FakeProvider(first=[Response(endless, media_type="text/event-stream")] * 2)
        impatient = Patience(attempts=2, soon_s=0.01, later_s=0.01)
        async with opened(tmp_path, "openai", provider.app(), patience=impatient) as model:
            with pytest.raises(Unavailable):
                await model.ask(replace(HELLO, hearer=Listener()))

    run(scenario)

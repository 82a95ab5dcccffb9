"""Providers that misbehave, each in its own protocol: tried again, waited for, repaired, or said in words."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import HTMLResponse, JSONResponse, Response
from tests.real.model_scene import HELLO, PATHS, QUICK, opened

from subclaw.core.errors import Exhausted, SubclawError, Unavailable
from subclaw.core.manners import CUT_OFF
from subclaw.core.model import ModelReply, TooLong
from subclaw.models.answers import CALL_CUT_OFF, REFUSED
from subclaw.models.bounds import ANSWER_LIMIT_BYTES
from subclaw.models.patience import Patience
from subclaw.models.pydantic_ai import NUDGE
from subclaw.testing.broken import BrokenOff, Dripping
from subclaw.testing.egress import run
from subclaw.testing.providers import (
    CALL_NAME,
    FakeProvider,
    anthropic_answer,
    google_answer,
    openai_answer,
)

ERROR = {"error": {"message": "not now", "type": "x", "code": None}}
WORDS = {
    "openai": openai_answer({"content": "Half of"}, "length"),
    "anthropic": anthropic_answer({"type": "text", "text": "Half of"}, reason="max_tokens"),
    "google": google_answer({"text": "Half of"}, reason="MAX_TOKENS"),
}
CALL = {
    "openai": openai_answer(
        {
            "content": "I write it.",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": CALL_NAME, "arguments": '{"where": "x"}'}},
                {"id": "2", "type": "function", "function": {"name": CALL_NAME, "arguments": '{"whe'}},
            ],
        },
        "length",
    ),
    "anthropic": anthropic_answer(
        {"type": "text", "text": "I write it."},
        {"type": "tool_use", "id": "1", "name": CALL_NAME, "input": {"where": "x"}},
        {"type": "tool_use", "id": "2", "name": CALL_NAME, "input": {}},
        reason="max_tokens",
    ),
    "google": google_answer(
        {"text": "I write it."},
        {"functionCall": {"name": CALL_NAME, "args": {"where": "x"}}},
        {"functionCall": {"name": CALL_NAME, "args": {}}},
        reason="MAX_TOKENS",
    ),
}
NOTHING = {
    "openai": openai_answer({"content": ""}),
    "anthropic": anthropic_answer(),
    "google": google_answer(reason="MALFORMED_FUNCTION_CALL"),
}
REFUSALS = {
    "openai": openai_answer({"content": "Half of", "refusal": None}, "content_filter"),
    "anthropic": anthropic_answer({"type": "text", "text": "Half of"}, reason="refusal"),
    "google": google_answer({"text": "Half of"}, reason="SAFETY"),
}
TOO_LONG = {
    "openai": (400, {"error": {"message": "too many", "type": "x", "code": "context_length_exceeded"}}),
    "anthropic": (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"},
        },
    ),
    "google": (
        400,
        {
            "error": {
                "code": 400,
                "status": "INVALID_ARGUMENT",
                "message": "The input token count (9) exceeds the maximum number of tokens allowed (8).",
            }
        },
    ),
}
OUT_OF_MONEY = {
    "openai": (429, {"error": {"message": "no", "type": "insufficient_quota", "code": "insufficient_quota"}}),
    "anthropic": (
        400,
        {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}},
    ),
    "google": (
        429,
        {
            "error": {
                "code": 429,
                "status": "RESOURCE_EXHAUSTED",
                "message": "no",
                "details": [{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}],
            }
        },
    ),
}

PASSING: Mapping[str, Callable[[], Response]] = {
    "408": lambda: JSONResponse(ERROR, 408),
    "429": lambda: JSONResponse(ERROR, 429),
    "500": lambda: JSONResponse(ERROR, 500),
    "502 of a proxy": lambda: HTMLResponse("<h1>Bad gateway</h1>", 502),
    "503": lambda: JSONResponse(ERROR, 503),
    "529": lambda: JSONResponse(ERROR, 529),
    "half a body": lambda: BrokenOff(json.dumps({"half": "of it"}), media_type="application/json"),
    "half a body in chunks": lambda: without_length(BrokenOff(json.dumps({"half": "of it"}))),
    "not JSON": lambda: HTMLResponse("<h1>Welcome</h1>"),
    "not JSON by its own account": lambda: Response(b"\xff\xfe", media_type="application/json"),
    "another JSON": lambda: JSONResponse({"choices": [], "content": 1, "candidates": "none"}),
    "a list": lambda: JSONResponse([1, 2]),
}


def without_length(response: Response) -> Response:
    del response.headers["content-length"]
    return response


def asked(
    tmp_path: Path, name: str, first: Sequence[Response], patience: Patience = QUICK
) -> tuple[ModelReply | SubclawError, FakeProvider]:
    """Ask once, and return the reply or the error, and the provider that misbehaved."""
    provider = FakeProvider(first=list(first))
    came: list[ModelReply | SubclawError] = []

    async def scenario() -> None:
        async with opened(tmp_path, name, provider.app(), patience=patience) as model:
            try:
                came.append(await model.ask(HELLO))
            except SubclawError as error:
                came.append(error)

    run(scenario)
    return came[0], provider


def is_answered(came: ModelReply | SubclawError) -> bool:
    return isinstance(came, ModelReply) and [call.name for call in came.calls] == [CALL_NAME]


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("trouble", PASSING)
def test_what_may_pass_is_tried_again(tmp_path: Path, name: str, trouble: str) -> None:
    came, provider = asked(tmp_path, name, [PASSING[trouble](), PASSING[trouble]()])
    assert is_answered(came)
    assert len(provider.seen) == 3


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_only_we_try_again_and_not_for_ever(tmp_path: Path, name: str, status: int) -> None:
    failures = [JSONResponse(ERROR, status) for _ in range(10)]
    came, provider = asked(tmp_path, name, failures)
    assert isinstance(came, Exhausted if status == 429 else Unavailable)
    assert len(provider.seen) == QUICK.attempts


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_will_not_pass_is_not_tried_again(tmp_path: Path, name: str, status: int) -> None:
    came, provider = asked(tmp_path, name, [JSONResponse(ERROR, status)])
    assert isinstance(came, SubclawError)
    assert len(provider.seen) == 1


@pytest.mark.parametrize("name", PATHS)
def test_a_provider_that_says_when_is_asked_then(tmp_path: Path, name: str) -> None:
    began_s = time.monotonic()
    came, _ = asked(tmp_path, name, [JSONResponse(ERROR, 429, {"Retry-After": "1"})])
    assert is_answered(came)
    assert time.monotonic() - began_s >= 1


@pytest.mark.parametrize("name", PATHS)
def test_a_provider_that_asks_for_too_long_a_wait_is_not_waited_for(tmp_path: Path, name: str) -> None:
    came, provider = asked(tmp_path, name, [JSONResponse(ERROR, 429, {"Retry-After": "3600"})])
    assert isinstance(came, Exhausted)
    assert len(provider.seen) == 1


@pytest.mark.parametrize("name", PATHS)
def test_a_provider_that_says_not_to_try_again_is_believed(tmp_path: Path, name: str) -> None:
    came, provider = asked(tmp_path, name, [JSONResponse(ERROR, 503, {"x-should-retry": "false"})])
    assert isinstance(came, Unavailable)
    assert len(provider.seen) == 1


@pytest.mark.parametrize("name", PATHS)
def test_an_account_without_money_is_not_tried_again(tmp_path: Path, name: str) -> None:
    status, body = OUT_OF_MONEY[name]
    came, provider = asked(tmp_path, name, [JSONResponse(body, status)])
    assert isinstance(came, Exhausted)
    assert len(provider.seen) == 1


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("status", [0, 413])
def test_a_prompt_that_is_too_long_is_told_apart(tmp_path: Path, name: str, status: int) -> None:
    told, body = TOO_LONG[name]
    came, provider = asked(tmp_path, name, [JSONResponse(ERROR if status else body, status or told)])
    assert isinstance(came, TooLong)
    assert len(provider.seen) == 1


@pytest.mark.parametrize("name", PATHS)
def test_an_answer_that_drips_is_cut_short_and_asked_for_again(tmp_path: Path, name: str) -> None:
    patience = replace(QUICK, attempt_s=0.5)
    came, provider = asked(tmp_path, name, [Dripping(" " * 3_000, media_type="application/json")], patience)
    assert is_answered(came)
    assert len(provider.seen) == 2


@pytest.mark.parametrize("name", PATHS)
def test_an_answer_beyond_the_limit_is_not_read(tmp_path: Path, name: str) -> None:
    long = b" " * ANSWER_LIMIT_BYTES + json.dumps(WORDS[name]).encode()
    came, provider = asked(tmp_path, name, [Response(long, media_type="application/json")])
    assert is_answered(came)
    assert len(provider.seen) == 2


@pytest.mark.parametrize("name", PATHS)
def test_all_of_a_call_has_a_limit_of_time(tmp_path: Path, name: str) -> None:
    patience = replace(QUICK, attempts=100, attempt_s=0.5, call_s=1.2)
    dripping = [Dripping(" " * 3_000, media_type="application/json") for _ in range(100)]
    came, provider = asked(tmp_path, name, dripping, patience)
    assert isinstance(came, Unavailable)
    assert 2 <= len(provider.seen) <= 3


@pytest.mark.parametrize("name", PATHS)
def test_a_model_that_said_nothing_is_asked_to_speak(tmp_path: Path, name: str) -> None:
    came, provider = asked(tmp_path, name, [JSONResponse(NOTHING[name])])
    assert is_answered(came)
    assert [NUDGE in json.dumps(body) for body in provider.seen] == [False, True]
    assert isinstance(came, ModelReply)
    assert (came.usage.input_tokens, came.usage.output_tokens, came.usage.cache_read_tokens) == (22, 14, 8)


@pytest.mark.parametrize("name", PATHS)
def test_a_model_that_says_nothing_again_is_let_be(tmp_path: Path, name: str) -> None:
    came, provider = asked(tmp_path, name, [JSONResponse(NOTHING[name]), JSONResponse(NOTHING[name])])
    assert isinstance(came, ModelReply)
    assert (came.text, came.calls) == ("", ())
    assert len(provider.seen) == 2


@pytest.mark.parametrize("name", PATHS)
def test_a_refusal_is_said_in_words_without_what_was_withheld(tmp_path: Path, name: str) -> None:
    came, provider = asked(tmp_path, name, [JSONResponse(REFUSALS[name])])
    assert isinstance(came, ModelReply)
    assert (came.text, came.calls) == (REFUSED, ())
    assert len(provider.seen) == 1


def test_a_refusal_in_the_models_own_words(tmp_path: Path) -> None:
    declined: dict[str, Any] = openai_answer({"content": None, "refusal": "I would rather not."})
    came, _ = asked(tmp_path, "openai", [JSONResponse(declined)])
    assert isinstance(came, ModelReply)
    assert came.text == "I would rather not."


@pytest.mark.parametrize("name", PATHS)
def test_words_that_were_cut_off_say_so(tmp_path: Path, name: str) -> None:
    came, _ = asked(tmp_path, name, [JSONResponse(WORDS[name])])
    assert isinstance(came, ModelReply)
    assert came.text == f"Half of\n\n{CUT_OFF}"


@pytest.mark.parametrize("name", PATHS)
def test_a_call_that_was_cut_off_is_withheld_and_those_before_it_are_not(tmp_path: Path, name: str) -> None:
    came, _ = asked(tmp_path, name, [JSONResponse(CALL[name])])
    assert isinstance(came, ModelReply)
    assert came.text == "I write it."
    assert [call.withheld for call in came.calls] == ["", CALL_CUT_OFF]


def test_what_a_server_does_not_count_is_estimated(tmp_path: Path) -> None:
    uncounted = openai_answer({"content": "Hello there."}) | {"usage": None}
    came, _ = asked(tmp_path, "openai", [JSONResponse(uncounted)])
    assert isinstance(came, ModelReply)
    assert came.usage.input_tokens > 10
    assert came.usage.output_tokens > 3


def test_counts_beyond_belief_are_bounded(tmp_path: Path) -> None:
    counts = {"prompt_tokens": 10**30, "completion_tokens": 10**30, "total_tokens": 1}
    came, _ = asked(tmp_path, "openai", [JSONResponse(openai_answer({"content": "Hello."}) | {"usage": counts})])
    assert isinstance(came, ModelReply)
    assert came.usage.input_tokens == came.usage.output_tokens == 10**9


@pytest.mark.parametrize("name", PATHS)
def test_a_call_that_is_cancelled_ends_at_once(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        provider = FakeProvider(first=[JSONResponse(ERROR, 503)])
        async with opened(tmp_path, name, provider.app(), patience=replace(QUICK, soon_s=60)) as model:
            asking = asyncio.create_task(model.ask(HELLO))
            while not provider.seen:
                await asyncio.sleep(0.01)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asking, 1)
            assert len(provider.seen) == 1

    run(scenario)

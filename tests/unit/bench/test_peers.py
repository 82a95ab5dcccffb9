"""What the comparison with other products rests on: all hear the same model, are compared rightly, and are ended."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from bench.peer_products import Missing, end
from bench.peers import Figures, measured, ratios
from bench.streaming_model import app
from openai import AsyncOpenAI

from subclaw.testing.openai import ANSWER
from subclaw.testing.serving import serving

SUBCLAW: Figures = {"turn_cpu_ms": 10.0, "turns_per_s": 80.0, "memory_mb_per_tenant": 5.0, "prompt_bytes": 4_000}
SMALL: Figures = {"turn_cpu_ms": 70.0, "turns_per_s": 16.0, "memory_mb_per_tenant": 120.0, "prompt_bytes": 28_000}
LARGE: Figures = {"turn_cpu_ms": 250.0, "turns_per_s": 4.0, "memory_mb_per_tenant": 100.0, "prompt_bytes": 57_000}


@pytest.mark.parametrize("streamed", [True, False])
def test_the_model_answers_the_same_as_a_stream_and_as_a_whole(streamed: bool) -> None:
    async def ask() -> tuple[str, list[str], int]:
        async with (
            serving(app()) as port,
            AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="k", max_retries=0) as client,
        ):
            if not streamed:
                whole = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
                assert whole.usage is not None
                return (
                    whole.choices[0].message.content or "",
                    [whole.choices[0].finish_reason],
                    whole.usage.total_tokens,
                )
            chunks = [
                chunk
                async for chunk in await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "hi"}], stream=True
                )
            ]
            choices = [choice for chunk in chunks for choice in chunk.choices]
            text = "".join(choice.delta.content or "" for choice in choices)
            ended = [choice.finish_reason for choice in choices if choice.finish_reason]
            return text, [str(reason) for reason in ended], sum(c.usage.total_tokens for c in chunks if c.usage)

    text, ended, tokens = asyncio.run(ask())
    assert (text, ended) == (ANSWER, ["stop"])
    assert tokens > 4


def test_the_better_peer_is_what_counts() -> None:
    expected = {"cpu": 7.0, "turns_per_s": 5.0, "memory_per_tenant": 20.0, "prompt_bytes": 7.0}
    assert ratios(SUBCLAW, [SMALL, LARGE]) == expected


def test_a_peer_that_is_missing_is_left_out() -> None:
    def fail() -> Figures:
        raise Missing("it cannot be installed")

    missing = measured(fail)
    assert missing == {"missing": "it cannot be installed"}
    assert ratios(SUBCLAW, [missing, LARGE])["turns_per_s"] == 20.0
    assert ratios(SUBCLAW, [missing]) == {}


def test_what_a_peer_started_ends_with_it_even_in_a_group_of_its_own(tmp_path: Path) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    child = f"import os, signal; open({str(told)!r}, 'w').write(str(os.getpid())); signal.pause()"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], start_new_session=True)"
    process = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    started = psutil.Process(int(told.read_text()))
    end(process)
    assert process.returncode is not None
    assert psutil.wait_procs([started], timeout=10)[1] == []

"""The official `openai` client talks to an agent, which it takes for a model."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import openai
import pytest
from openai import AsyncOpenAI
from tests.real.api_scene import Scene, play

from subclaw.core.errors import Unavailable
from subclaw.core.model import UserSaid
from subclaw.store.customers import session_of
from subclaw.store.database import DatabaseAddress
from subclaw.testing.models import Aloud, Pause, aloud, calls, words


@asynccontextmanager
async def opened(scene: Scene) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{scene.url}/v1", api_key=await scene.key(), max_retries=0) as client:
        yield client


def test_chat_completions_are_an_agents_answers(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with opened(scene) as client:
            first = await client.chat.completions.create(
                model="agents/support", messages=[{"role": "user", "content": "Hi"}], user="anna", temperature=0.2
            )
            assert first.choices[0].message.content == "One."
            assert first.usage is not None
            assert (first.usage.prompt_tokens, first.usage.completion_tokens) == (20, 10)
            second = await client.chat.completions.create(
                model="agents/support",
                messages=[
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "One."},
                    {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
                ],
                user="anna",
            )
            assert second.choices[0].message.content == "Two."
            said = [one.text for one in scene.model.prompts[-1].history if isinstance(one, UserSaid)]
            assert said == ["Hi", "And now?"], "it goes on in the session"
            third = await client.chat.completions.create(
                model="agents/support", messages=[{"role": "user", "content": "New"}], user="ben"
            )
            assert third.choices[0].message.content == "Three."
            assert len([one for one in scene.model.prompts[-1].history if isinstance(one, UserSaid)]) == 1

    play(scenario, address, [calls(("refund", "{}")), words("One."), words("Two."), words("Three.")])


def test_chat_completions_are_streamed(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with opened(scene) as client:
            stream = await client.chat.completions.create(
                model="agents/support",
                messages=[{"role": "user", "content": "Hi"}],
                metadata={"customer": "anna"},
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks = [chunk async for chunk in stream]
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert text == "Hello, how can I help?"
            assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
            assert chunks[-1].usage is not None
            assert chunks[-1].usage.total_tokens == 15

    play(scenario, address)


LONG = "Your parcel is at the depot in Graz, and it will be brought to you tomorrow between nine and eleven. " * 3


def test_words_of_a_chat_completion_come_as_they_are_said(address: DatabaseAddress) -> None:
    pause = Pause()

    async def scenario(scene: Scene) -> None:
        async with opened(scene) as client:
            stream = await client.chat.completions.create(
                model="agents/support", messages=[{"role": "user", "content": "Hi"}], user="anna", stream=True
            )
            said: list[str] = []
            async for chunk in stream:
                if text := chunk.choices[0].delta.content:
                    said.append(text)
                    pause.go_on.set()
            assert len(said) > 1
            assert "".join(said) == f"{LONG}That is all."

    play(scenario, address, [aloud(LONG, pause, "That is all.")])


def test_words_of_a_response_come_as_they_are_said(address: DatabaseAddress) -> None:
    pause = Pause()

    async def scenario(scene: Scene) -> None:
        async with opened(scene) as client:
            deltas: list[str] = []
            async with client.responses.stream(model="agents/support", input="Hi", user="anna") as stream:
                async for event in stream:
                    if event.type == "response.output_text.delta":
                        deltas.append(event.delta)
                        pause.go_on.set()
                final = await stream.get_final_response()
            assert len(deltas) > 1
            assert "".join(deltas) == final.output_text == f"{LONG}That is all."

    play(scenario, address, [aloud(LONG, pause, "That is all.")])


def test_a_word_before_a_tool_call_is_no_part_of_an_answer(address: DatabaseAddress) -> None:
    called = replace(calls(("refund", '{"amount": 3}')), text="I look.")

    async def scenario(scene: Scene) -> None:
        async with opened(scene) as client:
            stream = await client.chat.completions.create(
                model="agents/support", messages=[{"role": "user", "content": "Hi"}], user="anna", stream=True
            )
            said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            assert said == "Done."

    play(scenario, address, [Aloud(pieces=["I look."], then=called), aloud("Done.")])


def test_much_that_is_said_before_a_tool_call_stays(address: DatabaseAddress) -> None:
    called = replace(calls(("refund", '{"amount": 3}')), text=LONG)
    pause = Pause()

    async def scenario(scene: Scene) -> None:
        async with opened(scene) as client:
            stream = await client.chat.completions.create(
                model="agents/support", messages=[{"role": "user", "content": "Hi"}], user="anna", stream=True
            )
            said = ""
            async for chunk in stream:
                said += chunk.choices[0].delta.content or ""
                if said:
                    pause.go_on.set()
            assert said == f"{LONG.strip()}\n\nDone."

    play(scenario, address, [Aloud(pieces=[LONG, pause], then=called), aloud("Done.")])


def test_an_answer_that_was_begun_and_becomes_another_ends_in_an_error(address: DatabaseAddress) -> None:
    pause = Pause()

    async def scenario(scene: Scene) -> None:
        async with opened(scene) as client:
            types: list[str] = []
            async with client.responses.stream(model="agents/support", input="Hi", user="anna") as stream:
                async for event in stream:
                    types.append(event.type)
                    if event.type == "response.output_text.delta":
                        pause.go_on.set()
            assert types[-1] == "error"
            assert "response.completed" not in types
            again = await client.chat.completions.create(
                model="agents/support", messages=[{"role": "user", "content": "Hi"}], user="anna", stream=True
            )
            assert "".join([chunk.choices[0].delta.content or "" async for chunk in again]) == "Well."

    play(scenario, address, [Aloud(pieces=[LONG, pause], then=Unavailable("down")), aloud("Well.")])


def test_responses_go_on_after_one_another(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with opened(scene) as client:
            first = await client.responses.create(
                model="agents/support", input="Hi", metadata={"customer": "anna", "customer_id": "C-17"}
            )
            assert (first.output_text, first.status) == ("One.", "completed")
            second = await client.responses.create(
                model="agents/support",
                input=[{"role": "user", "content": [{"type": "input_text", "text": "And?"}]}],
                previous_response_id=first.id,
            )
            assert second.output_text == "Two."
            said = [one.text for one in scene.model.prompts[-1].history if isinstance(one, UserSaid)]
            assert said == ["Hi", "And?"]
            session = await session_of(scene.database, "ses_" + second.id[5:37])
            assert session is not None
            assert session.binding["customer_id"] == "C-17"
            models = [model.id async for model in client.models.list()]
            assert models == ["agents/sales", "agents/support"]

    play(scenario, address, [words("One."), words("Two.")])


def test_responses_are_streamed(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with opened(scene) as client:
            manager = client.responses.stream(model="agents/support", input="Hi", user="anna")
            async with manager as stream:
                types = [event.type async for event in stream]
                final = await stream.get_final_response()
            assert types[0] == "response.created"
            assert "response.output_text.delta" in types
            assert types[-1] == "response.completed"
            assert final.output_text == "Hello, how can I help?"
            again = await client.responses.create(model="agents/support", input="More", previous_response_id=final.id)
            assert again.output_text == "Hello, how can I help?"

    play(scenario, address)


def test_what_makes_no_sense_is_refused_in_words(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        hi: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
        async with opened(scene) as client:
            with pytest.raises(openai.UnprocessableEntityError, match="customer"):
                await client.chat.completions.create(model="agents/support", messages=hi)
            with pytest.raises(openai.UnprocessableEntityError, match="agents/"):
                await client.chat.completions.create(model="gpt-5", messages=hi, user="anna")
            with pytest.raises(openai.NotFoundError, match="no agent"):
                await client.chat.completions.create(model="agents/nobody", messages=hi, user="anna")
            with pytest.raises(openai.UnprocessableEntityError, match="instructions"):
                await client.responses.create(model="agents/support", input="Hi", user="a", instructions="Be rude.")
            with pytest.raises(openai.NotFoundError, match="session"):
                await client.responses.create(
                    model="agents/support", input="Hi", previous_response_id=f"resp_{'x' * 32}_7"
                )
        async with AsyncOpenAI(base_url=f"{scene.url}/v1", api_key="sck_wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model="agents/support", messages=hi, user="anna")

    play(scenario, address)


def test_a_session_that_is_named_must_be_the_customers_who_is_said(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        hi: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
        async with opened(scene) as client:
            annas = await client.responses.create(model="agents/support", input="Hi", user="anna")
            session = f"ses_{annas.id.removeprefix('resp_').rpartition('_')[0]}"
            for named in ({"previous_response_id": annas.id}, {"conversation": session}):
                with pytest.raises(openai.NotFoundError, match="that customer"):
                    await client.responses.create(model="agents/support", input="Mine?", user="ben", extra_body=named)
            with pytest.raises(openai.NotFoundError, match="that customer"):
                await client.chat.completions.create(
                    model="agents/support", messages=hi, user="ben", metadata={"session": session}
                )
            assert len(scene.model.prompts) == 1
            await client.responses.create(
                model="agents/support", input="Mine?", user="anna", previous_response_id=annas.id
            )
            await client.responses.create(model="agents/support", input="Mine?", previous_response_id=annas.id)
            assert len([one for one in scene.model.prompts[-1].history if isinstance(one, UserSaid)]) == 3

    play(scenario, address)

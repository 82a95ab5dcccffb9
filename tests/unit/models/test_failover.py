"""Several models as one: who is asked, in what order, for how long, and what is told when nobody can be had."""

import asyncio
from collections.abc import Coroutine

import pytest

from subclaw.core.errors import Denied, Exhausted, Invalid, SubclawError, Unavailable
from subclaw.core.model import Model, ModelReply, Prompt, TooLong, UserSaid
from subclaw.models.failover import Failover
from subclaw.testing.models import ScriptedModel, words

PROMPT = Prompt(instructions="", history=[UserSaid(text="hi")], tools=[])
FIRST, SECOND = words("I am the first."), words("I am the second.")


class Silent:
    """A model that never answers."""

    async def ask(self, prompt: Prompt) -> ModelReply:
        await asyncio.Event().wait()
        return FIRST


def chain(*models: Model, call_s: float = 10.0, rest_s: float = 30.0) -> Failover:
    return Failover([(f"m:{n}", model) for n, model in enumerate(models)], call_s=call_s, rest_s=rest_s)


def answer(call: Coroutine[object, object, ModelReply]) -> ModelReply:
    return asyncio.run(call)


def test_the_first_is_asked_and_the_second_only_if_need_be() -> None:
    first, second = ScriptedModel([FIRST]), ScriptedModel([SECOND])
    assert answer(chain(first, second).ask(PROMPT)) is FIRST
    assert second.prompts == []


@pytest.mark.parametrize("error", [Unavailable("away"), Exhausted("busy"), Denied("no"), Invalid("strange")])
def test_another_stands_in_for_one_that_cannot(error: SubclawError) -> None:
    assert answer(chain(ScriptedModel([error]), ScriptedModel([SECOND])).ask(PROMPT)) is SECOND


def test_a_prompt_that_is_too_long_is_to_be_shortened_not_passed_on() -> None:
    second = ScriptedModel([SECOND])
    with pytest.raises(TooLong):
        answer(chain(ScriptedModel([TooLong("too long")]), second).ask(PROMPT))
    assert second.prompts == []


def test_the_error_is_that_of_the_one_who_was_asked_first() -> None:
    with pytest.raises(Exhausted):
        answer(chain(ScriptedModel([Exhausted("busy")]), ScriptedModel([Denied("no")])).ask(PROMPT))


def test_one_that_could_not_is_asked_last_for_a_while() -> None:
    async def scenario() -> None:
        first, second = (
            ScriptedModel([Unavailable("away"), FIRST]),
            ScriptedModel([SECOND, SECOND, Unavailable("away")]),
        )
        models = chain(first, second)
        assert [await models.ask(PROMPT) for _ in range(3)] == [SECOND, SECOND, FIRST]
        assert len(first.prompts) == 2

    asyncio.run(scenario())


def test_one_that_has_rested_is_asked_first_again() -> None:
    async def scenario() -> None:
        models = chain(ScriptedModel([Unavailable("away"), FIRST]), ScriptedModel([SECOND]), rest_s=0.0)
        assert [await models.ask(PROMPT) for _ in range(2)] == [SECOND, FIRST]

    asyncio.run(scenario())


def test_a_prompt_that_does_not_suit_a_model_is_no_reason_to_rest() -> None:
    async def scenario() -> None:
        models = chain(ScriptedModel([Invalid("strange"), FIRST]), ScriptedModel([SECOND]))
        assert [await models.ask(PROMPT) for _ in range(2)] == [SECOND, FIRST]

    asyncio.run(scenario())


def test_one_that_is_silent_leaves_time_for_the_next() -> None:
    assert answer(chain(Silent(), ScriptedModel([SECOND]), call_s=0.2).ask(PROMPT)) is SECOND


def test_all_of_a_call_has_a_limit_of_time() -> None:
    with pytest.raises(Unavailable):
        answer(chain(Silent(), Silent(), Silent(), call_s=0.1).ask(PROMPT))

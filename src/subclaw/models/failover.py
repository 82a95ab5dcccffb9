"""Failover: several models as one. The first that can answers; one that could not is asked last for a while."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from subclaw.core.errors import Invalid, SubclawError, Unavailable
from subclaw.core.model import Model, ModelReply, Prompt, TooLong

log = logging.getLogger(__name__)

REST_S = 30.0
"""How long a model that could not be had is asked last, so that not every turn waits for it first."""


@dataclass(kw_only=True)
class _Candidate:
    label: str
    model: Model
    rests_until_s: float = 0.0


class Failover:
    """See `core.model.Model`. `models` are in the order of preference, each with a label for the log.

    A call takes at most `call_s`: a model that others come after has half of what is left. A prompt that is too long
    is not tried elsewhere: to shorten it is cheaper. If all fail, the error is that of the model which was asked first.
    """

    def __init__(self, models: Sequence[tuple[str, Model]], *, call_s: float, rest_s: float = REST_S) -> None:
        self._candidates = [_Candidate(label=label, model=model) for label, model in models]
        self._call_s = call_s
        self._rest_s = rest_s

    async def ask(self, prompt: Prompt) -> ModelReply:
        """See `core.model.Model.ask`."""
        clock = asyncio.get_running_loop().time
        end_s = clock() + self._call_s
        order = sorted(self._candidates, key=lambda candidate: candidate.rests_until_s > clock())
        errors: list[SubclawError] = []
        for candidate in order:
            left_s = end_s - clock()
            try:
                async with asyncio.timeout(left_s if candidate is order[-1] else left_s / 2):
                    reply = await candidate.model.ask(prompt)
            except TooLong:
                raise
            except (SubclawError, TimeoutError) as error:
                errors.append(error if isinstance(error, SubclawError) else _too_slow())
                log.warning("%s failed: %s", candidate.label, errors[-1].internal)
                if not isinstance(error, Invalid):  # that was the prompt's doing
                    candidate.rests_until_s = clock() + self._rest_s
            else:
                candidate.rests_until_s = 0.0
                return reply
        raise errors[0]


def _too_slow() -> Unavailable:
    return Unavailable("The model took too long.", internal="no answer within its part of the call")

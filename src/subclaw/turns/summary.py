"""The summary of a conversation that gets too long: asked of the model, once a turn, and kept as an event."""

import logging
from functools import partial

from subclaw.core.errors import SubclawError
from subclaw.core.event import Event, HistorySummarised, SummaryFailed
from subclaw.core.model import Model
from subclaw.turns.attention import Attention, Halt
from subclaw.turns.journal import Journal
from subclaw.turns.prompt import SummaryWanted

log = logging.getLogger(__name__)


async def summarise(model: Model, attention: Attention, wanted: SummaryWanted, journal: Journal) -> Halt | None:
    """Have what is old summed up, and write down what came of it.

    Returns why the turn does not go on, if something came in between.
    """
    if halt := await attention.halted():
        return halt
    happened = await attention.during(partial(_summarise, model, wanted), closing_waits=False)
    if isinstance(happened, Halt):
        return happened
    journal.add(happened)
    await journal.write()
    return None


async def _summarise(model: Model, wanted: SummaryWanted) -> Event:
    try:
        reply = await model.ask(wanted.prompt)
    except SubclawError as error:
        log.warning("no summary: %s", error.internal)
        return SummaryFailed(usage=None)
    text = reply.text.strip()
    if not text:
        log.warning("no summary: the model answered without words")
        return SummaryFailed(usage=reply.usage)
    limited = text if len(text) <= wanted.limit_characters else f"{text[: wanted.limit_characters]}…"
    return HistorySummarised(text=limited, kept_replies=wanted.kept_replies, usage=reply.usage)

"""The context: which part of a conversation a model is sent, so that it fits the model's window.

Everything here follows from the events alone, and what follows from the first of them does not change when more come:
so a prompt begins as the one before did, and providers' caches hit. What has to go goes in large strides, since the
cache is lost with each: first the results of old tool calls; then all that is old, for a summary; and last, when no
summary can be had, the oldest that was said.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from subclaw.core.event import (
    Event,
    HistorySummarised,
    ModelFailed,
    ModelReplied,
    Prompting,
    SummaryFailed,
    TurnStarted,
)
from subclaw.core.history import last_summary, shorten_message, told
from subclaw.core.model import ToolSaid, UserSaid, Utterance, reply_limit_tokens
from subclaw.core.tokens import BYTES_PER_TOKEN, Gauge, text_tokens, utterance_tokens
from subclaw.core.transcript import current_turn

MARGIN = 20
"""One part in so many of the rest is kept for estimates that are too low."""

TRIM_AT = 0.6
"""The share of the room from which on results of old calls are trimmed, when that frees `TRIM_STRIDE` at once."""

TRIM_STRIDE = 0.15
UNTRIMMED_CALLS = 8
"""How many of the newest calls keep their results, as far as these take no more than a quarter of the room."""

TRIMMED = "[… trimmed; run it again if you need it]"
TRIMMED_TOKENS = text_tokens(TRIMMED)
TRIMMED_FROM_CHARACTERS = 400

SUMMARISE_AT = 0.8
"""The share of the room from which on the old part is summarised, ..."""

SUMMARISE_AT_UTTERANCES = 200
"""... or how many utterances: each costs reading, sending and time, however short."""

TURNS_BETWEEN_TRIES = 10
"""For how many turns no summary is asked for again after one failed: each try costs as much as a step."""

SUMMARY_WORTH = 0.2
"""The share of the room that a summary has to stand for, unless there are too many utterances."""

SUMMARY_WORTH_UTTERANCES = 50
KEPT_AT_SUMMARY = 0.3
KEPT_AT_SUMMARY_UTTERANCES = 60
"""What is kept word for word beside a summary, if it is not one reply alone that takes more."""

LEFT_OUT_STRIDE = 4
"""What does not fit is left out in parts of a fourth of the room."""

LEFT_OUT = "[Nobody wrote. Part of what was said before is left out here, because it was too long.]"
SHORTEST_MESSAGE_CHARACTERS = 200
SHORTEST_RESULT_TOKENS = 100
NOTE_TOKENS = 80
"""At most what a note takes that something was left out."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """`prompt_tokens` is what a prompt may take, of which `fixed_tokens` go to the instructions and the tools."""

    prompt_tokens: int
    fixed_tokens: int


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A history that fits, and an estimate of what the whole prompt takes with it."""

    history: tuple[Utterance, ...]
    tokens: int


@dataclass(frozen=True, kw_only=True)
class OldPart:
    """What is to be summarised: the history until then, fitted, and how many of the model's replies are not in it."""

    fitted: Fitted
    kept_replies: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """What a model is told of one event: kept or left out as one, so that each call has its result.

    `counted_tokens` is what a provider counted of the prompt that this is the reply to, 0 if that was another prompt.
    `pinned` are a summary and the messages of the turn that runs. Without its long results it takes `trim_tokens` less.
    """

    said: tuple[Utterance, ...]
    tokens: int
    trim_tokens: int = 0
    is_message: bool = False
    is_reply: bool = False
    pinned: bool = False
    counted_tokens: int = 0


def room_of(window_tokens: int, fixed_tokens: int) -> Room:
    """Return the room that a prompt has in a model's window."""
    prompt_tokens = window_tokens - reply_limit_tokens(window_tokens)
    return Room(prompt_tokens=prompt_tokens - prompt_tokens // MARGIN, fixed_tokens=fixed_tokens)


def fit(events: Sequence[Event], room: Room) -> Fitted:
    """Return a conversation's history so that it fits the room, or the least of it that makes sense.

    The newest message is always there, whole unless it alone is too large.
    """
    return _fit(*_trim(_blocks(events), room), room)


def fit_or_part(events: Sequence[Event], room: Room, request: str) -> Fitted | OldPart:
    """Return what `fit` returns, or what is to be summarised first. `request`, said last, asks for the summary.

    There is one try a turn, none soon after one that failed, and none that would bring little.
    """
    blocks, gauge = _trim(_blocks(events), room)
    part = None if _tried_lately(events) else _old_part(blocks, gauge, room, request)
    return part or _fit(blocks, gauge, room)


def _old_part(blocks: Sequence[Block], gauge: Gauge, room: Room, request: str) -> OldPart | None:
    utterances = sum(len(block.said) for block in blocks)
    if gauge.tokens <= SUMMARISE_AT * room.prompt_tokens and utterances < SUMMARISE_AT_UTTERANCES:
        return None
    rate = max(gauge.correction, 1.0)
    kept_replies = _replies_to_keep(blocks, round(KEPT_AT_SUMMARY * room.prompt_tokens / rate))
    replies = [index for index, block in enumerate(blocks) if block.is_reply]
    old = list(blocks[: replies[-kept_replies - 1] + 1]) if kept_replies < len(replies) else []
    worth = sum(block.tokens for block in old) * rate >= SUMMARY_WORTH * room.prompt_tokens
    if not worth and sum(len(block.said) for block in old) < SUMMARY_WORTH_UTTERANCES:
        return None
    asked = UserSaid(text=request)
    old.append(Block(said=(asked,), tokens=utterance_tokens(asked), is_message=True, pinned=True))
    gauge = gauge.shrunk(sum(block.tokens for block in blocks) - sum(block.tokens for block in old))
    return OldPart(fitted=_fit(old, gauge, room), kept_replies=kept_replies)


def _tried_lately(events: Sequence[Event]) -> bool:
    turns = 0
    for event in reversed(events):
        match event:
            case TurnStarted():
                turns += 1
            case HistorySummarised():
                return turns == 0
            case SummaryFailed():
                return turns < TURNS_BETWEEN_TRIES
    return False


def _blocks(events: Sequence[Event]) -> list[Block]:
    summary = last_summary(events)
    began = len(events) - len(current_turn(events) or ())
    blocks = []
    for one in told(events):
        event = events[one.index]
        is_message = isinstance(event, Prompting)
        counted = isinstance(event, ModelReplied) and not event.refused and (summary is None or one.index > summary)
        blocks.append(
            Block(
                said=one.said,
                tokens=sum(map(utterance_tokens, one.said)),
                trim_tokens=_trim_tokens(one.said[1:]) if len(one.said) > 1 else 0,
                is_message=is_message,
                is_reply=isinstance(event, ModelReplied | ModelFailed),
                pinned=one.index == summary or (is_message and one.index >= began),
                counted_tokens=event.usage.input_tokens if counted and isinstance(event, ModelReplied) else 0,
            )
        )
    return blocks


def _fit(blocks: Sequence[Block], gauge: Gauge, room: Room) -> Fitted:
    """Return the history of blocks that take what the gauge says, some of them left out if that is too much."""
    if gauge.tokens <= room.prompt_tokens:
        return Fitted(history=_history(blocks), tokens=gauge.tokens)
    rate = max(gauge.correction, 1.0)
    kept = _leave_out(blocks, int(room.prompt_tokens / rate) - room.fixed_tokens)
    estimated = room.fixed_tokens + sum(block.tokens for block in kept)
    return Fitted(history=_history(kept), tokens=round(estimated * rate))


def _history(blocks: Sequence[Block]) -> tuple[Utterance, ...]:
    return tuple(utterance for block in blocks for utterance in block.said)


def _trim(blocks: Sequence[Block], room: Room) -> tuple[list[Block], Gauge]:
    """Return the blocks, old results trimmed as they were each time there was too much, and how long that makes them.

    What was done at one block does not depend on those after it.
    """
    kept: list[Block] = []
    gauge = Gauge(estimated=room.fixed_tokens)
    done = newest = 0  # the results before `done` are trimmed, and those from `newest` on are to stay
    freed = calls = results = 0
    for block in blocks:
        gauge = gauge.corrected(block.counted_tokens).grown(block.tokens)
        kept.append(block)
        calls, results = calls + len(block.said) - 1, results + block.trim_tokens
        while newest < len(kept) - 1 and (calls > UNTRIMMED_CALLS or results > room.prompt_tokens // 4):
            old = kept[newest]
            calls, results = calls - len(old.said) + 1, results - old.trim_tokens
            freed, newest = freed + old.trim_tokens, newest + 1
        if gauge.tokens > TRIM_AT * room.prompt_tokens and freed >= TRIM_STRIDE * room.prompt_tokens:
            kept[done:newest] = [_without_results(old) for old in kept[done:newest]]
            gauge, done, freed = gauge.shrunk(freed), newest, 0
    return kept, gauge


def _trim_tokens(results: Sequence[Utterance]) -> int:
    """Return how much less tool results take once they are trimmed."""
    contents = (said.content for said in results if isinstance(said, ToolSaid) and _is_long(said.content))
    return sum(text_tokens(content) - TRIMMED_TOKENS for content in contents)


def _without_results(block: Block) -> Block:
    said = tuple(
        replace(one, content=TRIMMED) if isinstance(one, ToolSaid) and _is_long(one.content) else one
        for one in block.said
    )
    return replace(block, said=said, tokens=block.tokens - block.trim_tokens, trim_tokens=0)


def _replies_to_keep(blocks: Sequence[Block], limit_tokens: int) -> int:
    """Return how many of the newest replies are kept word for word: at least one."""
    replies = tokens = utterances = 0
    for block in reversed(blocks):
        tokens, utterances = tokens + block.tokens, utterances + len(block.said)
        if tokens > limit_tokens or utterances > KEPT_AT_SUMMARY_UTTERANCES:
            break
        replies += block.is_reply
    return max(replies, 1)


def _leave_out(blocks: Sequence[Block], limit_tokens: int) -> list[Block]:
    """Return the blocks within a limit, or the newest message alone, as short as it can be told.

    First the oldest go, in strides, but for what is pinned; then the results of the last reply are shortened; then the
    older pinned ones go and the last reply; and last the newest message itself is shortened.
    """
    kept = dict(enumerate(blocks))
    last = len(blocks) - 1
    newest = max((index for index, block in kept.items() if block.is_message), default=last)
    others = [index for index in kept if index not in (newest, last)]
    over = sum(block.tokens for block in blocks) - limit_tokens + NOTE_TOKENS
    stride = max(limit_tokens // LEFT_OUT_STRIDE, 1)
    in_strides = -(-over // stride) * stride
    over += _drop(kept, [index for index in others if not blocks[index].pinned], in_strides) - in_strides
    if over > 0 and newest < last:
        kept[last] = _with_short_results(blocks[last], blocks[last].tokens - over)
        over += kept[last].tokens - blocks[last].tokens
    pinned = [index for index in others if blocks[index].pinned]
    over = _drop(kept, [*pinned, *range(newest + 1, last + 1)], over)
    if over > 0 and blocks:
        kept[newest] = _short_message(blocks[newest], blocks[newest].tokens - over)
    gone = [index for index in range(len(blocks)) if index not in kept]
    if gone:
        kept[gone[0]] = Block(said=(UserSaid(text=LEFT_OUT),), tokens=NOTE_TOKENS)
    return [kept[index] for index in sorted(kept)]


def _drop(kept: dict[int, Block], indices: Iterable[int], tokens: int) -> int:
    """Take blocks out, in this order, until these were so many tokens; return how many are still too many, if any."""
    for index in indices:
        if tokens <= 0:
            break
        if index in kept:
            tokens -= kept.pop(index).tokens
    return tokens


def _with_short_results(block: Block, limit_tokens: int) -> Block:
    """Return a reply with its results shortened, each to the same length, towards a limit."""
    results = [said for said in block.said if isinstance(said, ToolSaid)]
    spare = limit_tokens - block.tokens + sum(text_tokens(said.content) for said in results)
    each = max(spare // len(results), SHORTEST_RESULT_TOKENS) if results else 0
    short = [ToolSaid(call=said.call, content=_shorten_result(said.content, each)) for said in results]
    said = (*block.said[: len(block.said) - len(results)], *short)
    return replace(block, said=said, tokens=sum(map(utterance_tokens, said)))


def _shorten_result(content: str, limit_tokens: int) -> str:
    if text_tokens(content) <= limit_tokens:
        return content
    half = _characters(content, limit_tokens - text_tokens(TRIMMED)) // 2
    return f"{content[:half]}\n{TRIMMED}\n{content[len(content) - half :]}"


def _short_message(block: Block, limit_tokens: int) -> Block:
    """Return a person's message shortened towards a limit."""
    (said,) = block.said
    if not isinstance(said, UserSaid):
        return block
    shown = max(_characters(said.text, limit_tokens - NOTE_TOKENS) // 2, SHORTEST_MESSAGE_CHARACTERS)
    short = UserSaid(text=shorten_message(said.text, shown))
    return replace(block, said=(short,), tokens=utterance_tokens(short))


def _characters(text: str, tokens: int) -> int:
    """Return how many characters of a text certainly take no more than so many tokens, as they are estimated."""
    widest_bytes = len(max(text).encode("utf-8", "surrogatepass"))
    return max(tokens, 0) * BYTES_PER_TOKEN // widest_bytes


def _is_long(content: str) -> bool:
    return len(content) > TRIMMED_FROM_CHARACTERS

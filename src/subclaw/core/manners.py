"""Manners that do not depend on the model's: no raw output in an answer, and none that is too long for its channel.

An answer that lacks them is sent back to the model, once a turn; what is still wrong with the next one is cut out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from subclaw.core.raw_output import Piece, cut_out, find_raw_output, say_lines

WORDED_TOOLS = frozenset({"ask_for_access", "list_channels", "llm_complete", "publish_site", "schedule_notification"})
"""Tools whose results are written to be passed on: what is taken from them is no raw output."""

CUT_OFF = "(My answer got too long and ends here. Tell me to go on, and I will.)"
LEFT_OUT = '({lines} of raw output left out here. Say "show me" if you want to see it.)'

SHORT_ANSWER_CHARACTERS = 24
"""A message no longer than this may only be a yes to what the agent offered."""

_WISH = re.compile(
    r"```|\b(?:show|display|print|paste|dump|output|logs?\b(?! ?in\b)|std(?:out|err)|code|source|snippet|diff\b|trace"
    r"|stack ?trace|backtrace|full\b|whole|entire|exact|raw\b|verbatim|literal|word for word|quote|files?\b|list\b"
    r"|content|lines?\b|read (?:me|it|out|aloud)|(?:me|to|i) see|what(?:['\u2019]s| is| are) in|what does"
    r"|zeig|ausgabe|datei|protokoll|inhalt|wörtlich|vollständig|genau|quelltext|liste"
    r"|montre|affiche|fichier|sortie|contenu|complet|brut|muestra|enseña|mostr|archivo|arquivo|salida|saída"
    r"|contenido|conteúdo|conteudo|contenuto|código|codigo|codice|elenco|toon|laat zien|bestand"
    r"|покаж|файл|код|лог|список|вывод|целиком)"
    r"|显示|文件|日志|代码|列表|输出|完整|原文|给我看|見せ|表示|ファイル|ログ|コード|出力|全文|보여|파일|로그|코드|목록"
    r"|הרא|תרא|קובץ|קוד|רשימ|פלט|أظهر|أرن|اعرض|ملف|سجل|كود|قائمة|दिखा|फ़ाइल|सूची",
    re.IGNORECASE,
)
"""Words of a person who may want to see output as it is: those of a few languages, rather too many than too few."""

_BORDERS = ("\n\n", "\n", ". ", " ")


@dataclass(frozen=True, kw_only=True)
class AnswerSentBack:
    """The model's answer is not fit to be shown; `request` asks it for a better one."""

    request: str


@dataclass(frozen=True, kw_only=True)
class AnswerCut:
    """Only `text` is shown of the model's answer; `left_out` tells the model what is not."""

    text: str
    left_out: str


AnswerEvent = AnswerSentBack | AnswerCut


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """What an answer is held against: the results of the turn's tool calls, and what the person said for it.

    `before` are the agent's last words before that. The channel takes `limit_characters`, or any number if it is None.
    """

    results: Sequence[str]
    said: str
    before: str
    limit_characters: int | None


def mend_answer(answer: str, occasion: Occasion, *, may_send_back: bool) -> AnswerEvent | None:
    """Return what is to happen to an answer that is not fit to be shown as it is; None to one that is."""
    pieces = find_raw_output(answer, occasion.results, occasion.said)
    if pieces and wants_to_see(occasion.said, occasion.before):
        pieces = ()
    if may_send_back and (pieces or _is_too_long(answer, occasion.limit_characters)):
        return AnswerSentBack(request=_request(answer, pieces, occasion.limit_characters))
    text, left_out = answer, []
    if pieces:
        text = cut_out(answer, pieces, LEFT_OUT)
        left_out.append(f"without {say_lines(answer, pieces)} of raw output")
    if occasion.limit_characters is not None and _is_too_long(text, occasion.limit_characters):
        begin = _begin(text, occasion.limit_characters - len(CUT_OFF) - 2)
        text = f"{begin}\n\n{CUT_OFF}"
        left_out.append(f"only until “{begin[-80:]}”")
    if not left_out:
        return None
    return AnswerCut(text=text, left_out=f"The person was shown your answer {' and '.join(left_out)}.")


def wants_to_see(said: str, before: str) -> bool:
    """Say whether a person may have asked to see output as it is, or may have said yes when they were asked that."""
    if _WISH.search(said):
        return True
    return 0 < len(said.strip()) <= SHORT_ANSWER_CHARACTERS and _WISH.search(before) is not None


def _is_too_long(text: str, limit_characters: int | None) -> bool:
    return limit_characters is not None and len(text) > limit_characters


def _request(answer: str, pieces: Sequence[Piece], limit_characters: int | None) -> str:
    asked = ["Your last answer was not shown."]
    if pieces:
        asked.append(
            f"It contains raw output ({say_lines(answer, pieces)}). Say the outcome in one or two sentences of your"
            " own; if something failed, say what you try next."
        )
    if limit_characters is not None and _is_too_long(answer, limit_characters):
        asked.append(
            f"It has {len(answer):,} characters, and this channel takes {limit_characters:,} at the most. Say what"
            " matters in far fewer, and offer to go on."
        )
    return " ".join([*asked, "Write the answer itself, without a word about this."])


def _begin(text: str, limit_characters: int) -> str:
    """Return the beginning of a text, up to the end of a paragraph, a line, a sentence or a word."""
    head = text[: max(limit_characters, 1)]
    for border in _BORDERS:
        if (end := head.rfind(border)) > len(head) // 2:
            return head[: end + (border == ". ")].rstrip()
    return head

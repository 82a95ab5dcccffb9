"""What a person wrote in a mail, without what it answers and what they sign every mail with.

The programs of the world begin what is quoted in as many words as there are languages. What they have in common is that
the line names who is quoted: us, by our address.
"""

import re

_SIGNATURE = re.compile(r"^-- ?$")
_QUOTED = re.compile(r"^\s*>")
_MADE_ON = re.compile(
    r"^(sent from|gesendet von|envoyé de|enviado desde|inviato da|get outlook for) .{1,60}$", re.IGNORECASE
)
_RULE = re.compile(r"^\s*([_-]\s?){5,}.{0,60}$")
_ATTRIBUTION_LINES = 3
"""Over how many lines a program may break the line that begins what is quoted."""


def strip_history(text: str, our_address: str) -> str:
    """Return what was written anew; all of it if nothing would be left.

    Quotes between which answers stand are kept: they say what is answered.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    kept = _without_signature(_without_quote(lines[: _history_begins(lines, our_address)]))
    return "\n".join(kept).strip() or text.strip()


def _history_begins(lines: list[str], our_address: str) -> int:
    """Return the number of the line at which our mail is quoted with its head, or all lines' number."""
    for number, line in enumerate(lines):
        if our_address not in line.lower() or _QUOTED.match(line):
            continue
        # "From: Ada <agent@example.com>" of Outlook, in any language; a rule may stand above it.
        if re.match(r"^\W*\w[\w -]{0,20}\s?:", line):
            return _above_rule(lines, number)
        # "On …, Ada <agent@example.com> wrote:", on as many lines as it takes, before what is quoted.
        for end in range(number, min(number + _ATTRIBUTION_LINES, len(lines))):
            if lines[end].rstrip().endswith((":", "：")) and _is_quoted(lines[end + 1 :]):  # noqa: RUF001
                return _attribution_begins(lines, number)
    return len(lines)


def _is_quoted(lines: list[str]) -> bool:
    first = next((line for line in lines if line.strip()), "")
    return not first or _QUOTED.match(first) is not None


def _attribution_begins(lines: list[str], number: int) -> int:
    """Return where the paragraph of a line begins, if that is short."""
    begins = number
    while begins > 0 and lines[begins - 1].strip() and number - begins < _ATTRIBUTION_LINES - 1:
        begins -= 1
    return number if begins > 0 and lines[begins - 1].strip() else begins


def _above_rule(lines: list[str], number: int) -> int:
    above = number
    while above > 0 and not lines[above - 1].strip():
        above -= 1
    return above - 1 if above > 0 and _RULE.match(lines[above - 1]) else number


def _without_quote(lines: list[str]) -> list[str]:
    """Drop what is quoted at the end, with the line that ends in a colon above it."""
    end = len(lines)
    while end > 0 and (not lines[end - 1].strip() or _QUOTED.match(lines[end - 1])):
        end -= 1
    if not any(_QUOTED.match(line) for line in lines[end:]):
        return lines
    if end > 0 and lines[end - 1].rstrip().endswith((":", "：")):  # noqa: RUF001
        end = _attribution_begins(lines, end - 1)
    return lines[:end]


def _without_signature(lines: list[str]) -> list[str]:
    for number, line in enumerate(lines):
        if _SIGNATURE.match(line):
            return lines[:number]
    while lines and (not lines[-1].strip() or _MADE_ON.match(lines[-1].strip())):
        lines = lines[:-1]
    return lines

"""Slack's way of writing: what people said, as they read it, and what must not stand in what we say.

Source: https://docs.slack.dev/messaging/formatting-message-text. In `<…>` Slack keeps what is more than words.
"""

import re

_MARKED = re.compile(r"<([^<>]*)>")
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}
_ENTITY = re.compile("|".join(_ENTITIES))
_LOUD = re.compile(r"<!(channel|here|everyone)(?:\|[^<>]*)?>", re.IGNORECASE)
_LOUD_GROUP = re.compile(r"<!subteam\^[A-Z0-9]+(?:\|@?([^<>]*))?>", re.IGNORECASE)


def read_words(text: str, bot: str = "") -> str:
    """Return a text as people read it, without the name of the `bot` (a user's id) where it only calls it.

    Who is named keeps the form `<@U…>`, which Slack shows as their name when it is sent back.
    """
    text = re.sub(rf"\A\s*<@{re.escape(bot)}(\|[^<>]*)?>[\s,:]*", "", text) if bot else text
    return _ENTITY.sub(lambda match: _ENTITIES[match[0]], _MARKED.sub(lambda match: _read(match[1]), text)).strip()


def _read(marked: str) -> str:
    target, _, label = marked.partition("|")
    if target.startswith("@"):
        return f"<{target}>"
    if target.startswith("#"):
        return f"#{label or target[1:]}"
    if target.startswith("!"):
        return label or f"@{target[1:].partition('^')[0]}"
    address = target.removeprefix("mailto:").removeprefix("tel:")
    return address if label in ("", target, address) or target.endswith(f"//{label}") else f"{label} ({target})"


def quiet(text: str) -> str:
    """Return a text that calls nobody but those whom it names: `@channel` and the like become words.

    It does not get longer.
    """
    text = _LOUD.sub(lambda match: f"@{match[1]}", text)
    return _LOUD_GROUP.sub(lambda match: f"@{match[1] or 'group'}", text)


def as_plain_text(text: str) -> str:
    """Return a text such that Slack shows it as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

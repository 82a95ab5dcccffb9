"""What the API's requests and answers are made of: texts that can be stored, pages and cursors."""

import base64
import binascii
import math
from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from subclaw.api.v1.problems import Problem
from subclaw.core.errors import Invalid

PAGE_LIMIT = 100
_DEPTH_LIMIT = 16
T = TypeVar("T")

CAN_FAIL: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": words, "content": {"application/problem+json": {}}}
    for status, words in (
        (400, "The body is not what it says it is."),
        (401, "There is no good key."),
        (403, "The key is not for this."),
        (404, "There is no such thing, or the key is not for it."),
        (409, "What is there now does not allow it, or the same request is under way."),
        (413, "The body is too long."),
        (422, "The request is not as it should be; the words say where."),
        (429, "Too much at once. `Retry-After` says how long to wait."),
        (503, "Not now. `Retry-After` says when to try again."),
    )
}
"""The ways in which any call can fail, for the document."""


def storable(text: str) -> str:
    """Return a text that the database takes. Errors: `ValueError`."""
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it holds characters that are not text") from None
    return text


def storable_value(value: Any, depth: int = 0) -> Any:
    """Return a JSON value that the database takes. Errors: `ValueError`."""
    if depth > _DEPTH_LIMIT:
        raise ValueError("it is nested too deeply")
    match value:
        case str():
            storable(value)
        case float() if not math.isfinite(value):
            raise ValueError("it holds a number that is none")
        case dict():
            for name, one in value.items():
                storable(str(name))
                storable_value(one, depth + 1)
        case list():
            for one in value:
                storable_value(one, depth + 1)
    return value


Text = Annotated[str, AfterValidator(storable)]
Name = Annotated[str, AfterValidator(storable), Field(min_length=1, max_length=200)]
Bound = Annotated[dict[str, Any], AfterValidator(storable_value)]
AgentId = Annotated[str, Field(pattern="^[a-z][a-z0-9-]{0,38}[a-z0-9]$", max_length=40)]
Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="How many to return at most.")]
Cursor = Annotated[str, Query(max_length=200, description="Where to go on: `next` of the page before.")]


class Body(BaseModel):
    """What a request says; what is not known is refused."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    data: Sequence[T] = Field(description="What was found.")
    next: str | None = Field(description="The cursor of the next page; null if this is the last.")


def page_of(found: Sequence[Any], shown: Sequence[T], limit: int, last: str) -> Page[T]:
    """Return a page of what was `shown` of what was `found`; more may follow after `last` if it is full."""
    return Page(data=shown, next=cursor_after(last) if found and len(found) >= limit else None)


def cursor_after(last: str) -> str:
    """Return the cursor of the page after something."""
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def text_of(cursor: str) -> str:
    """Return after what a cursor goes on. Errors: `Invalid`."""
    try:
        return storable(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode())
    except (ValueError, binascii.Error):
        raise Invalid("That cursor is none of ours.") from None


def number_of(cursor: str, first: int) -> int:
    """Return before which number a cursor goes on; `first` without one. Errors: `Invalid`."""
    text = text_of(cursor)
    if not text:
        return first
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise Invalid("That cursor is none of ours.")
    return int(text)

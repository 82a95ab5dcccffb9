"""Errors as problem details (RFC 9457): what is wrong in words, the same form everywhere."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from subclaw.core.errors import Exhausted, SubclawError
from subclaw.statuses import status_of

RETRY_AFTER_S = 5
MEDIA_TYPE = "application/problem+json"
_WRONG_LIMIT = 20
log = logging.getLogger(__name__)


class Limited(Exhausted):
    """The caller has to wait `retry_after_s` first."""

    def __init__(self, public: str, *, retry_after_s: float) -> None:
        super().__init__(public)
        self.retry_after_s = retry_after_s


class Wrong(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(description="The place in the request, such as `body.text`.")
    what: str = Field(description="What is wrong there.")


class Problem(BaseModel):
    """An error, by RFC 9457."""

    type: str = Field(description="Always `about:blank`: the status says what kind of problem it is.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong, in words for whoever made the call.")
    errors: list[Wrong] = Field(default=[], description="Where the request is wrong, if it can be said.")


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, errors: list[dict[str, str]] | None = None
) -> Response:
    """Return a problem as a response."""
    content: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    content["detail"] = detail
    if errors:
        content["errors"] = errors
    # In ASCII: what is quoted of a request may hold what is no text.
    return Response(json.dumps(content).encode(), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def problem_of(error: SubclawError) -> Response:
    """Return one of our errors as a response."""
    status = status_of(error)
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        wait_s = error.retry_after_s if isinstance(error, Limited) else RETRY_AFTER_S
        headers["Retry-After"] = str(max(1, round(wait_s + 0.5)))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("api: %s: %s", type(error).__name__, error.internal)
    return problem(status, error.public, headers=headers)


def problem_of_request(error: RequestValidationError) -> Response:
    """Return what is wrong with a request as a response."""
    wrong = [{"where": ".".join(map(str, one["loc"]))[:200], "what": str(one["msg"])[:300]} for one in error.errors()][
        :_WRONG_LIMIT
    ]
    first = f"{wrong[0]['where']}: {wrong[0]['what']}" if wrong else "it is not what is wanted here"
    return problem(422, f"The request is not as it should be: {first}.", errors=wrong)


def problem_of_http(error: HTTPException) -> Response:
    """Return the framework's error as a response."""
    return problem(error.status_code, str(error.detail), headers=error.headers)

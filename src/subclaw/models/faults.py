"""What an attempt's failure means: who acts next, and whether and when another attempt may help.

Here the errors of pydantic-ai are translated, once. A provider's words may repeat the prompt, so only the status and
the kind of an error are kept.
"""

import traceback
from enum import StrEnum
from pathlib import Path

from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelQuotaExceededError,
    UnexpectedModelBehavior,
)

from subclaw.core.errors import Denied, Exhausted, Invalid, SubclawError, Unauthenticated, Unavailable
from subclaw.core.model import TooLong


class Again(StrEnum):
    """When the same request may be sent again: never, after a moment, or when a limit of the provider's allows."""

    NEVER = "never"
    SOON = "soon"
    LATER = "later"


class Fault(Exception):
    """An attempt failed. `error` is what the caller is told, `wait_s` what the provider asked to wait, if it did."""

    def __init__(self, error: SubclawError, again: Again, *, wait_s: float | None = None) -> None:
        super().__init__(error.internal)
        self.error = error
        self.again = again
        self.wait_s = wait_s


def fault_of(error: Exception) -> Fault:
    """Translate whatever an attempt raised."""
    match error:
        case ModelHTTPError():
            fault = _http_fault(error)
            return Fault(fault.error, Again.NEVER) if error.provider_retry_hint is False else fault
        case TimeoutError():
            return Fault(Unavailable("The model took too long.", internal="no answer in time"), Again.SOON)
        case ModelAPIError():
            return Fault(Unavailable("The model cannot be reached.", internal=type(error).__name__), Again.SOON)
        case Unavailable():
            return Fault(error, Again.SOON)
        case UnexpectedModelBehavior():
            return Fault(_unusable(type(error).__name__), Again.SOON)
        case _:  # an answer that is not of the protocol can make a provider's library raise anything
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            return Fault(_unusable(where), Again.SOON)


def _http_fault(error: ModelHTTPError) -> Fault:
    internal, wait_s = f"{error.model_name} answered {error.status_code}", error.retry_after
    if isinstance(error, ModelContextWindowExceededError):
        return Fault(TooLong("The conversation is too long for the model.", internal=internal), Again.NEVER)
    if isinstance(error, ModelQuotaExceededError):
        return Fault(Exhausted("The model's account is at its limit.", internal=f"{internal}: quota"), Again.NEVER)
    match error.status_code:
        case 403:
            return Fault(Denied("The model may not be used with this key.", internal=internal), Again.NEVER)
        case _ if error.status_code == 401 or isinstance(error, ModelAuthenticationError):
            return Fault(Unauthenticated("The model's key is not accepted.", internal=internal), Again.NEVER)
        case 413:
            return Fault(TooLong("The conversation is too long for the model.", internal=internal), Again.NEVER)
        case 429:
            busy = Exhausted("The model's account is at its limit.", internal=internal)
            return Fault(busy, Again.LATER, wait_s=wait_s)
        case status if status >= 500 or status in (408, 409):
            away = Unavailable("The model cannot be reached.", internal=internal)
            return Fault(away, Again.SOON, wait_s=wait_s)
        case _:
            return Fault(Invalid("The model did not accept the request.", internal=internal), Again.NEVER)


def _unusable(internal: str) -> Unavailable:
    return Unavailable("The model's answer could not be used.", internal=internal)

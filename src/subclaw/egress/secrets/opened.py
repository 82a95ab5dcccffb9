"""An opened secret: a value that hides from repr, str, logs and tracebacks."""

from functools import cached_property

from subclaw.egress.secrets.scrub import forms_of


class Opened:
    """The value of a secret, in the gateway's memory only. Ask for it by `reveal`, at the place that needs it."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    @cached_property
    def forms(self) -> tuple[bytes, ...]:
        """The shapes in which the value may come back in an answer, for scrubbing."""
        return forms_of(self._value)

    def __repr__(self) -> str:
        return "Opened(…)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("an opened secret does not leave the process")

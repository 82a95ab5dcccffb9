"""Errors that say who acts next.

Each has a public message, which the person or the model may read, and an internal one, which is for the log.
Neither ever holds a secret or a tenant's words. Adapters translate foreign exceptions into these once.
"""


class SubclawError(Exception):
    """Base of every error that subclaw raises on purpose."""

    def __init__(self, public: str, *, internal: str = "") -> None:
        super().__init__(internal or public)
        self.public = public
        self.internal = internal or public


class Invalid(SubclawError):
    """The caller sent something that cannot be right; sending it again will not help."""


class NotFound(SubclawError):
    """What the caller named is not there."""


class Conflict(SubclawError):
    """The caller's view is out of date, or the name is taken."""


class Denied(SubclawError):
    """Policy says no."""


class Unauthenticated(SubclawError):
    """The caller did not prove who it is."""


class Exhausted(SubclawError):
    """A limit or a budget is used up; wait, or raise it."""


class Unavailable(SubclawError):
    """Something that is needed is not there now; trying again may help."""


class Corrupt(SubclawError):
    """Stored data breaks its own rules; set it aside and tell the operator."""

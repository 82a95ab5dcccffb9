"""What goes wrong with a call."""


class ApiError(Exception):
    """The API refused a call: `status` says how (RFC 9110), and `detail` why, in words.

    `retry_after_s` is how long it asks to wait, 0 if it does not.
    """

    def __init__(self, status: int, detail: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s


class Unreachable(Exception):
    """The API was not reached, or broke off. Whether the call was performed is unknown; a repeated POST is safe."""

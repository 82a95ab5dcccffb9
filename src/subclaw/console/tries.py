"""Wrong keys: how many one client may try in a row.

A key of 256 bits is not guessed at any rate; the limit keeps the trying cheap. Each process counts for itself, and what
is lost with a process is nothing that anybody relies on.
"""

from collections import OrderedDict

LIMIT = 10
"""How many wrong keys a client may try at once."""

PAUSE_S = 6.0
"""How long it takes until it may try another one."""

CLIENTS_LIMIT = 1_000


class WrongTries:
    """Counts wrong keys of the clients that tried last. Times are seconds of any steady clock."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """Return how long a client has to wait before it may try; 0 if it may now."""
        return max(0.0, (self._spent(client, now_s) - (LIMIT - 1)) * PAUSE_S)

    def count(self, client: str, now_s: float) -> None:
        """Note that a client tried a wrong key."""
        self._clients[client] = (self._spent(client, now_s) + 1, now_s)
        self._clients.move_to_end(client)
        if len(self._clients) > CLIENTS_LIMIT:
            self._clients.popitem(last=False)

    def _spent(self, client: str, now_s: float) -> float:
        spent, at_s = self._clients.get(client, (0.0, now_s))
        return max(0.0, spent - (now_s - at_s) / PAUSE_S)

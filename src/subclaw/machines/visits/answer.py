"""An answer of a server in a machine, watched as it passes by: whether it is one, and where it may be ended."""

from subclaw.machines.visits.edges import ChunkEdges, Edges, FrameEdges, NoEdges
from subclaw.machines.visits.head import END, HEAD_LIMIT_BYTES, AnswerHead, answer_head

SWITCHING = 101


class Answer:
    """One answer. `status` is None until its head has come whole, and if what comes is none."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.has_begun = False
        self._head = bytearray()
        self._edges: Edges | None = None

    def feed(self, content: bytes) -> None:
        """Take the next bytes that were passed on."""
        self.has_begun = True
        if self._edges is not None:
            self._edges.feed(content)
            return
        self._head += content
        while self._edges is None and (end := self._head.find(END)) >= 0:
            head, rest = answer_head(bytes(self._head[:end])), bytes(self._head[end + len(END) :])
            self._head = bytearray(rest)
            # Whatever comes before the answer itself (100, 103) is passed over.
            if head is None or head.status == SWITCHING or head.status >= 200:
                self._begin(head, rest)
        if self._edges is None and len(self._head) > HEAD_LIMIT_BYTES:
            self._begin(None, b"")

    def farewell(self) -> bytes | None:
        """Return what ends the answer properly where it stands, None if nothing does."""
        return self._edges.farewell() if self._edges is not None else None

    def _begin(self, head: AnswerHead | None, rest: bytes) -> None:
        self.status = head.status if head else None
        self._edges = edges_of(head)
        self._edges.feed(rest)
        self._head.clear()


def edges_of(head: AnswerHead | None) -> Edges:
    """Return what follows an answer's content."""
    if head is None:
        return NoEdges()
    if head.status == SWITCHING and head.fields.get("upgrade", "").lower() == "websocket":
        return FrameEdges()
    is_stream = head.fields.get("content-type", "").lower().startswith("text/event-stream")
    is_chunked = head.fields.get("transfer-encoding", "").lower() == "chunked"
    return ChunkEdges() if is_stream and is_chunked else NoEdges()

"""Whatever is asked for: a call never leaves its upstream's base path, and heads have one reading."""

import posixpath
from urllib.parse import unquote

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

from subclaw.core.upstream import Allowed, Upstream
from subclaw.egress.control.upstream_calls import decide
from subclaw.egress.http.head import END, request_problem

UPSTREAMS = {
    "api": Upstream(name="api", base_url="https://api.test/base/path"),
    "bare": Upstream(name="bare", base_url="https://bare.test"),
}
_PLAIN_PIECES = st.sampled_from(
    ["/a", "/b.c", "/m:x", "~", "=1", "%C3%A9", "%61", "%20", "...", "a..b", "/a;b", ";", "@"]
)
_TRICKY = "/ // /. /.. %2e %2E %2f %5c %25 %00 %0a ? # \\ é %c0%ae % %4 .. . ..; https: api bare"
_TRICKY_PIECES = st.sampled_from([*_TRICKY.split(" "), " ", "\r\n", "\t", "\x7f"])
_TARGETS = st.one_of(
    st.text(max_size=60),
    st.tuples(
        st.sampled_from(["/api", "/bare"]),
        st.lists(_PLAIN_PIECES, max_size=4).map("".join),
        st.lists(_TRICKY_PIECES, max_size=2).map("".join),
        st.lists(_PLAIN_PIECES, max_size=4).map("".join),
        st.lists(_TRICKY_PIECES, max_size=1).map("".join),
    ).map("".join),
)


@given(target=_TARGETS)
@example(target="/api/..%2f..%2fadmin")
@example(target="/api/..;/admin")
@settings(max_examples=800, deadline=None)
def test_no_target_leaves_the_base_path(target: str) -> None:
    decision = decide(UPSTREAMS, "GET", target)
    if not isinstance(decision, Allowed):
        return
    base = {"api": "/base/path", "bare": ""}[decision.upstream.name]
    path, _, query = decision.url_path.partition("?")
    assert decision.url_path.isascii()
    assert not any(c <= " " or c == "\x7f" for c in decision.url_path)
    assert "#" not in decision.url_path
    assert query == target.partition("?")[2]
    for _ in range(3):  # however often the other side decodes
        assert path == base or path.startswith(base + "/")
        normal = posixpath.normpath(path)
        assert normal == path.rstrip("/") or path == "/"
        assert "\\" not in path
        path = unquote(path)


@given(target=_TARGETS)
@settings(max_examples=300, deadline=None)
def test_the_canonical_form_is_stable(target: str) -> None:
    first = decide(UPSTREAMS, "GET", target)
    if isinstance(first, Allowed) and first.upstream.name == "bare":
        again = decide(UPSTREAMS, "GET", "/bare" + first.url_path)
        assert isinstance(again, Allowed)
        assert again.url_path == first.url_path


_SOUND_LINES = st.sampled_from(
    [
        b"X: a b\r\n",
        b"X:\r\n",
        b"X:\t\r\n",
        b"Connection: close\r\n",
        b"TE: trailers\r\n",
        b"Accept:a\t;b \r\n",
        b"X-1: \r\n",
    ]
)
_FRAMING = st.sampled_from(
    [b"", b"Content-Length: 3\r\n", b"content-length:3 \r\n", b"Transfer-Encoding:\tChunked\r\n"]
)
_NAMES = st.sampled_from(
    b"Host;Content-Length;Transfer-Encoding;transfer-encoding ;TE;X; X;;Upgrade;Connection;X\0;X\xff".split(b";")
)
_VALUES = st.sampled_from(
    b"egress;3;3, 3;+3;chunked;\x0bchunked;Chunked;chunked, chunked;;a b;\t;\0;\xff;h2c;\x7f;\r;\n".split(b";")
)
_ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n ", b"\r\n\t"])
_TRICKY_LINES = st.tuples(_NAMES, st.sampled_from([b":", b": ", b" :"]), _VALUES, _ENDS).map(b"".join)
_STARTS = st.sampled_from(
    [b"GET /a HTTP/1.1\r\nHost: egress\r\n", b"POST /a HTTP/1.1\r\nhost:egress:80\r\n", b"GET /a HTTP/1.1\r\n"]
)
_HEADS = st.tuples(
    _STARTS,
    st.lists(_SOUND_LINES, max_size=3).map(b"".join),
    st.lists(_TRICKY_LINES, max_size=2).map(b"".join),
    _FRAMING,
    st.lists(_SOUND_LINES, max_size=2).map(b"".join),
).map(b"".join)


@given(start=st.one_of(_HEADS, st.binary(max_size=40)))
@settings(max_examples=800, deadline=None)
def test_a_sound_head_reads_the_same_elsewhere(start: bytes) -> None:
    raw = start + b"\r\n"
    if END not in raw:
        return
    head = raw[: raw.index(END) + len(END)]
    if request_problem(head, 100) is not None:
        return
    http = h11.Connection(h11.SERVER)
    http.receive_data(head)
    event = http.next_event()
    assert isinstance(event, h11.Request)
    plain = [line.split(b":", 1) for line in head.split(b"\r\n")[1:-2]]
    assert [(name.lower(), value) for name, value in event.headers] == [
        (name.lower(), value.strip().lower() if name.lower() == b"transfer-encoding" else value.strip())
        for name, value in plain
    ]
    names = [name.lower() for name, _ in plain]
    assert names.count(b"host") == 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1

"""Whatever is asked for: a call never leaves its upstream's base path, and heads have one reading."""

import posixpath
from urllib.parse import unquote

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

from subclaw.core.policy import Allowed, Upstream
from subclaw.egress.head import END, request_problem
from subclaw.egress.policy import decide

UPSTREAMS = {
    "api": Upstream(name="api", base_url="https://api.test/base/path"),
    "bare": Upstream(name="bare", base_url="https://bare.test"),
}
_PIECES = st.sampled_from(
    ["/", "//", ".", "..", "%2e", "%2E", "%2f", "%5c", "%25", "%00", "%0a", ";", "?", "#", "\\", "a", "é", "%C3%A9"]
    + ["%c0%ae", " ", ":", "@", "*", "\r\n", "\t", "\x7f", "%", "%4", "%61", "api", "bare", "https:", "&", "=", "~"]
)
_TARGETS = st.one_of(
    st.text(max_size=60),
    st.tuples(st.sampled_from(["/api", "/bare", "/api/", "", "//", "/a"]), st.lists(_PIECES, max_size=12)).map(
        lambda parts: parts[0] + "".join(parts[1])
    ),
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


_LINES = st.sampled_from(
    [b"Host: egress\r\n", b"Host: evil\r\n", b"Content-Length: 3\r\n", b"Content-Length: 3, 3\r\n", b"content-length:+3"]
    + [b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding:\x0bchunked\r\n", b"TE : x\r\n", b" folded\r\n", b"\r\n"]
    + [b"X: y\n", b"X: y\r", b"X: \x00\r\n", b"X: \xff\r\n", b"X: y\r\n", b"X:\t y\r\n", b": y\r\n", b"Upgrade: h2c\r\n"]
)
_STARTS = st.sampled_from([b"GET /a HTTP/1.1\r\n", b"POST /a HTTP/1.1\r\n", b"GET  /a HTTP/1.1\r\n", b"GET /a HTTP/1.0\r\n"])


@given(start=st.one_of(_STARTS, st.binary(max_size=20)), lines=st.lists(_LINES, max_size=6))
@settings(max_examples=800, deadline=None)
def test_a_sound_head_reads_the_same_elsewhere(start: bytes, lines: list[bytes]) -> None:
    raw = start + b"".join(lines) + END
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

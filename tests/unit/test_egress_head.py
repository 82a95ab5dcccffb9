"""Heads that two parsers could read differently."""

import pytest

from subclaw.egress.http.head import request_problem, response_problem, unfinished_problem

START = b"POST /api/v1 HTTP/1.1\r\nHost: egress\r\n"


@pytest.mark.parametrize(
    "rest",
    [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: Chunked\r\n", b"X-Empty:\r\n", b"X-Tab:\ta\tb \r\n"],
)
def test_sound_requests(rest: bytes) -> None:
    assert request_problem(START + rest + b"\r\n", 100) is None


def test_limits_and_reasons() -> None:
    assert request_problem(START + b"a: b\r\n" * 100 + b"\r\n", 100) == (431, "there are too many headers")
    assert request_problem(START + b" folded\r\n\r\n", 100) == (400, "a header is folded")
    assert request_problem(START + b"a: b\n\r\n", 100) == (400, "a line ends without a carriage return")
    assert request_problem(START + b"a : b\r\n\r\n", 100) == (400, "a header is malformed")
    assert unfinished_problem(START + b"a: b\n") is not None
    assert unfinished_problem(START + b"a: b\r") is None


@pytest.mark.parametrize(
    ("head", "sound"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", True),
        (b"HTTP/1.1 200\r\n\r\n", True),
        (b"HTTP/1.0 200 \xc3\xa4\r\nX: \xff\r\n\r\n", True),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", False),
        (b"HTTP/2 200\r\n\r\n", False),
        (b"HTTP/1.1 999 OK\r\n\r\n", False),
        (b"SSH-2.0-x\r\n\r\n", False),
    ],
)
def test_responses(head: bytes, sound: bool) -> None:
    assert (response_problem(head, 100) is None) is sound

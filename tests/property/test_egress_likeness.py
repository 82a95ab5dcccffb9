"""Heads that are alike: what is found out of one holds for all that differ from it in the length of the body alone."""

from hypothesis import given, settings
from hypothesis import strategies as st

from subclaw.egress.http.framing import EMPTY, framing_of
from subclaw.egress.http.head import likeness_of, read_headers, request_problem
from subclaw.egress.http.message import write_request
from subclaw.egress.http.request import Request

_DIGITS = st.sampled_from([b"0", b"5", b"05", b"17", b"123456789012345"])
_LINES = st.lists(
    st.sampled_from(
        [
            *(b"Host: a.test", b"host: b.test", b"X: y", b"X:", b"X: content-length: 5", b"Expect: 100-continue"),
            *(b"Content-Length: %b", b"content-length:%b", b"CONTENT-LENGTH:  %b", b"content-length: %b "),
            *(b"Content-Length:\t%b", b"content-length : %b", b"content-length: +%b", b"x-content-length: %b"),
            *(b"Transfer-Encoding: chunked", b"Connection: close", b" content-length: %b", b"content-length:"),
        ]
    ),
    min_size=1,
    max_size=5,
)


def _head(lines: list[bytes], digits: bytes) -> bytes:
    return b"\r\n".join([b"POST /a HTTP/1.1", *(line.replace(b"%b", digits) for line in lines)]) + b"\r\n\r\n"


def _request(head: bytes) -> Request:
    likeness, length = likeness_of(head)
    return Request(method=b"POST", target=b"/a", headers=read_headers(head), likeness=likeness, length=length)


@given(lines=_LINES, others=_LINES, first=_DIGITS, second=_DIGITS)
@settings(max_examples=2_000, deadline=None)
def test_heads_that_are_alike_mean_the_same(
    lines: list[bytes], others: list[bytes], first: bytes, second: bytes
) -> None:
    one, other = _head(lines, first), _head(others, second)
    (likeness, _), (same, digits) = likeness_of(one), likeness_of(other)
    if likeness != same or request_problem(one, 100) is not None:
        return
    assert request_problem(other, 100) is None
    assert _request(one).of_length(digits) == _request(other)
    assert _request(one).of_length(digits).framing == framing_of(read_headers(other), EMPTY)


@given(first=_DIGITS, second=_DIGITS, name=st.sampled_from([b"content-length", b"Content-Length"]))
def test_what_is_written_differs_in_the_length_alone(first: bytes, second: bytes, name: bytes) -> None:
    def written(digits: bytes) -> bytes:
        return write_request(b"POST", "/a", [(b"host", b"a.test"), (name, digits), (b"x", b"y")]).data

    head = write_request(b"POST", "/a", [(b"host", b"a.test"), (name, first), (b"x", b"y")]).of_length(second)
    assert head.data == written(second)
    assert head.framing.length_bytes == int(second)
    without = write_request(b"GET", "/a", [(b"host", b"a.test")])
    assert without.of_length(second) == without


def test_most_heads_have_a_likeness_without_the_length() -> None:
    heads = [_head([b"Host: a.test", b"Content-Length: %b", b"X: y"], digits) for digits in (b"1", b"22")]
    assert likeness_of(heads[0])[0] == likeness_of(heads[1])[0]
    assert [likeness_of(head)[1] for head in heads] == [b"1", b"22"]
    assert likeness_of(_head([b"Host: a.test", b"Content-Length: "], b""))[0][1] is None

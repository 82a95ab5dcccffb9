"""Requests by HTTP/2: what is taken for one passes h2's own checks too, and means the same once it goes by HTTP/1.1."""

import contextlib

from h2.exceptions import ProtocolError
from h2.utilities import HeaderValidationFlags, validate_headers
from hypothesis import example, given
from hypothesis import strategies as st

from subclaw.egress.http.head import read_headers, request_problem, sound_request
from subclaw.egress.http.headers import Headers
from subclaw.egress.http.http2_request import fields_problem, read_request
from subclaw.egress.http.message import write_head
from subclaw.egress.http.request import Request
from subclaw.egress.limits import Limits

LIMITS = Limits()
OF_REQUEST = HeaderValidationFlags(is_client=False, is_trailer=False, is_response_header=False, is_push_promise=False)
OF_TRAILERS = HeaderValidationFlags(is_client=False, is_trailer=True, is_response_header=False, is_push_promise=False)
SOUND: Headers = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"api.test"), (b":path", b"/a?b")]

_NAMES = st.one_of(
    st.sampled_from(
        b":method :scheme :authority :path :status :protocol : :x host te connection upgrade keep-alive "
        b"proxy-connection transfer-encoding content-length cookie x X-A x:y x_y".split()
    ),
    st.sampled_from([b"", b"x y", b"x ", b" x", b"x\0", b"x\r\nhost", b"\xe9", b"\x7f"]),
    st.binary(max_size=4),
)
_VALUES = st.one_of(
    st.sampled_from(b"GET POST get CONNECT TRACE https http / /a * api.test a@api.test api.test:443 trailers".split()),
    st.sampled_from(b"chunked close 0 4 +4 04 4,4 a=b".split()),
    st.sampled_from(
        [b"", b" ", b"a ", b" a", b"\ta", b"a\t", b"a b", b"a\r\nb: c", b"a\0", b"a\x7f", b"/ HTTP/1.1", b"\xe9"]
    ),
    st.binary(max_size=4),
)
_FIELDS = st.tuples(_NAMES, _VALUES)
_EDITS = st.lists(
    st.tuples(st.sampled_from(["insert", "replace", "cut", "swap"]), st.integers(0, 9), _FIELDS), max_size=4
)
_REQUESTS = _EDITS.map(
    lambda edits: _edited([*SOUND, (b"content-length", b"4"), (b"cookie", b"a"), (b"x", b"y")], edits)
)


def _edited(fields: Headers, edits: list[tuple[str, int, tuple[bytes, bytes]]]) -> Headers:
    for how, place, field in edits:
        at = place % (len(fields) + 1)
        if how == "insert":
            fields.insert(at, field)
        elif how == "swap":
            fields = fields[at:] + fields[:at]
        else:
            fields[at : at + 1] = [field] if how == "replace" else []
    return fields


def passes(fields: Headers, flags: HeaderValidationFlags) -> bool:
    """Say whether h2 takes these fields; an index that is out of range is a name that is empty."""
    with contextlib.suppress(ProtocolError, IndexError):
        return list(validate_headers(fields, flags)) == fields
    return False


@given(fields=_REQUESTS, ended=st.booleans())
@example(fields=[*SOUND, (b"x", b"a ")], ended=True)
@example(fields=[*SOUND, (b"content-length", b"4")], ended=True)
@example(fields=[*SOUND, (b":path", b"/admin")], ended=True)
def test_what_is_taken_for_a_request_is_one_for_others(fields: Headers, ended: bool) -> None:
    request = read_request(fields, LIMITS, ended=ended)
    if not isinstance(request, Request):
        assert request.status == 400
        return
    assert passes(fields, OF_REQUEST)
    head = write_head(b"%b %b HTTP/1.1" % (request.method, request.target), request.headers)
    assert sound_request(head)
    assert read_headers(head) == request.headers
    if head.isascii():
        assert request_problem(head, LIMITS.headers) in (None, (400, "this connection cannot be upgraded"))
    assert [value for name, value in request.headers if name == b"host"] == [
        dict(fields).get(b":authority", b"api.test")
    ]


@given(fields=st.lists(_FIELDS, max_size=4))
def test_trailers_that_are_taken_are_sound_for_h2(fields: Headers) -> None:
    assert fields_problem(fields) or passes(fields, OF_TRAILERS)


@given(
    values=st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1), max_size=5),
    ended=st.booleans(),
)
def test_an_ordinary_request_is_taken_as_it_is(values: list[str], ended: bool) -> None:
    others = [(b"x-%d" % number, value.encode()) for number, value in enumerate(values)]
    request = read_request([*SOUND, (b"te", b"trailers"), *others], LIMITS, ended=ended)
    assert isinstance(request, Request)
    assert (request.method, request.target) == (b"POST", b"/a?b")
    length: Headers = [] if ended else [(b"transfer-encoding", b"chunked")]
    assert request.headers == [(b"host", b"api.test"), (b"te", b"trailers"), *others, *length]

"""A secret's value goes where its binding says, and nowhere else, whatever a machine writes."""

import base64
from urllib.parse import quote, unquote_plus

from hypothesis import given, settings
from hypothesis import strategies as st

from subclaw.core.policy import Scope
from subclaw.core.secret import Binding, BoundSecret, Place
from subclaw.core.tenant import TenantId
from subclaw.egress.http.paths import read_target
from subclaw.egress.secrets.opened import Opened
from subclaw.egress.secrets.placeholders import Filled, Usable, bound_to, fill

VALUE, PLACEHOLDER = "sk-live-0123456789/+", "sk-live-PLACEHOLDER0"
BASIC = "Basic " + base64.b64encode(f"user:{PLACEHOLDER}".encode()).decode()

_WORDS = st.sampled_from([PLACEHOLDER, "Bearer ", "a", "b=", " ", ",", "key", BASIC, PLACEHOLDER[:-1]])
_TEXTS = st.lists(_WORDS, max_size=4).map(lambda words: "".join(words).strip())
_NAMES = st.sampled_from(["authorization", "Authorization", "x-api-key", "X-Api-Key", "cookie", "referer"])
_HEADERS = st.lists(st.tuples(_NAMES, _TEXTS), max_size=5)
_FIELDS = st.lists(st.tuples(st.sampled_from(["key", "KEY", "k%65y", "other"]), _TEXTS), max_size=4)
_PATHS = st.lists(st.sampled_from([PLACEHOLDER, "a", "bot", ".."]), max_size=3).map(
    lambda pieces: "/" + "/".join(pieces)
)


def usable(**binding: object) -> Usable:
    bound = Binding(**{"hosts": ("api.test",), **binding})  # type: ignore[arg-type]
    secret = BoundSecret(
        id=1,
        name="KEY",
        scope=Scope.TENANT,
        tenant_id=TenantId(1),
        placeholder=PLACEHOLDER,
        binding=bound,
        sealed=b"",
    )
    return Usable(secret=secret, value=Opened(VALUE), rule=bound.rules(Scope.TENANT)[0])


def filled(target: str, headers: list[tuple[str, str]], one: Usable, method: str = "GET") -> Filled:
    path = read_target(target.encode())
    assert path is not None
    return fill(method, path, target, [(name.encode(), value.encode()) for name, value in headers], [one])


def target_of(path: str, fields: list[tuple[str, str]]) -> str:
    return path + "?" + "&".join(f"{name}={quote(text)}" for name, text in fields)


@given(path=_PATHS, fields=_FIELDS, headers=_HEADERS)
@settings(max_examples=300)
def test_in_a_header_only(path: str, fields: list[tuple[str, str]], headers: list[tuple[str, str]]) -> None:
    target = target_of(path, fields)
    found = filled(target, headers, usable(place=Place.HEADER, name="x-api-key"))
    assert found.target == target
    for (name, before), (kept, after) in zip(headers, found.headers, strict=True):
        assert kept == name.encode()
        if name.lower() != "x-api-key":
            assert after == before.encode()
        elif not before.lower().startswith("basic "):
            assert after.decode() == before.replace(PLACEHOLDER, VALUE)
    as_sent = [(name.encode(), value.encode()) for name, value in headers]
    assert bool(found.used) == (found.headers != as_sent)


@given(path=_PATHS, fields=_FIELDS, headers=_HEADERS)
@settings(max_examples=300)
def test_in_basic_authentication_only(path: str, fields: list[tuple[str, str]], headers: list[tuple[str, str]]) -> None:
    target = target_of(path, fields)
    found = filled(target, headers, usable(place=Place.BASIC, name="user"))
    assert found.target == target
    for (name, before), (_, after) in zip(headers, found.headers, strict=True):
        if name.lower() != "authorization" or before.strip() != BASIC:
            assert after == before.encode()
        else:
            assert base64.b64decode(after[6:]) == f"user:{VALUE}".encode()


@given(path=_PATHS, fields=_FIELDS, headers=_HEADERS)
@settings(max_examples=300)
def test_in_a_query_only(path: str, fields: list[tuple[str, str]], headers: list[tuple[str, str]]) -> None:
    found = filled(target_of(path, fields), headers, usable(place=Place.QUERY, name="key"))
    assert found.headers == [(name.encode(), value.encode()) for name, value in headers]
    wanted = [(name, text.replace(PLACEHOLDER, VALUE) if name != "other" else text) for name, text in fields]
    said = [field.split("=", 1) for field in found.target.removeprefix(path + "?").split("&")] if fields else []
    assert [(name, quote(text, safe="")) for name, text in wanted] == [
        (name, quote(unquote_plus(text), safe="")) for name, text in said
    ]


@given(path=_PATHS, fields=_FIELDS, headers=_HEADERS)
@settings(max_examples=300)
def test_in_a_path_only(path: str, fields: list[tuple[str, str]], headers: list[tuple[str, str]]) -> None:
    found = filled(target_of(path, fields), headers, usable(place=Place.PATH, name=""))
    assert found.headers == [(name.encode(), value.encode()) for name, value in headers]
    assert found.target == target_of(path.replace(PLACEHOLDER, quote(VALUE, safe=":")), fields)


@given(target=_PATHS, headers=_HEADERS, method=st.sampled_from(["GET", "POST", "DELETE"]))
def test_not_for_other_methods_and_paths(target: str, headers: list[tuple[str, str]], method: str) -> None:
    for place, name in ((Place.HEADER, "authorization"), (Place.PATH, ""), (Place.BASIC, "")):
        for template in ("", "{}") if place is not Place.PATH else ("",):
            one = usable(place=place, name=name, template=template, methods=("PUT",))
            assert not filled(target, headers, one, method).used
            one = usable(place=place, name=name, template=template, paths=("/elsewhere/*",))
            assert not filled(target, headers, one, method).used


@given(
    host=st.sampled_from(["api.test", "xapi.test", "api.test.evil", "deep.api.test", "test"]),
    port=st.sampled_from([443, 80, 8443]),
    tls=st.booleans(),
    plain=st.booleans(),
)
def test_bound_to_its_hosts_and_ports_alone(host: str, port: int, tls: bool, plain: bool) -> None:
    secret = usable(ports=(443, 8443), plain=plain).secret
    assert bound_to(secret, host, port, tls=tls) == (host == "api.test" and port != 80 and (tls or plain))

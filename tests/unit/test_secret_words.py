"""What secrets may be called, be bound to and hold, told in words that never quote a value."""

from dataclasses import replace
from typing import Any

import pytest

from subclaw.core.errors import Invalid
from subclaw.core.secret import Binding, Place
from subclaw.core.secret_words import check_secret_name, check_value, checked_binding

BINDING = Binding(hosts=("api.test",))


@pytest.mark.parametrize(
    "name", ["GITHUB_TOKEN", "_X", "A1", "NODE_AUTH_TOKEN", "NPM_TOKEN", "USER_KEY", "PIPEDRIVE_KEY"]
)
def test_names_that_secrets_have(name: str) -> None:
    check_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "github_token", "1A", "A-B", "A B", "A=B", "A" * 65, "É"),
        *("PATH", "HOME", "_", "PS1", "LD_PRELOAD", "LC_ALL", "SSL_CERT_FILE", "HTTPS_PROXY", "PYTHONPATH", "BASH_ENV"),
        *("NODE_OPTIONS", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "PIP_INDEX_URL", "SUBCLAW_X", "RUBYOPT", "PERL5LIB"),
    ],
)
def test_names_that_secrets_do_not_have(name: str) -> None:
    with pytest.raises(Invalid):
        check_secret_name(name)


def test_a_binding_is_brought_into_one_form() -> None:
    given = Binding(hosts=("API.test.", "api.test", "*.Up.Test"), methods=("get",), name="X-Api-Key")
    assert checked_binding(given) == Binding(hosts=("api.test", "*.up.test"), methods=("GET",), name="x-api-key")
    basic = Binding(hosts=("a.test",), place=Place.BASIC, name="Me", template="{}")
    assert checked_binding(basic) == basic


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"hosts": ()}, "bound to a host or to several"),
        ({"hosts": ("*.test",)}, "A full hostname is needed"),
        ({"ports": ()}, "from 1 to 32 ports"),
        ({"name": "host"}, "'host' is no header that a secret can go into"),
        ({"name": "a b"}, "'a b' is no header"),
        ({"name": ""}, "'' is no header"),
        ({"template": "Bearer"}, "is said once, by {}"),
        ({"template": "{} {}"}, "is said once, by {}"),
        ({"template": "{}\r\nx: y"}, "letters, digits and signs"),
        ({"place": Place.QUERY, "name": "a&b"}, "no name of a parameter"),
        ({"place": Place.QUERY, "name": "key", "template": "x{}"}, "Only what goes into a header"),
        ({"place": Place.BASIC, "name": "a:b"}, "has no colon"),
        ({"place": Place.PATH}, "in the path has no name"),
    ],
)
def test_bindings_that_cannot_be(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid) as caught:
        checked_binding(replace(BINDING, **fields))
    assert words in caught.value.public


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((Place.HEADER, value) for value in ("", " hunter2", "hunter2\n", "hünter2", "hunter2\x7f")),
        *((place, "hunter2\nmore") for place in (Place.BASIC, Place.QUERY, Place.PATH)),
    ],
)
def test_values_that_cannot_be_where_they_belong(place: Place, value: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_value(replace(BINDING, place=place), value)
    assert "nter2" not in f"{caught.value.public}{caught.value.internal}"


def test_a_password_may_have_any_letters() -> None:
    check_value(replace(BINDING, place=Place.BASIC), "pässwörd with spaces")
    check_value(BINDING, "sk-a b")

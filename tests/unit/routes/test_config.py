"""Caddy's configuration as values: what may get into it, and in which order it stands."""

from pathlib import Path

import pytest

from subclaw.app.addresses import caddy_settings
from subclaw.config import load_settings
from subclaw.core.errors import Denied, Invalid, Unavailable
from subclaw.routes.config import FRONT, CaddySettings, caddy_config
from subclaw.routes.hostname import parse_hostname, site_hostname, site_url
from subclaw.routes.process import explain_end


def settings(**changes: object) -> CaddySettings:
    values: dict[str, object] = {
        "domain": "localhost",
        "sites_domain": "localhost",
        "port": 8080,
        "control_socket": Path("/run/control.sock"),
        "state": Path("/state"),
        "sites": Path("/sites"),
        "doors": Path("/doors"),
    }
    return CaddySettings(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["ann.localhost", "a-1.example.com", "ANN.localhost", "x" * 63 + ".localhost"])
def test_hostnames_are_taken_in_lower_case(text: str) -> None:
    assert parse_hostname(text) == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "a..b", "-a.b", "a-.b", "*.localhost", "{env.HOME}.localhost", "a b", "a/b", "a:80", "a.", "ä.local",
        "x" * 64 + ".localhost", "a." * 130 + "b", "a\n.localhost", "a_b.localhost", "[::1]", "a\0b",
    ],
)  # fmt: skip
def test_what_is_no_hostname_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_hostname(text)


def test_a_site_is_one_label_under_the_domain() -> None:
    assert site_hostname("ann", "localhost") == "ann.localhost"
    with pytest.raises(Invalid):
        site_hostname("ann.bob", "localhost")


def test_a_usual_port_is_left_out_of_the_address() -> None:
    assert site_url("ann.localhost", port=8080) == "http://ann.localhost:8080/"
    assert site_url("ann.localhost", port=80) == "http://ann.localhost/"
    assert site_url("ann.example", port=443, scheme="https") == "https://ann.example/"


def test_the_admin_api_is_off_and_nothing_persists() -> None:
    assert caddy_config(settings())["admin"] == {"disabled": True, "config": {"persist": False}}


@pytest.mark.parametrize(
    ("given", "is_strict"),
    [
        ({}, True),
        ({"SUBCLAW_ACME_CA": "/etc/own.pem"}, False),
        ({"SUBCLAW_HTTPS_PORT": "8443"}, False),
        ({"SUBCLAW_HTTPS": "off"}, None),
    ],
)
def test_browsers_are_held_to_tls_where_they_believe_and_find_it(given: dict[str, str], is_strict: bool | None) -> None:
    public = {"SUBCLAW_DOMAIN": "agents.example", "SUBCLAW_SITES_DOMAIN": "sites.example"}
    https = caddy_settings(load_settings(public | given), 8080).https
    assert (https and https.is_strict) is is_strict


def test_the_listening_addresses_are_the_given_ones() -> None:
    def listen(*addresses: str) -> list[str]:
        server = caddy_config(settings(listen=addresses))["apps"]["http"]["servers"][FRONT]
        return list(server["listen"])

    assert listen("127.0.0.1", "::1") == ["127.0.0.1:8080", "[::1]:8080"]
    assert listen() == [":8080"]


@pytest.mark.parametrize("path", ["/srv/{env.HOME}", "relative", "/a\\b", "/a\0b"])
@pytest.mark.parametrize("name", ["sites", "doors", "state", "control_socket"])
def test_paths_that_caddy_would_read_as_something_else_are_refused(path: str, name: str) -> None:
    with pytest.raises(Invalid):
        caddy_config(settings(**{name: Path(path)}))


def test_a_socket_path_that_the_kernel_cannot_take_is_refused_in_words() -> None:
    with pytest.raises(Invalid, match="SUBCLAW_HOME"):
        caddy_config(settings(control_socket=Path("/" + "x" * 108)))


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(Invalid):
        caddy_config(settings(port=port))


def test_last_words_become_words_for_the_operator() -> None:
    in_use = explain_end("Error: … listen tcp 127.0.0.1:8080: bind: address already in use\n", settings())
    assert isinstance(in_use, Unavailable)
    assert in_use.public == "Port 8080 is in use by another program: set SUBCLAW_PORT to a free one."
    denied = explain_end("listening on :80: listen tcp :80: bind: permission denied", settings(port=80))
    assert isinstance(denied, Denied)
    assert "SUBCLAW_PORT" in denied.public
    assert "it wrote nothing" in explain_end("\n", settings()).public

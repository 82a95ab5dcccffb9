"""Caddy's configuration as values: what may get into it, and in which order it stands."""

from pathlib import Path

import pytest

from subclaw.core.errors import Denied, Invalid, Unavailable
from subclaw.core.route import FolderRoute, SocketRoute
from subclaw.routes.config import SERVER, CaddySettings, base_config, config_with, route_config
from subclaw.routes.hostname import parse_hostname, site_hostname, site_url
from subclaw.routes.process import explain_end


def settings(**changes: object) -> CaddySettings:
    values: dict[str, object] = {
        "domain": "localhost",
        "port": 8080,
        "control_socket": Path("/run/control.sock"),
        "admin_socket": Path("/run/admin/caddy.sock"),
        "state": Path("/state"),
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


def test_the_control_plane_comes_first_and_the_wildcard_last() -> None:
    sites = [route_config(FolderRoute(hostname=f"{name}.localhost", folder=Path("/srv"))) for name in ("ann", "bob")]
    config = config_with(settings(), sites, epoch="e")
    routes = config["apps"]["http"]["servers"][SERVER]["routes"]
    ids = [route.get("@id") for route in routes]
    assert ids == [None, "control", "reserved", "site:ann.localhost", "site:bob.localhost", "wildcard"]


def test_the_admin_api_is_on_a_socket_alone_and_nothing_persists() -> None:
    admin = base_config(settings())["admin"]
    assert admin["listen"] == "unix//run/admin/caddy.sock"
    assert admin["config"] == {"persist": False}


def test_the_listening_addresses_are_the_given_ones() -> None:
    def listen(*addresses: str) -> list[str]:
        server = base_config(settings(listen=addresses))["apps"]["http"]["servers"][SERVER]
        return list(server["listen"])

    assert listen("127.0.0.1", "::1") == ["127.0.0.1:8080", "[::1]:8080"]
    assert listen() == [":8080"]


@pytest.mark.parametrize("path", ["/srv/{env.HOME}", "relative", "/a\\b", "/a\0b"])
def test_paths_that_caddy_would_read_as_something_else_are_refused(path: str) -> None:
    with pytest.raises(Invalid):
        route_config(FolderRoute(hostname="ann.localhost", folder=Path(path)))
    with pytest.raises(Invalid):
        route_config(SocketRoute(hostname="ann.localhost", address=f"unix/{path}"))


def test_a_socket_path_that_the_kernel_cannot_take_is_refused_in_words() -> None:
    with pytest.raises(Invalid, match="SUBCLAW_HOME"):
        route_config(SocketRoute(hostname="ann.localhost", address="unix//" + "x" * 108))


@pytest.mark.parametrize("address", ["", "unix", "/run/1.sock", "unixgram//run/1.sock", "127.0.0.1:80", "tcp/host:80"])
def test_an_address_that_is_no_sockets_is_refused(address: str) -> None:
    with pytest.raises(Invalid):
        route_config(SocketRoute(hostname="ann.localhost", address=address))


def test_an_address_of_a_socket_is_dialled_as_it_is() -> None:
    config = route_config(SocketRoute(hostname="ann.localhost", address="unix//run/1-80.sock"))
    assert config["handle"][-1]["upstreams"] == [{"dial": "unix//run/1-80.sock"}]


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(Invalid):
        base_config(settings(port=port))


def test_last_words_become_words_for_the_operator() -> None:
    in_use = explain_end("Error: … listen tcp 127.0.0.1:8080: bind: address already in use\n", settings())
    assert isinstance(in_use, Unavailable)
    assert in_use.public == "Port 8080 is in use by another program: set SUBCLAW_PORT to a free one."
    denied = explain_end("listening on :80: listen tcp :80: bind: permission denied", settings(port=80))
    assert isinstance(denied, Denied)
    assert "SUBCLAW_PORT" in denied.public
    assert "it wrote nothing" in explain_end("\n", settings()).public

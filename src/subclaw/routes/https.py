"""Certificates, as Caddy has them: by ACME (RFC 8555), when somebody first visits a hostname.

What Caddy 2.6 does: before it asks an authority it asks us (`ask`), by HTTP over TCP and at nothing but a URL, so the
question goes through a server of its own on loopback to our socket. A certificate that it has is used unasked.
Challenges come to the ports that serve anyway.
"""

from dataclasses import dataclass
from pathlib import Path

from subclaw.routes.answers import Json, answer, plain_path
from subclaw.routes.pages import NOTHING_HERE

CERTIFICATE_PATH = "/-/certificate"
"""Where Caddy asks whether it may have a certificate, with `?domain=`."""

USUAL_PORT = 443
STRICT_S = 30 * 86_400
"""For how long browsers come by TLS alone. A tenant's own hostname may move to a host without it after that."""


@dataclass(frozen=True, kw_only=True)
class CaddyHttps:
    """How Caddy has certificates, and the ports on which it serves with them.

    `directory` is the ACME directory's address, `authority` a file with the root that its own certificate comes from,
    if the system does not know that; `email` is told to the authority. Caddy asks `socket` for which hostnames it may.
    If it `is_strict`, browsers are told to come by TLS alone from then on.
    """

    directory: str
    socket: Path
    authority: Path | None = None
    email: str = ""
    is_strict: bool = False
    port: int = USUAL_PORT
    http_port: int = 80


def tls_app(https: CaddyHttps, *, ask_port: int) -> Json:
    """Return how Caddy has certificates; it asks on a port of loopback whether it may."""
    issuer: Json = {
        "module": "acme",
        "ca": https.directory,
        "challenges": {"http": {"alternate_port": https.http_port}, "tls-alpn": {"alternate_port": https.port}},
    }
    if https.email:
        issuer["email"] = https.email
    if https.authority is not None:
        issuer["trusted_roots_pem_files"] = [str(plain_path(https.authority))]
    ask = f"http://127.0.0.1:{ask_port}{CERTIFICATE_PATH}"
    return {"automation": {"policies": [{"on_demand": True, "issuers": [issuer]}], "on_demand": {"ask": ask}}}


def strict_route() -> Json:
    """Return the route that has browsers come by TLS alone (RFC 6797), and not to the hostnames below.

    It is set at once, so that errors have it, and again at the end, in the place of what a server in a machine says.
    """
    header = {"set": {"Strict-Transport-Security": [f"max-age={STRICT_S}"]}}
    return {"handle": [{"handler": "headers", "response": header | {"deferred": late}} for late in (False, True)]}


def redirecting_routes(port: int) -> list[Json]:
    """Return the routes of plain HTTP: every hostname leads to its own address with TLS."""
    where = "https://{http.request.host}" + ("" if port == USUAL_PORT else f":{port}") + "{http.request.uri}"
    headers = {"Location": [where], "Connection": ["close"]}
    hostname = {"header_regexp": {"Host": {"pattern": r"^[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.?(?::[0-9]+)?$"}}}
    nameless = {"handler": "headers", "response": {"delete": ["Server"]}}
    return [
        {"handle": [nameless]},
        {"match": [hostname], "handle": [{"handler": "static_response", "status_code": 308, "headers": headers}]},
        {"handle": [answer(404, NOTHING_HERE)]},
    ]

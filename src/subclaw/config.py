"""Configuration: environment variables in, one frozen value out. Nothing else reads the environment."""

import ipaddress
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from subclaw.channels import registry
from subclaw.channels.kind import ChannelSetUp
from subclaw.core.errors import Invalid
from subclaw.core.mail_relay import MailRelay
from subclaw.core.upstream import Injection, Upstream, read_base_url
from subclaw.core.waking import VisitLimits
from subclaw.models.choice import DEFAULT_MODELS, DEMO, ModelChoice, parse_choice

DEFAULT_HOME = Path("/var/lib/subclaw")
DEFAULT_CACHE = Path("/var/cache/subclaw")
DEFAULT_PORT = 8080
LOCALHOST = "localhost"
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
HOME_LIMIT_CHARACTERS = 60
"""Longest path of the state folder: unix sockets lie below it, and theirs may have 107 characters."""

POOL_LIMIT = 64
"""The most machines that may be kept waiting for a tenant."""

EGRESS_PROCESSES_LIMIT = 64
"""The most processes of the egress gateway; more than there are processors are of no use."""

WAKES_LIMIT, VISITS_LIMIT = 3_600, 100_000
"""What limits of visits may be set to: wakes in an hour, and requests."""

MODEL_KEY_VARIABLES = {
    "OPENAI_API_KEY": "openai.key",
    "ANTHROPIC_API_KEY": "anthropic.key",
    "GOOGLE_API_KEY": "google.key",
}
KEY_VARIABLES = {**MODEL_KEY_VARIABLES, **registry.SECRETS}
"""Environment variables that hold secrets, and the names under which they are sealed."""

_SECRETS = "SUBCLAW_SECRETS"
"""How a child process is told which secrets there are, by name; the values are in the gateway's keeping by then."""

_PLAIN_VARIABLES = (
    "SUBCLAW_HOME",
    "SUBCLAW_CACHE",
    "SUBCLAW_DOMAIN",
    "SUBCLAW_SITES_DOMAIN",
    "SUBCLAW_HTTPS",
    "SUBCLAW_HTTPS_PORT",
    "SUBCLAW_HTTP_PORT",
    "SUBCLAW_ACME_DIRECTORY",
    "SUBCLAW_ACME_CA",
    "SUBCLAW_ACME_EMAIL",
    "SUBCLAW_PORT",
    "SUBCLAW_LISTEN",
    "SUBCLAW_PUBLIC_URL",
    "SUBCLAW_MODEL",
    "SUBCLAW_POOL",
    "SUBCLAW_WAKES_PER_HOUR",
    "SUBCLAW_VISITS_PER_SECOND",
    "SUBCLAW_VISITS_AT_ONCE",
    "SUBCLAW_EGRESS_PROCESSES",
    "SUBCLAW_AUTHORITIES",
    "SUBCLAW_NAME_SERVERS",
    "DATABASE_URL",
    "OPENAI_BASE_URL",
    "ANTHROPIC_BASE_URL",
    "GOOGLE_BASE_URL",
    *registry.VARIABLES,
)


@dataclass(frozen=True, kw_only=True)
class Https:
    """How the router has certificates: from which ACME directory, and in whose name.

    `authority` is a file with the root that the directory's own certificate comes from; None where the system knows it.
    """

    port: int
    http_port: int
    directory: str
    authority: Path | None
    email: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the operator decided.

    `domain` is the control plane's hostname; tenants' sites lie below `sites_domain`, which is apart from it. Without
    `https` both are served by plain HTTP, at `port`; with it, that is a port of this host alone.
    `port` is None until one is chosen; `pool_size` machines are kept waiting, and visitors wake and ask
    them within `visit_limits`. `authorities` is a file of certificate
    authorities that the gateway believes beside the system's, `name_servers` (`10.0.0.53:53`) are asked instead of the
    host's. `environment` is for child processes, keyless.
    """

    home: Path
    cache: Path
    domain: str
    sites_domain: str
    https: Https | None
    listen: str
    port: int | None
    public_url: str | None
    database_url: str | None
    pool_size: int
    visit_limits: VisitLimits
    egress_processes: int
    authorities: Path | None
    name_servers: tuple[str, ...]
    model: ModelChoice
    channels: tuple[ChannelSetUp, ...]
    upstreams: tuple[Upstream, ...]
    relays: tuple[MailRelay, ...]
    environment: Mapping[str, str]


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings. Errors: `Invalid`, which names the variable and says what it must be."""
    given = {name: environ[name] for name in _PLAIN_VARIABLES if environ.get(name)}
    model = choose_model(environ)
    secrets = {name for variable, name in KEY_VARIABLES.items() if environ.get(variable)}
    secrets |= set(filter(None, environ.get(_SECRETS, "").split(",")))
    channels = registry.read_channels(given)
    domain = _domain("SUBCLAW_DOMAIN", given.get("SUBCLAW_DOMAIN", LOCALHOST))
    return Settings(
        home=_home(given),
        cache=Path(given.get("SUBCLAW_CACHE", DEFAULT_CACHE)).absolute(),
        domain=domain,
        sites_domain=_sites_domain(domain, given.get("SUBCLAW_SITES_DOMAIN", "")),
        https=_https(domain, given),
        listen=_listen(given.get("SUBCLAW_LISTEN", "127.0.0.1")),
        port=_port("SUBCLAW_PORT", given["SUBCLAW_PORT"]) if "SUBCLAW_PORT" in given else None,
        public_url=read_base_url(given, "SUBCLAW_PUBLIC_URL", ""),
        database_url=_database_url(given["DATABASE_URL"]) if "DATABASE_URL" in given else None,
        pool_size=_number("SUBCLAW_POOL", given.get("SUBCLAW_POOL", "0"), 0, POOL_LIMIT),
        visit_limits=_visit_limits(given),
        egress_processes=_number(
            "SUBCLAW_EGRESS_PROCESSES",
            given.get("SUBCLAW_EGRESS_PROCESSES", str(min(os.cpu_count() or 1, EGRESS_PROCESSES_LIMIT))),
            1,
            EGRESS_PROCESSES_LIMIT,
        ),
        authorities=Path(given["SUBCLAW_AUTHORITIES"]).absolute() if "SUBCLAW_AUTHORITIES" in given else None,
        name_servers=_name_servers(given.get("SUBCLAW_NAME_SERVERS", "")),
        model=model,
        channels=channels,
        upstreams=(*_models(given, secrets), *(upstream for one in channels for upstream in one.upstreams)),
        relays=tuple(relay for one in channels for relay in one.relays),
        environment=given | {"SUBCLAW_MODEL": str(model), _SECRETS: ",".join(sorted(secrets))},
    )


def choose_model(environ: Mapping[str, str]) -> ModelChoice:
    """Return the model that `SUBCLAW_MODEL` names, else that of the first provider with a key, else the demo."""
    if named := environ.get("SUBCLAW_MODEL"):
        return parse_choice(named)
    keyed = (name for name in DEFAULT_MODELS if environ.get(f"{name.upper()}_API_KEY"))
    return next((parse_choice(name) for name in keyed), DEMO)


def process_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a child process: the settings, and what a program needs to run; no secret."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1", **settings.environment}


def _home(given: Mapping[str, str]) -> Path:
    home = Path(given.get("SUBCLAW_HOME", DEFAULT_HOME)).absolute()
    if len(str(home)) > HOME_LIMIT_CHARACTERS:
        raise Invalid(
            f"SUBCLAW_HOME is {home}, and unix sockets below it would have names that are too long: "
            f"choose a folder of at most {HOME_LIMIT_CHARACTERS} characters."
        )
    if any(character in "{}\\" for character in str(home)):
        raise Invalid(f"SUBCLAW_HOME is {home}; Caddy takes no path with braces or backslashes in it.")
    return home


def _listen(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise Invalid(f"SUBCLAW_LISTEN is {text!r}; it must be an IP address, such as 127.0.0.1 or 0.0.0.0.") from None


def _database_url(text: str) -> str:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(text)
    except ProgrammingError:  # its words quote what was given, and that may hold a password
        raise Invalid("DATABASE_URL must be of the form postgresql://USER:PASSWORD@HOST/NAME.") from None
    return text


def _port(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 65535:
        raise Invalid(f"{name} is {text!r}; it must be a number from 1 to 65535.")
    return int(text)


def _number(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= most:
        raise Invalid(f"{name} is {text!r}; it must be a number from {least} to {most}.")
    return int(text)


def _visit_limits(given: Mapping[str, str]) -> VisitLimits:
    usual = VisitLimits()

    def limit(name: str, otherwise: int, most: int) -> int:
        return _number(name, given.get(name, str(otherwise)), 1, most)

    return VisitLimits(
        wakes_per_hour=limit("SUBCLAW_WAKES_PER_HOUR", usual.wakes_per_hour, WAKES_LIMIT),
        requests_per_s=limit("SUBCLAW_VISITS_PER_SECOND", usual.requests_per_s, VISITS_LIMIT),
        burst=limit("SUBCLAW_VISITS_AT_ONCE", usual.burst, VISITS_LIMIT),
    )


def _name_servers(text: str) -> tuple[str, ...]:
    servers = tuple(server.strip() for server in text.split(",") if server.strip())
    for server in servers:
        if not re.fullmatch(r"[0-9.]{7,15}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?", server):
            raise Invalid(f"SUBCLAW_NAME_SERVERS has {server!r}; it must be addresses such as 10.0.0.53:53.")
    return servers


def _domain(name: str, text: str) -> str:
    label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    if not re.fullmatch(rf"{label}(\.{label})*", text) or len(text) > 190:
        raise Invalid(f"{name} is {text!r}; it must be a hostname in small letters, such as example.org.")
    return text


def _sites_domain(domain: str, text: str) -> str:
    """Return the domain of the sites: one that shares no cookies with the control plane.

    A page may set cookies for every domain above its own but public suffixes, and browsers take `localhost` for one.
    """
    if not text and domain == LOCALHOST:
        return domain
    if not text:
        raise Invalid(
            f"SUBCLAW_DOMAIN is {domain}, so SUBCLAW_SITES_DOMAIN must be set, too: to a domain of its own for the "
            "tenants' sites, such as example-sites.net. A page of a tenant's must not share cookies with your console."
        )
    sites = _domain("SUBCLAW_SITES_DOMAIN", text)
    if sites != LOCALHOST and (sites == domain or sites.endswith(f".{domain}") or domain.endswith(f".{sites}")):
        raise Invalid(
            f"SUBCLAW_SITES_DOMAIN is {sites} and SUBCLAW_DOMAIN is {domain}: one lies in the other, so a tenant's "
            "page could set cookies for your console. Use a domain of its own for the sites."
        )
    return sites


def _https(domain: str, given: Mapping[str, str]) -> Https | None:
    # With an address of its own for the outside, something stands in front that has certificates already.
    is_public = domain.rpartition(".")[2] != LOCALHOST and "SUBCLAW_PUBLIC_URL" not in given
    wanted = given.get("SUBCLAW_HTTPS", "on" if is_public else "off")
    if wanted not in ("on", "off"):
        raise Invalid(f"SUBCLAW_HTTPS is {wanted!r}; it must be on or off.")
    if wanted == "off":
        return None
    return Https(
        port=_port("SUBCLAW_HTTPS_PORT", given.get("SUBCLAW_HTTPS_PORT", "443")),
        http_port=_port("SUBCLAW_HTTP_PORT", given.get("SUBCLAW_HTTP_PORT", "80")),
        directory=read_base_url(given, "SUBCLAW_ACME_DIRECTORY", "") or LETS_ENCRYPT,
        authority=Path(given["SUBCLAW_ACME_CA"]).absolute() if "SUBCLAW_ACME_CA" in given else None,
        email=given.get("SUBCLAW_ACME_EMAIL", ""),
    )


def _models(given: Mapping[str, str], secrets: Collection[str]) -> tuple[Upstream, ...]:
    """Return the providers of models, and which secret the gateway puts in: a local model may need none."""

    def known(name: str) -> str | None:
        return name if name in secrets else None

    return (
        Upstream(
            name="openai",
            base_url=read_base_url(given, "OPENAI_BASE_URL", "https://api.openai.com/v1"),
            secret=known("openai.key"),
        ),
        Upstream(
            name="anthropic",
            base_url=read_base_url(given, "ANTHROPIC_BASE_URL", "https://api.anthropic.com"),
            injection=Injection.HEADER,
            header="x-api-key",
            secret=known("anthropic.key"),
        ),
        Upstream(
            name="google",
            base_url=read_base_url(given, "GOOGLE_BASE_URL", "https://generativelanguage.googleapis.com"),
            injection=Injection.HEADER,
            header="x-goog-api-key",
            secret=known("google.key"),
        ),
    )

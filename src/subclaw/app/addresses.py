"""Where the parts of a box find each other, and the world finds them."""

from subclaw.config import Settings
from subclaw.home import Home
from subclaw.routes.config import CaddySettings
from subclaw.routes.https import USUAL_PORT, CaddyHttps
from subclaw.routes.publisher import SiteAddress
from subclaw.store.cluster import private_address
from subclaw.store.database import DatabaseAddress

LOOPBACK = "127.0.0.1"


def database_address(settings: Settings) -> DatabaseAddress:
    """Return where the database is: the operator's, or the private cluster's."""
    if settings.database_url:
        return DatabaseAddress(url=settings.database_url, private=False)
    return private_address(Home(settings.home).database_socket_folder)


def public_url(settings: Settings, port: int) -> str:
    """Return the address of the control plane as the outside knows it."""
    if settings.public_url or settings.https is None:
        return settings.public_url or f"http://{settings.domain}:{port}"
    usual = settings.https.port == 443
    return f"https://{settings.domain}" + ("" if usual else f":{settings.https.port}")


def local_url(settings: Settings, port: int) -> str:
    """Return where the router is reached from this host itself."""
    if settings.https is not None:
        return f"http://{LOOPBACK}:{port}"
    return f"http://[{settings.listen}]:{port}" if ":" in settings.listen else f"http://{settings.listen}:{port}"


def caddy_settings(settings: Settings, port: int) -> CaddySettings:
    """Return what the router is told at its start."""
    home = Home(settings.home)
    return CaddySettings(
        domain=settings.domain,
        sites_domain=settings.sites_domain,
        port=port,
        listen=(settings.listen,),
        control_socket=home.web_socket,
        state=home.caddy,
        sites=home.sites,
        doors=home.doors,
        https=_caddy_https(settings),
    )


def _caddy_https(settings: Settings) -> CaddyHttps | None:
    if settings.https is None:
        return None
    return CaddyHttps(
        directory=settings.https.directory,
        socket=Home(settings.home).certificates_socket,
        authority=settings.https.authority,
        email=settings.https.email,
        port=settings.https.port,
        http_port=settings.https.http_port,
        # Whom browsers cannot believe, or find at another port, they must not be held to.
        is_strict=settings.https.authority is None and settings.https.port == USUAL_PORT,
    )


def inner_address(settings: Settings) -> str:
    """Return the address of this host at which the router has its port."""
    return settings.listen if settings.https is None else LOOPBACK


def site_address(settings: Settings, port: int) -> SiteAddress:
    """Return where tenants' sites are."""
    if settings.https is None:
        return SiteAddress(domain=settings.sites_domain, port=port)
    return SiteAddress(domain=settings.sites_domain, port=settings.https.port, scheme="https")

"""Whether mail gets in and out: the relay is tried, and the DNS is asked what it tells the world of the domain."""

from subclaw.channels.email.errors import result_of
from subclaw.channels.email.names import Names
from subclaw.channels.email.settings import RELAY, EmailSettings
from subclaw.channels.kind import Outside
from subclaw.core.channel import Delivery
from subclaw.core.errors import Unavailable
from subclaw.core.mail_relay import Step
from subclaw.egress.control.client import gateway_client
from subclaw.egress.control.mail_client import hand_over


async def describe(settings: EmailSettings, outside: Outside) -> str:
    """Sign in at the relay, and say in words what it and the DNS say. Errors: `Unavailable`."""
    async with gateway_client(outside.gateway_socket) as gateway:
        handed = await hand_over(gateway, RELAY, None)
    if handed.step is Step.LOST:
        raise Unavailable("The relay did not answer in time.")
    result = result_of(handed, "")
    if result.delivery is not Delivery.SENT:
        raise Unavailable(f"E-mail: {result.detail}.")
    names = Names(settings.name_servers)
    try:
        found = await _dns(settings, names)
    finally:
        await names.close()
    return f"the relay lets us in; {found}; DKIM: have the relay sign as {settings.domain}; {_checked(settings)}"


async def _dns(settings: EmailSettings, names: Names) -> str:
    domain = settings.domain
    try:
        hosts = await names.mail_hosts(domain)
        sender_policy = [text for text in await names.texts(domain) if text.lower().startswith(b"v=spf1")]
        alignment = [text for text in await names.texts(f"_dmarc.{domain}") if text.upper().startswith(b"V=DMARC1")]
    except Unavailable as error:
        return error.public.removesuffix(".")
    told = [
        f"MX of {domain}: {', '.join(hosts) or 'none'}"
        f" ({'must lead' if hosts else 'add one that leads'} here, {settings.host} port {settings.port})",
        "SPF is there" if sender_policy else f'no SPF: add the TXT "v=spf1 include:YOUR-RELAY ~all" to {domain}',
        "DMARC is there" if alignment else f'no DMARC: add the TXT "v=DMARC1; p=quarantine" to _dmarc.{domain}',
    ]
    return "; ".join(told)


def _checked(settings: EmailSettings) -> str:
    if settings.front is None:
        return "senders are believed by DKIM signatures of their domains"
    return f"senders are believed by the word of {settings.front.name}"

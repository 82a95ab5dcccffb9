"""Handing a mail to the relay: one connection, one sign-in, one mail. Source: RFC 5321, RFC 3207, RFC 4954."""

import asyncio
import contextlib
import re
import ssl

import aiosmtplib

from subclaw.core.mail_relay import Handed, Mail, MailRelay, Step

BEFORE_LIMIT_S = 25.0
"""How long everything takes before the content; until then it is certain that nothing went out."""

CONTENT_LIMIT_S = 30.0
"""How long the relay takes over the content; after that nobody can tell."""

GOODBYE_LIMIT_S = 2.0
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")


async def hand_over(relay: MailRelay, password: str, tls: ssl.SSLContext, mail: Mail | None) -> Handed:
    """Give a mail to the relay, or without one just sign in. Never raises for what the relay says or does."""
    name, _, domain = relay.sender.partition("@")
    client = aiosmtplib.SMTP(
        hostname=relay.host,
        port=relay.port,
        use_tls=relay.implicit_tls,
        start_tls=False,
        tls_context=tls,
        timeout=BEFORE_LIMIT_S,
        local_hostname=domain,
    )
    step = Step.REACH
    try:
        async with asyncio.timeout(BEFORE_LIMIT_S):
            await client.connect()
            if not relay.implicit_tls:
                await client.starttls()
            step = Step.SIGN_IN
            await client.login(relay.user, password)
            if mail is None:
                return Handed(step=Step.TAKEN)
            step = Step.SENDER
            await client.mail(f"{name}+{mail.tag}@{domain}" if mail.tag else relay.sender)
            step = Step.RECIPIENT
            await client.rcpt(mail.to)
        step = Step.CONTENT
        answer = await client.data(mail.content, timeout=CONTENT_LIMIT_S)
        return Handed(step=Step.TAKEN, code=answer.code)
    except aiosmtplib.SMTPResponseException as error:
        found = _STATUS.match(error.message or "")
        return Handed(step=step, code=error.code, status=found[0] if found else "")
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        if step is Step.REACH and _is_unproven(error):
            return Handed(step=Step.CERTIFICATE)
        return Handed(step=Step.LOST if step is Step.CONTENT else step)
    finally:
        await _leave(client)


def _is_unproven(error: BaseException | None) -> bool:
    """Say whether it was the relay's certificate that did not hold."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__
    return error is not None


async def _leave(client: aiosmtplib.SMTP) -> None:
    """Say goodbye where there is somebody to say it to, and close."""
    with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
        if client.is_connected:
            await client.quit(timeout=GOODBYE_LIMIT_S)
    client.close()

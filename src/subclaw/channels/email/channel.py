"""E-mail: replies and files out, in the thread of what they answer. The gateway hands them to the operator's relay."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import httpx2

from subclaw.channels.email.errors import refused_as_content, result_of
from subclaw.channels.email.formatting import Draft, write_mail
from subclaw.channels.email.marks import Marked, Secret, make_mark
from subclaw.channels.email.settings import CHANNEL, RELAY, EmailSettings
from subclaw.channels.markdown import split_markdown
from subclaw.core.channel import (
    Address,
    Delivery,
    LastHeard,
    OutboundFile,
    OutboundMessage,
    SendResult,
    Trouble,
)
from subclaw.core.errors import Unavailable
from subclaw.core.mail_relay import Mail
from subclaw.egress.control.mail_client import hand_over

PART_LIMIT = 100_000
"""What a mail has at most, in UTF-16 units. There is no limit to a text; programs that show them have theirs."""

FILE_LIMIT_BYTES = 10 * 1024 * 1024
"""The gateway takes a mail of 16 MB, and a file is 1.4 times as long there; many servers take no longer ones."""


class EmailChannel:
    """The way out by e-mail. An address is a person's, in small letters."""

    name = CHANNEL

    def __init__(
        self, gateway: httpx2.AsyncClient, settings: EmailSettings, secret: Secret, last_heard: LastHeard
    ) -> None:
        self._gateway = gateway
        self._settings = settings
        self._secret = secret
        self._last_heard = last_heard

    def parts(self, text: str) -> Sequence[str]:
        """Cut a reply into mails: nearly always it is one."""
        return split_markdown(text, PART_LIMIT)

    async def send(self, message: OutboundMessage) -> SendResult:
        """Send a mail. It has the same Message-ID at every try, so whoever gets it twice can see that it is one."""
        return await self._send(message, None)

    def takes(self, to: Address, media_type: str, size_bytes: int) -> bool:
        """Say whether a mail may have such a file: any, within the limit."""
        return size_bytes <= FILE_LIMIT_BYTES

    async def send_file(self, message: OutboundMessage, file: OutboundFile) -> SendResult:
        """Send a mail with a file, as `send` does. If the relay refuses what is in it, a link may pass."""
        return await self._send(replace(message, text=f"Attached: {message.text}"), file)

    async def _send(self, message: OutboundMessage, file: OutboundFile | None) -> SendResult:
        try:
            marked = Marked(tenant_id=message.tenant_id, reply_id=message.reply_id, part=message.part)
            mark = make_mark(await self._secret(), marked)
            answers, subject = await self._answered(message)
        except Unavailable as error:
            return SendResult(delivery=Delivery.FAILED, detail=error.public, trouble=Trouble.NETWORK)
        mail_id = f"<{mark}@{self._settings.domain}>"
        draft = Draft(
            sender=self._settings.address,
            sender_name=self._settings.name,
            to=message.to.address,
            subject=f"Re: {subject}" if subject else self._settings.name,
            text=message.text,
            mail_id=mail_id,
            answers=answers,
            at=datetime.now(UTC),
            file=file,
        )
        content = await asyncio.to_thread(write_mail, draft) if file else write_mail(draft)
        handed = await hand_over(self._gateway, RELAY, Mail(to=message.to.address, tag=mark, content=content))
        result = result_of(handed, mail_id)
        return replace(result, trouble=Trouble.FILE) if file and refused_as_content(handed) else result

    async def _answered(self, message: OutboundMessage) -> tuple[str, str]:
        """Return the Message-ID and the subject of what is answered, or of what the person wrote last."""
        reference = message.to.thread
        if not reference and (heard := await self._last_heard(message.to)):
            reference = heard.provider_id
        answers, _, subject = reference.partition(" ")
        return (answers, subject) if answers.startswith("<") else ("", "")

"""A sender of text messages that counts its steps, before and after each, and kills itself at one of them."""

import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tests.faults.forked import run_process

from subclaw.channels.sms.channel import SmsChannel
from subclaw.channels.sms.twilio_client import twilio_client
from subclaw.core import delivery
from subclaw.core.channel import Trouble
from subclaw.core.delivery import DeliveryTimes
from subclaw.store import outbox
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.turns.outbox import deliver

ACCOUNT, TOKEN, NUMBER = "AC" + "0" * 32, "token", "+15550100002"
TIMES = DeliveryTimes(ask_after_s=(0.15, 0.3), untold_s=0.1, hold_s=30, tick_s=0.02)
RETRIES_S = dict.fromkeys(Trouble, (0, 0))
EFFECTS = ("begin_part", "sent_part", "settle_sent", "settle_failed", "settle_doubtful", "settle_seen", "settle_absent")
T = TypeVar("T")


def send_until(victim: int, address: DatabaseAddress, twilio_url: str) -> None:
    """Send what is to be sent until killed, by oneself at the step `victim` (the first is 1) if it comes to that."""
    step = 0

    def reached() -> None:
        nonlocal step
        step += 1
        if step == victim:
            os.kill(os.getpid(), signal.SIGKILL)

    def fragile(effect: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        async def wrapped(*arguments: Any, **more: Any) -> T:
            reached()
            result = await effect(*arguments, **more)
            reached()
            return result

        return wrapped

    def fragile_if_any(claim: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        async def wrapped(*arguments: Any) -> T:
            if claimed := await claim(*arguments):
                reached()
            return claimed

        return wrapped

    delivery._RETRIES_S = RETRIES_S
    for name in ("claim_outbox", "claim_unknown"):
        setattr(outbox, name, fragile_if_any(getattr(outbox, name)))
    for name in EFFECTS:
        setattr(outbox, name, fragile(getattr(outbox, name)))
    for name in ("send", "find"):
        setattr(SmsChannel, name, fragile(getattr(SmsChannel, name)))
    run_process(_send(address, twilio_url))


async def _send(address: DatabaseAddress, twilio_url: str) -> None:
    async with (
        open_database(address, Role.APP, size=2) as database,
        twilio_client(account_sid=ACCOUNT, auth_token=TOKEN, base_url=twilio_url) as client,
    ):
        channels = {"sms": SmsChannel(client=client, from_number=NUMBER)}
        await deliver(database, address, channels, times=TIMES)

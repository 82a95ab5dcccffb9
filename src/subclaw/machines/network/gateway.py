"""Having the egress gateway serve a machine's door: the host hands it the door's two sockets, and says whose they are.

The gateway listens on unix sockets, one for each of its processes, of which a tenant always has the same. One
connection is one machine that runs. The host sends a line, `{"tenant": "7"}`, with the descriptors of the listener and
of the socket for questions beside its first byte (SCM_RIGHTS, unix(7)); the gateway answers with a line,
`{"certificate": PEM}` or `{"error": WORDS}`, and serves the machine until the connection ends.

The host keeps the sockets, so that a gateway that starts again is handed them again: what comes meanwhile waits.
"""

import asyncio
import contextlib
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import Unavailable
from subclaw.core.tenant import TenantId
from subclaw.machines.network.door import Door

ANSWER_S = 5.0
ANSWER_LIMIT_BYTES = 65_536
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----\n(?:[A-Za-z0-9+/=]{1,64}\n){1,120}-----END CERTIFICATE-----\n")
WORDS_LIMIT = 300
AWAY = "The machine's way to the outside is not there at the moment. Try again in a few seconds."

logger = logging.getLogger(__name__)


class GatewayAway(Unavailable):
    """The gateway does not serve a machine's door: no other way of starting the machine would help."""


@dataclass(frozen=True, kw_only=True)
class Handed:
    """A door that was handed over: the connection for which it is served, and the certificate (PEM) that came back."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    certificate: str

    async def end(self) -> None:
        """Return when the gateway ends the connection, on which it has nothing more to say."""
        try:
            await self.reader.read(1)
        except OSError:
            pass
        finally:
            self.writer.close()


def gateway_of(gateways: Sequence[Path], tenant_id: TenantId) -> Path | None:
    """Return the socket of the gateway process that serves a tenant; None if there is no gateway."""
    return gateways[tenant_id % len(gateways)] if gateways else None


@asynccontextmanager
async def served(door: Door, gateway: Path | None, tenant_id: TenantId, group: asyncio.TaskGroup) -> AsyncIterator[str]:
    """Have the gateway serve a door for the length of the block; give the certificate (PEM) for the machine to trust.

    It is handed the door again whenever it was away, by a task in `group`. Without a gateway the door is shut, and the
    certificate empty. Raises `GatewayAway` if it cannot be had within a few seconds.
    """
    if gateway is None:
        door.shut()
        yield ""
        return
    try:
        async with asyncio.timeout(ANSWER_S):
            handed = await hand_over(door, gateway, tenant_id)
    except TimeoutError as error:
        raise GatewayAway(AWAY, internal=f"{gateway} does not answer") from error
    staying = group.create_task(stay_served(door, gateway, tenant_id, handed))
    try:
        yield handed.certificate
    finally:
        staying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await staying
        handed.writer.close()


async def stay_served(door: Door, gateway: Path, tenant_id: TenantId, handed: Handed) -> None:
    """Hand a door over again, whenever the gateway that had it is gone, until cancelled."""
    while True:
        await handed.end()
        logger.warning("machine %s is cut off: the gateway is away", tenant_id)
        await asyncio.sleep(FIRST_PAUSE_S)
        again = await accepted_again(door, gateway, tenant_id)
        if again.certificate != handed.certificate:
            logger.error("machine %s trusts another certificate than the gateway has, until it slept", tenant_id)
        handed = again


async def accepted_again(door: Door, gateway: Path, tenant_id: TenantId) -> Handed:
    """Hand a door over for as long as it takes, to a gateway that may say no."""
    while True:
        try:
            return await hand_over(door, gateway, tenant_id)
        except GatewayAway as error:
            logger.error("machine %s stays cut off: %s", tenant_id, error.internal)
            await asyncio.sleep(LONGEST_PAUSE_S)


async def hand_over(door: Door, gateway: Path, tenant_id: TenantId) -> Handed:
    """Hand a door over as soon as there is a gateway. Raises `GatewayAway` if that refuses."""
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await try_hand_over(door, gateway, tenant_id)
        except OSError as error:
            logger.debug("machine %s is not served: %s", tenant_id, error)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def try_hand_over(door: Door, gateway: Path, tenant_id: TenantId) -> Handed:
    """Hand a door over. Raises `OSError` if there is no gateway, `GatewayAway` if it refuses."""
    message = json.dumps({"tenant": str(tenant_id)}).encode() + b"\n"
    with ExitStack() as stack:
        connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, str(gateway))
        # So short a message fits whole into the empty buffer.
        socket.send_fds(connection, [message], [door.listener.fileno(), door.questions.fileno()])
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=ANSWER_LIMIT_BYTES)
        stack.callback(writer.close)
        try:
            line = await reader.readline()
        except ValueError as error:
            raise GatewayAway(AWAY, internal="the gateway's answer is too long") from error
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the gateway ended in the middle of its answer")
        certificate = certificate_of(line)
        stack.pop_all()
    return Handed(reader=reader, writer=writer, certificate=certificate)


def certificate_of(line: bytes) -> str:
    """Return the certificate in the gateway's answer. Raises `GatewayAway` if there is none, with what it says."""
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise GatewayAway(AWAY, internal="the gateway's answer is not JSON") from error
    certificate = answer.get("certificate") if isinstance(answer, dict) else None
    if not isinstance(certificate, str) or not CERTIFICATE.fullmatch(certificate):
        said = str(answer.get("error") if isinstance(answer, dict) else answer)[:WORDS_LIMIT]
        raise GatewayAway(AWAY, internal=f"the gateway refuses a machine: {said}")
    return certificate

"""What a homeserver says of the account."""

from nio import WhoamiResponse  # type: ignore[import-untyped]

from subclaw.channels.matrix import signing
from subclaw.channels.matrix.client import BrokenOff, GatewayClient, NotSent, RefusedByServer, ask
from subclaw.channels.matrix.errors import refused
from subclaw.core.errors import Unavailable


async def describe(client: GatewayClient) -> str:
    """Ask a homeserver about the account, and say in words what it answered. Errors: `Unavailable`."""
    own = client.user_id  # which nio sets to whatever it is told
    try:
        who = await ask(client.whoami(), WhoamiResponse)
        if who.user_id != own:
            raise Unavailable(f"The token is that of {who.user_id}, and MATRIX_USER says {own}.")
        found = await signing.keys_of(client, who.user_id)
    except (NotSent, BrokenOff) as error:
        raise Unavailable("The homeserver cannot be asked.", internal=str(error)) from None
    except RefusedByServer as error:
        raise Unavailable(f"Matrix: {refused(error).detail}.", internal=str(error)) from None
    if not who.device_id:
        return f"{who.user_id} answers; the token is of no device, so nothing encrypted can be read: log in for one"
    device = found.get("device_keys", {}).get(who.user_id, {}).get(who.device_id, {})
    keys = found.get("self_signing_keys", {}).get(who.user_id, {}).get("keys", {})
    signed = set(device.get("signatures", {}).get(who.user_id, {})) & set(keys)
    words = "is signed by the account" if signed else "is not signed by the account, so some people's clients shun it"
    return f"{who.user_id} answers; its device {who.device_id} {words}"

"""Files that go out by Matrix: uploaded first, encrypted where the room is.

Source: https://spec.matrix.org/v1.16/client-server-api/#sending-encrypted-attachments.
"""

from typing import Any

from nio.crypto.attachments import encrypt_attachment  # type: ignore[import-untyped]

from subclaw.channels.matrix.client import GatewayClient, upload
from subclaw.core.channel import OutboundFile

_KINDS = {"image": "m.image", "audio": "m.audio", "video": "m.video"}


async def file_content(client: GatewayClient, title: str, file: OutboundFile, *, is_encrypted: bool) -> dict[str, Any]:
    """Upload a file, and return the content of the message that shows it. Errors: those of `client.ask`."""
    content: dict[str, Any] = {
        "msgtype": _KINDS.get(file.media_type.partition("/")[0], "m.file"),
        "body": title,
        "filename": file.name,
        "info": {"mimetype": file.media_type, "size": file.size_bytes},
        "m.mentions": {},
    }
    if not is_encrypted:
        return content | {"url": await upload(client, file.content, file.media_type, file.name)}
    ciphertext, keys = encrypt_attachment(file.content)
    address = await upload(client, bytes(ciphertext), "application/octet-stream", "")
    return content | {"file": {**keys, "url": address}}

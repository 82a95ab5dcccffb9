"""The tool `publish_site` with a port: what it says of services."""

import asyncio
from typing import cast

import pytest

from subclaw.core.errors import NotFound
from subclaw.core.machine import FileSlice, Machines
from subclaw.core.route import Published, Publisher
from subclaw.core.site import DynamicSite
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.tools.site import site_tools


class OneFile:
    """A machine in which there is a declaration of services, or none."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content

    async def read(self, tenant_id: TenantId, path: str, *, offset_bytes: int, limit_bytes: int) -> FileSlice:
        if self.content is None:
            raise NotFound("There is no such file or folder in the machine.")
        assert path == "/etc/subclaw/services.json"
        return FileSlice(content=self.content, offset_bytes=0, size_bytes=len(self.content))


class Publishing:
    """A publisher of ports."""

    async def publish_port(self, tenant_id: TenantId, port: int) -> Published:
        return Published(url="http://ann.localhost/", content=DynamicSite(port=port))


@pytest.mark.parametrize(
    ("declared", "is_told"),
    [
        (None, True),
        (b"[{", True),
        (b'[{"name": "web", "command": "x", "port": 9000}]', True),
        (b'[{"name": "web", "command": "x", "port": 8000}]', False),
    ],
)
def test_how_a_service_is_declared_is_told_where_there_is_none(declared: bytes | None, is_told: bool) -> None:
    (tool,) = site_tools(cast(Machines, OneFile(declared)), cast(Publisher, Publishing()))
    caller = Caller(tenant_id=TenantId(1), conversation_id=1, call_id="c", turn_id="t")

    async def scenario() -> None:
        said = await tool.perform(caller, {"port": 8000})
        assert said.startswith("Live at http://ann.localhost/, served by port 8000 of your machine")
        assert ("No service is declared for port 8000" in said) is is_told

    asyncio.run(scenario())

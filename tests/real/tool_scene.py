"""A business's agent for tests: its folder, a service behind the gateway, and sessions of two customers.

The service is a real HTTP server on loopback, named shop.test; what it gets there is what a tool could reach.
"""

import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from subclaw.business.enforcement import Audit, SessionOf
from subclaw.business.outgoing import Requests
from subclaw.business.tools import AgentTools
from subclaw.core.agent import AgentSettings
from subclaw.core.business import AgentPackage, Compute, CustomerSession, digest_of
from subclaw.core.errors import Denied
from subclaw.core.policy import Mode, Rule, Scope
from subclaw.core.secret import Binding, BoundSecret, label
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import TenantPolicy
from subclaw.core.tool import Caller, ToolCall, ToolResult
from subclaw.core.tool_policy import Decision, Usage, Window
from subclaw.egress.control.client import gateway_client
from subclaw.egress.keys import ensure_key, read_public_key
from subclaw.egress.seal import seal
from subclaw.store.tool_audit import AuditedCall
from subclaw.testing.egress import running_gateway
from subclaw.testing.egress_book import MemoryEgressBook
from subclaw.testing.upstream import Answer, Connection, FakeUpstream, Seen, http_upstream, simple
from subclaw.tools.toolbox import BuiltInToolbox

ANNA, BEN = TenantId(7), TenantId(8)
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SECRET = "shop-key-0123456789abcdefghijklmnop"
PLACEHOLDER = "shop-subclawabcdefghijklmnopqrstuvwx"
BINDINGS: Mapping[TenantId, Mapping[str, Any]] = {
    ANNA: {"ids": {"shop": 3, "user": "u-anna"}, "token": "canary-token-of-anna"},
    BEN: {"ids": {"shop": 4, "user": "u-ben"}, "token": "canary-token-of-ben"},
}
CUSTOMERS = {ANNA: "anna", BEN: "ben"}


async def answer_well(seen: Seen, connection: Connection) -> None:
    """Answer with what was asked for."""
    told = {"method": seen.method, "target": seen.target, "body": seen.body.decode()}
    await connection.write(simple(json.dumps(told).encode(), "content-type: application/json"))


@dataclass(kw_only=True)
class MemoryAudit:
    """Decisions in memory. Nothing was used before."""

    calls: list[tuple[AuditedCall, Decision]] = field(default_factory=list)

    async def decide(self, call: AuditedCall, windows: Sequence[Window], decide: Any) -> Decision:
        """See `Audit.decide`."""
        usage: Usage = {}
        decision: Decision = decide(usage)
        self.calls.append((call, decision))
        return decision


@dataclass(kw_only=True)
class ToolScene:
    """The tools of an agent, and what there is around them."""

    agents: AgentTools
    toolbox: BuiltInToolbox
    shop: FakeUpstream
    book: MemoryEgressBook
    audit: MemoryAudit
    number: int = 0

    async def call(self, name: str, tenant_id: TenantId = ANNA, /, **arguments: Any) -> ToolResult:
        """Have a customer's agent make a call."""
        self.number += 1
        call = ToolCall(id=f"call_{self.number}", name=name, arguments=json.dumps(arguments))
        return await self.toolbox.perform(caller_of(tenant_id, call.id), call)


def caller_of(tenant_id: TenantId, call_id: str) -> Caller:
    """Return who makes a call, in a conversation that has the tenant's number."""
    return Caller(tenant_id=tenant_id, conversation_id=tenant_id, call_id=call_id, turn_id="turn_1")


async def session_of(caller: Caller) -> CustomerSession:
    """Return the session of a conversation."""
    tenant_id = TenantId(caller.conversation_id)
    if tenant_id != caller.tenant_id or tenant_id not in BINDINGS:
        raise Denied("That is no session.")
    return CustomerSession(
        tenant_id=tenant_id,
        agent="support",
        version=1,
        customer=CUSTOMERS[tenant_id],
        session_id=f"ses_{tenant_id}",
        binding=BINDINGS[tenant_id],
    )


def package_of(files: Mapping[str, str]) -> AgentPackage:
    """Return an agent of these files."""
    content = {path: text.encode() for path, text in files.items()}
    return AgentPackage(
        id="support",
        instructions="Help.",
        model="",
        compute=Compute.NONE,
        settings=AgentSettings(),
        channels=("api",),
        files=content,
        digest=digest_of(content),
    )


def policy_for(folder: Path, port: int) -> TenantPolicy:
    """Return what a customer's tools may reach: shop.test, with a secret that is bound to it."""
    ensure_key(folder, os.getuid(), os.getgid())
    binding = Binding(hosts=("shop.test",), ports=(port,), plain=True)
    named = label("SHOP_KEY", Scope.AGENT, None, PLACEHOLDER, binding)
    secret = BoundSecret(
        id=1,
        name="SHOP_KEY",
        scope=Scope.AGENT,
        tenant_id=None,
        placeholder=PLACEHOLDER,
        binding=binding,
        sealed=seal(read_public_key(folder), SECRET, named),
    )
    rule = Rule(host="shop.test", ports=(port,), mode=Mode.INJECT, addresses=("127.0.0.1",))
    return TenantPolicy(rules=(rule,), secrets=(secret,), starter=False)


async def placeholders(tenant_id: TenantId) -> Mapping[str, str]:
    """Return what stands for secrets."""
    return {"SHOP_KEY": PLACEHOLDER}


@asynccontextmanager
async def tool_scene(
    folder: Path,
    files: Mapping[str, str],
    *,
    answer: Answer = answer_well,
    session_of: SessionOf = session_of,
    audit: Audit | None = None,
) -> AsyncIterator[ToolScene]:
    """Make an agent of files, in which PORT is the service's, with everything around it that its tools need."""
    book, in_memory = MemoryEgressBook(), MemoryAudit()
    async with http_upstream(answer) as shop, running_gateway(folder, (), {}, book=book) as socket:
        for tenant_id in (ANNA, BEN):
            book.put(tenant_id, policy_for(folder, shop.port))
        async with gateway_client(socket) as gateway:
            agents = AgentTools(
                requests=Requests(gateway, placeholders),
                session_of=session_of,
                audit=audit or in_memory,
                clock=lambda: NOON,
            )
            try:
                package = package_of({path: text.replace("PORT", str(shop.port)) for path, text in files.items()})
                toolbox = BuiltInToolbox([]).joined(await agents.tools_of(package))
                yield ToolScene(agents=agents, toolbox=toolbox, shop=shop, book=book, audit=in_memory)
            finally:
                await agents.close()

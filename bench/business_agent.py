"""The agent of the business benchmark: its folder, and what in its conversations is whose.

Every customer has two canaries: one that their session is bound to, which the agent's tools are given on the host and
say again, and one that they say themselves. Every order is of one turn.
"""

import hashlib
import re
from pathlib import Path

AGENT = "shop"
HOST = "shop.bench.test"
"""Where the operations are. The policy says that it is on loopback."""

CALLS = ("delivery_day", "getOrder", "crm_find_contact")
"""The tools that every turn calls, one a step: a Python function, an operation, an MCP server's."""

_CANARY = re.compile(r"canary-[0-9a-f]{16}")
_CUSTOMER = re.compile(r"customer ([0-9]+)")
_ORDER = re.compile(r"order-[0-9]+-[0-9]+")

_FILES = {
    "agent.toml": 'id = "shop"\ncompute = "none"\nchannels = ["api"]\n',
    "instructions.md": "You answer customers of a shop. Say what the tools say, and nothing else.\n",
    "tools/delivery.py": '''
from subclaw.tool import Bound, tool


@tool(idempotent=True)
def delivery_day(order_id: str, canary: Bound[str]) -> dict[str, str]:
    """Say on which day an order is delivered.

    Args:
        order_id: The number on the confirmation.
    """
    return {"order": order_id, "day": "Monday", "of": canary}
''',
    "openapi.toml": """
[[api]]
document = "openapi/shop.yaml"
base_url = "http://HOST:PORT/shop"
operations = ["getOrder"]

[api.bound]
canary = "canary"
""",
    "openapi/shop.yaml": """
openapi: 3.1.0
info: {title: A shop, version: "1"}
paths:
  /orders/{order_id}:
    get:
      operationId: getOrder
      summary: Look up an order.
      parameters:
        - {name: order_id, in: path, required: true, schema: {type: string}, description: Its number.}
        - {name: canary, in: query, required: true, schema: {type: string}}
      responses: {"200": {description: The order.}}
""",
    "mcp.toml": """
[servers.crm]
command = ["python", "-c", '''
from mcp.server import MCPServer

server = MCPServer("crm")


@server.tool()
def find_contact(order_id: str, canary: str) -> str:
    "Find out whom to ask about an order."
    return f"{order_id}: ask Ada about {canary}"


server.run()
''']
tools = ["find_contact"]
bound = { canary = "canary" }
""",
    "policy.toml": """
[tools.getOrder]
require = ['order_id matches "order-[0-9]+-[0-9]+"']
per_customer = "60/minute"
""",
}


def write_folder(folder: Path, port: int) -> None:
    """Write the agent's folder; its operations are at a port."""
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("HOST:PORT", f"{HOST}:{port}"))


def bound_canary(customer: int) -> str:
    """Return what a customer's session is bound to."""
    return _canary(f"bound to customer {customer}")


def said_canary(customer: int) -> str:
    """Return what a customer says of themselves."""
    return _canary(f"said by customer {customer}")


def message_of(customer: int, turn: int) -> str:
    """Return what a customer says to begin a turn."""
    return f"This is customer {customer}, {said_canary(customer)}. Where is order-{customer}-{turn}?"


def customer_of(message: str) -> int:
    """Return who said a message."""
    found = _CUSTOMER.search(message)
    assert found is not None
    return int(found[1])


def order_of(message: str) -> str:
    """Return which order a message is about."""
    found = _ORDER.search(message)
    assert found is not None
    return found[0]


def canaries_in(text: str) -> set[str]:
    """Return the canaries that a text has."""
    return set(_CANARY.findall(text))


def strangers_in(text: str, customer: int) -> int:
    """Return how many canaries a text of a customer's has that are others'."""
    return len(canaries_in(text) - {bound_canary(customer), said_canary(customer)})


def _canary(whose: str) -> str:
    return f"canary-{hashlib.sha256(whose.encode()).hexdigest()[:16]}"

"""A client of the HTTP API, for an owner's server.

async with Client("https://agents.example.com", "sck_…") as client:
    session = await client.open_session("support", customer="C-17", binding={"customer_id": "C-17"})
    print(await client.ask(session.id, "Where is my order?"))
"""

from subclaw.client.client import Client
from subclaw.client.errors import ApiError, Unreachable
from subclaw.client.values import (
    Account,
    Agent,
    Approval,
    Customer,
    Delta,
    Endpoint,
    Event,
    File,
    Link,
    Part,
    Receipt,
    Reset,
    Schedule,
    ScheduleSet,
    Session,
    Token,
)

__all__ = [
    "Account",
    "Agent",
    "ApiError",
    "Approval",
    "Client",
    "Customer",
    "Delta",
    "Endpoint",
    "Event",
    "File",
    "Link",
    "Part",
    "Receipt",
    "Reset",
    "Schedule",
    "ScheduleSet",
    "Session",
    "Token",
    "Unreachable",
]

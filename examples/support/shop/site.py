"""The shop's pages: a customer signs in and has the chat; the staff sees what waits for it.

Signing in is a button here, since this is an example. What matters is what comes after: the server, which knows who is
signed in, opens the session with the agent, and the browser gets nothing but a token for that session.
"""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import DictLoader, Environment

from examples.support.shop.orders import CUSTOMERS, Books
from subclaw.client import Client

AGENT = "support"
COOKIE = "leaf-and-kettle"
STAFF = "staff"
PAGES = Path(__file__).parent / "pages"


@dataclass(eq=False, kw_only=True)
class Visitor:
    """Somebody who is signed in: a customer, or the staff. `chat` is a customer's session with the agent, if any."""

    who: str
    chat: str = ""
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)


def shop_site(books: Books, client: Client, agents_url: str) -> FastAPI:
    """Return the pages. `client` has the shop's key for the agents at `agents_url`."""
    site = FastAPI(openapi_url=None)
    texts = {file.name: file.read_text(encoding="utf-8") for file in PAGES.iterdir()}
    pages = Environment(loader=DictLoader(texts), autoescape=True)
    visitors: dict[str, Visitor] = {}

    def visitor_of(request: Request) -> Visitor | None:
        return visitors.get(request.cookies.get(COOKIE, ""))

    def customer_of(request: Request) -> Visitor:
        visitor = visitor_of(request)
        if visitor is None or visitor.who not in CUSTOMERS:
            raise HTTPException(403, "Sign in first.")
        return visitor

    def require_staff(request: Request) -> None:
        visitor = visitor_of(request)
        if visitor is None or visitor.who != STAFF:
            raise HTTPException(403, "This is for the staff.")

    def page(template: str, **values: Any) -> HTMLResponse:
        text = pages.get_template(template).render(agents_url=agents_url, customers=CUSTOMERS, **values)
        return HTMLResponse(text, headers=_policy(agents_url))

    @site.get("/")
    async def home(request: Request) -> HTMLResponse:
        visitor = visitor_of(request)
        if visitor is None or visitor.who not in CUSTOMERS:
            return page("welcome.html")
        return page("shop.html", name=CUSTOMERS[visitor.who], orders=books.orders_of(visitor.who))

    @site.post("/sign-in")
    async def sign_in(who: Annotated[str, Form()]) -> RedirectResponse:
        if who not in (*CUSTOMERS, STAFF):
            raise HTTPException(422, "Nobody of that name can sign in.")
        answer = RedirectResponse("/staff" if who == STAFF else "/", 303)
        id = secrets.token_urlsafe()
        visitors[id] = Visitor(who=who)
        answer.set_cookie(COOKIE, id, httponly=True, samesite="strict")
        return answer

    @site.post("/sign-out")
    async def sign_out(request: Request) -> RedirectResponse:
        visitors.pop(request.cookies.get(COOKIE, ""), None)
        return RedirectResponse("/", 303)

    @site.post("/chat-token")
    async def chat_token(visitor: Annotated[Visitor, Depends(customer_of)]) -> Mapping[str, str]:
        """Give the widget its token. Who the customer is, the session is told here, and nowhere else."""
        async with visitor.opening:  # two pages of one customer have one session
            if not visitor.chat:
                session = await client.open_session(
                    AGENT, customer=visitor.who, binding={"customer": visitor.who}, channel="widget"
                )
                visitor.chat = session.id
        return {"token": (await client.session_token(visitor.chat)).token}

    @site.get("/staff", dependencies=[Depends(require_staff)])
    async def staff() -> HTMLResponse:
        waiting = [await client.approval(each.id) async for each in client.approvals(agent=AGENT)]
        return page("staff.html", waiting=waiting, tickets=books.tickets.values(), refunds=books.refunds.values())

    @site.post("/staff/approvals/{id}", dependencies=[Depends(require_staff)])
    async def decide(id: int, approve: Annotated[bool, Form()]) -> RedirectResponse:
        await client.decide(id, approve=approve)
        return RedirectResponse("/staff", 303)

    return site


def _policy(agents_url: str) -> dict[str, str]:
    """Return the page's content security policy: the widget needs its host in two places, and nothing else."""
    allowed = f"script-src {agents_url}; connect-src {agents_url} 'self'; style-src 'unsafe-inline'; form-action 'self'"
    return {"Content-Security-Policy": f"default-src 'none'; base-uri 'none'; {allowed}"}

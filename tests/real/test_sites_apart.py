"""A tenant's page and the control plane are strangers to each other: in a real Chromium, through a real Caddy."""

import asyncio
from dataclasses import dataclass, field

from playwright.async_api import async_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route as Served
from tests.real.caddy_process import running_caddy
from tests.real.upstream import served

from subclaw.core.route import Route
from subclaw.routes.config import UNPUBLISHED_PATH

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
OURS = ("/", "/console", "/chat", "/healthz", "/api/tenants", "/-/unpublished", "/-/certificate?domain=x", "/-/private")


@dataclass
class ControlPlane:
    """What the control plane was asked, by host and path, and with which cookies. It signs in whoever comes."""

    asked: list[tuple[str, str]] = field(default_factory=list)
    cookies: list[str] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        self.asked.append((request.headers["host"].partition(":")[0], request.url.path))
        self.cookies.append(request.headers.get("cookie", ""))
        response = HTMLResponse("<title>console</title>the operator's words")
        response.set_cookie("session", "OPERATOR", httponly=True, samesite="lax")
        return response

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Served("/{path:path}", self.answer, methods=["GET", "POST"])])


def test_a_site_s_hostname_reaches_nothing_of_ours() -> None:
    async def scenario() -> None:
        control = ControlPlane()
        async with running_caddy(domain="agents.localhost", sites_domain="sites.localhost") as caddy:
            (folder := caddy.folder / "files").mkdir()
            (folder / "index.html").write_text("a tenant's page")
            await caddy.routes.put(Route(hostname="ann.sites.localhost", folder=folder))
            async with served(caddy.settings.control_socket, control.app):
                for target in OURS[1:]:
                    for method in ("GET", "POST"):
                        answer = await caddy.get("ann.sites.localhost", target, method=method)
                        assert answer.status in (404, 405), (target, method)
                assert control.asked == []
                for target in OURS:
                    await caddy.get("nobody.sites.localhost", target, headers={"Cookie": "session=OPERATOR"})
                assert control.asked == [("nobody.sites.localhost", UNPUBLISHED_PATH)] * len(OURS)
                assert control.cookies == [""] * len(OURS)
                for target in OURS[5:]:
                    assert (await caddy.get("agents.localhost", target)).status == 404

    asyncio.run(scenario())


def test_a_page_shares_neither_cookies_nor_answers_with_the_console() -> None:
    async def scenario() -> None:
        control = ControlPlane()
        async with (
            asyncio.timeout(60),
            running_caddy(domain="agents.localhost", sites_domain="sites.localhost") as caddy,
            served(caddy.settings.control_socket, control.app),
            async_playwright() as playwright,
        ):
            (folder := caddy.folder / "files").mkdir()
            (folder / "index.html").write_text("<title>a tenant's page</title>")
            for name in ("ann", "bob"):
                await caddy.routes.put(Route(hostname=f"{name}.sites.localhost", folder=folder))
            console = f"http://agents.localhost:{caddy.settings.port}"
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = await browser.new_page()
            await page.goto(f"{console}/console")
            await page.goto(f"http://ann.sites.localhost:{caddy.settings.port}/")
            assert await page.evaluate("document.cookie") == ""
            assert await page.evaluate("origin") == f"http://ann.sites.localhost:{caddy.settings.port}"
            await page.evaluate(
                """['agents.localhost', 'localhost'].forEach(domain => {
                    document.cookie = `session=EVIL; domain=${domain}; path=/`})
                document.cookie = 'mine=1'"""
            )
            read = "address => fetch(address, {credentials: 'include'}).then(r => r.text()).catch(e => 'blocked')"
            assert await page.evaluate(read, f"{console}/console") == "blocked"
            assert await page.evaluate(read, f"http://bob.sites.localhost:{caddy.settings.port}/") == "blocked"
            framed = await page.evaluate(
                """address => new Promise(done => {
                    const frame = document.createElement('iframe')
                    frame.onload = () => { try { done(frame.contentDocument?.body.innerText ?? 'apart') }
                                           catch { done('apart') } }
                    frame.src = address
                    document.body.append(frame)})""",
                f"{console}/console",
            )
            assert framed == "apart"
            await page.goto(f"{console}/console")
            assert set(control.cookies) <= {"", "session=OPERATOR"}, "nothing that the page has set came along"
            await page.goto(f"http://bob.sites.localhost:{caddy.settings.port}/")
            assert await page.evaluate("document.cookie") == "", "nor to another tenant's page"
            await browser.close()

    asyncio.run(scenario())

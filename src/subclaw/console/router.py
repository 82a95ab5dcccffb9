"""The console's routes behind the gate: overview, tenants, channels, replies not sent, reminders and machines."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from subclaw.console.answer import FOLDER, Render, console_route, page_renderer
from subclaw.console.gate import add_gate, signed_in
from subclaw.console.parts import AwakeMachines, Listener, answering, awake_machines, put_to_sleep
from subclaw.console.request import before, check_id, check_origin, chosen, form, prefix
from subclaw.core.channel_report import ChannelReport
from subclaw.core.errors import NotFound
from subclaw.core.tenant import TenantId
from subclaw.pages.page import asset_response, load_assets
from subclaw.store.database import Database
from subclaw.store.notify import workers_alive
from subclaw.store.overview import figures, model_usage, retried, running_turns, undelivered
from subclaw.store.schedule_list import ScheduleSummary, schedule_summaries
from subclaw.store.suspension import resume, suspend
from subclaw.store.tenants import LAST_ID, find_tenant, tenant_names, tenant_summaries
from subclaw.store.timeline import conversation_summaries, reached, timeline

PAGE_ROWS = 50
EVENT_ROWS = 100
SHORT_ROWS = 20


@dataclass(frozen=True, kw_only=True)
class ConsoleSettings:
    """What the console is told of its box.

    `key_hash` is `access.hash_key` of the operator's key; `public_url` is where people reach the control plane, without
    a path; `model` and `channels` say in words what answers, and where; `parts` say where what runs listens
    beside, by name. `examine` asks what the channels' providers say.
    """

    key_hash: bytes
    public_url: str
    title: str
    model: str
    channels: tuple[str, ...]
    parts: Mapping[str, Listener]
    examine: Callable[[], Awaitable[Sequence[ChannelReport]]]


def console_router(settings: ConsoleSettings, operator: Database, machines: AwakeMachines) -> APIRouter:
    """Return the routes below `/console`. The database is open in the operator's role, which sees no words."""
    assets = load_assets(FOLDER)
    render = page_renderer(settings.title, assets)
    kind = console_route(render)
    outside = APIRouter(prefix="/console", route_class=kind, include_in_schema=False)

    @outside.get("/assets/{digest}/{name}")
    async def asset(digest: str, name: str) -> Response:
        return asset_response(assets, digest, name)

    add_gate(outside, render, key_hash=settings.key_hash, public_url=settings.public_url)
    gate = Depends(signed_in(settings.key_hash, settings.public_url))
    inside = APIRouter(prefix="/console", route_class=kind, dependencies=[gate], include_in_schema=False)
    _add_overview(inside, render, settings, operator, machines)
    _add_tenants(inside, render, operator)
    _add_suspension(inside, operator, machines)
    _add_channels(inside, render, settings)
    _add_outbox(inside, render, operator)
    _add_schedules(inside, render, operator)
    _add_machines(inside, render, operator, machines)

    @inside.get("/{path:path}")
    async def nothing(path: str) -> Response:
        raise NotFound("There is nothing here.")

    router = APIRouter()
    router.include_router(outside)
    router.include_router(inside)
    return router


def _add_overview(
    router: APIRouter, render: Render, settings: ConsoleSettings, operator: Database, machines: AwakeMachines
) -> None:
    @router.get("/")
    @router.get("")
    async def overview() -> Response:
        awake = await awake_machines(machines)
        return render(
            "overview.html",
            figures=await figures(operator),
            usage=await model_usage(operator, limit=SHORT_ROWS),
            running=await running_turns(operator, limit=SHORT_ROWS),
            workers=await workers_alive(operator),
            awake=None if awake is None else len(awake),
            parts=await answering(settings.parts),
            model=settings.model,
            channels=settings.channels,
        )


def _add_tenants(router: APIRouter, render: Render, operator: Database) -> None:
    @router.get("/tenants")
    async def tenants(request: Request) -> Response:
        name = prefix(request)
        found = await tenant_summaries(operator, limit=PAGE_ROWS + 1, before=before(request), prefix=name)
        return render("tenants.html", tenants=found[:PAGE_ROWS], more=len(found) > PAGE_ROWS, name=name)

    @router.get("/tenants/{tenant_id:int}")
    async def tenant(request: Request, tenant_id: int) -> Response:
        found = await find_tenant(operator, check_id(tenant_id))
        conversations = await conversation_summaries(operator, tenant_id, limit=SHORT_ROWS)
        conversation, start = chosen(request) or next((each.id for each in conversations), 0), before(request)
        events = await timeline(operator, tenant_id, conversation, before=start, limit=EVENT_ROWS + 1)
        return render(
            "tenant.html",
            tenant=found,
            reached=await reached(operator, tenant_id, limit=SHORT_ROWS),
            conversations=conversations,
            conversation=conversation,
            events=events[:EVENT_ROWS],
            more=len(events) > EVENT_ROWS,
            live=start == LAST_ID,
        )


def _add_suspension(router: APIRouter, operator: Database, machines: AwakeMachines) -> None:
    @router.post("/tenants/{tenant_id:int}/suspend")
    async def suspended(request: Request, tenant_id: int) -> Response:
        given = await form(request)
        tenant = await find_tenant(operator, check_id(tenant_id))
        await suspend(operator, tenant.name, given.get("because", "").strip())
        await put_to_sleep(machines, tenant.id)
        return RedirectResponse(f"/console/tenants/{tenant_id}", status_code=303)

    @router.post("/tenants/{tenant_id:int}/resume")
    async def resumed(request: Request, tenant_id: int) -> Response:
        check_origin(request)
        await resume(operator, (await find_tenant(operator, check_id(tenant_id))).name)
        return RedirectResponse(f"/console/tenants/{tenant_id}", status_code=303)


def _add_channels(router: APIRouter, render: Render, settings: ConsoleSettings) -> None:
    @router.get("/channels")
    async def channels() -> Response:
        return render("channels.html", reports=await settings.examine())


def _add_outbox(router: APIRouter, render: Render, operator: Database) -> None:
    @router.get("/outbox")
    async def outbox(request: Request) -> Response:
        start = before(request)
        found = await undelivered(operator, before=start, limit=PAGE_ROWS + 1)
        return render(
            "outbox.html",
            undelivered=found[:PAGE_ROWS],
            more=len(found) > PAGE_ROWS,
            retried=await retried(operator, limit=SHORT_ROWS) if start == LAST_ID else (),
            live=start == LAST_ID,
        )


def _add_schedules(router: APIRouter, render: Render, operator: Database) -> None:
    @router.get("/schedules")
    async def schedules(request: Request) -> Response:
        start = before(request)
        found = await schedule_summaries(operator, before=start, limit=PAGE_ROWS + 1)
        troubled: tuple[ScheduleSummary, ...] = ()
        if start == LAST_ID:
            troubled = await schedule_summaries(operator, before=start, limit=SHORT_ROWS, only_failed=True)
        return render(
            "schedules.html",
            schedules=found[:PAGE_ROWS],
            more=len(found) > PAGE_ROWS,
            troubled=troubled,
            live=start == LAST_ID,
        )


def _add_machines(router: APIRouter, render: Render, operator: Database, machines: AwakeMachines) -> None:
    @router.get("/machines")
    async def awake() -> Response:
        found = await awake_machines(machines)
        names = await tenant_names(operator, [machine.tenant_id for machine in found or ()])
        return render("machines.html", machines=found, names=names)

    @router.post("/machines/{tenant_id:int}/sleep")
    async def sleep(request: Request, tenant_id: int) -> Response:
        check_origin(request)
        await machines.sleep(TenantId(check_id(tenant_id)))
        return RedirectResponse("/console/machines", status_code=303)

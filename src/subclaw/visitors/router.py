"""All routes of visitors together."""

from collections.abc import Collection, Sequence

from fastapi import APIRouter

from subclaw.visitors.forms import forms_router
from subclaw.visitors.hooks import hooks_router
from subclaw.visitors.links import links_router
from subclaw.visitors.private import private_router
from subclaw.visitors.reports import reports_router
from subclaw.visitors.visitor import Visiting, assets_router


def visitors_routers(visiting: Visiting, *, is_secure: bool, read_in_place: Collection[str]) -> Sequence[APIRouter]:
    """Return the routes; see `private_router` for the last two."""
    private = private_router(visiting, is_secure=is_secure, read_in_place=read_in_place)
    return (
        assets_router(visiting),
        forms_router(visiting),
        hooks_router(visiting),
        links_router(visiting),
        private,
        reports_router(visiting),
    )

"""The web chat, as a kind of channel: always there, and read in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from subclaw.channels.kind import ChannelKind, ChannelSetUp, Inside

if TYPE_CHECKING:
    from fastapi import APIRouter


def read_web(given: Mapping[str, str]) -> ChannelSetUp | None:
    """Return the web chat. There is nothing to set."""
    return ChannelSetUp(kind=WEB, place="", label="Web chat", routes=_routes)


def _routes(inside: Inside) -> APIRouter:
    from subclaw.channels.web.front import kept_front
    from subclaw.channels.web.inbound import web_router
    from subclaw.channels.web.ways import make_way

    return web_router(
        intake=inside.intake,
        feed=inside.feed,
        title=inside.title,
        public_url=inside.public_url,
        front=kept_front(inside.front_file, inside.title),
        ways=[make_way(one.kind.name, one.label, one.place) for one in inside.channels if one.place],
    )


WEB = ChannelKind(name="web", title="web chat", read=read_web, read_in_place=True)

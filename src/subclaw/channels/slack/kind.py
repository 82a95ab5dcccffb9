"""Slack, as a kind of channel."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from subclaw.channels.kind import ChannelKind, ChannelSetUp, Inside, Outside, Webhook
from subclaw.channels.slack.settings import (
    FILES_UPSTREAM,
    SCHEME,
    SIGNING_SECRET,
    TOKEN,
    UPLOADS_PATH,
    UPLOADS_UPSTREAM,
    UPSTREAM,
    WEBHOOK_PATH,
    SlackSettings,
)
from subclaw.core.channel import Channel
from subclaw.core.errors import Invalid
from subclaw.core.signature import Signature
from subclaw.core.upstream import Upstream, read_base_url

if TYPE_CHECKING:
    from fastapi import APIRouter


def read_slack(given: Mapping[str, str]) -> ChannelSetUp | None:
    """Return Slack as it is set up. Errors: `Invalid`."""
    team, app = given.get("SLACK_TEAM_ID", ""), given.get("SLACK_APP_ID", "")
    if not team and not app:
        return None
    if not team or not app:
        raise Invalid("For Slack, set SLACK_TEAM_ID, SLACK_APP_ID, SLACK_BOT_TOKEN and SLACK_SIGNING_SECRET, all four.")
    if not re.fullmatch(r"T[A-Z0-9]{2,30}", team):
        raise Invalid(f"SLACK_TEAM_ID is {team!r}; it must be the workspace's id, such as T0123456789.")
    if not re.fullmatch(r"A[A-Z0-9]{2,30}", app):
        raise Invalid(f"SLACK_APP_ID is {app!r}; it must be the app's id, such as A0123456789.")
    settings = SlackSettings(
        team=team,
        app=app,
        base_url=read_base_url(given, "SLACK_BASE_URL", "https://slack.com/api"),
        files_url=read_base_url(given, "SLACK_FILES_URL", "https://files.slack.com"),
    )
    return ChannelSetUp(
        kind=SLACK,
        place=f"https://slack.com/app_redirect?app={app}&team={team}",
        label="Slack",
        upstreams=_upstreams(settings),
        signatures={SCHEME: Signature(secret=SIGNING_SECRET, check=_check_signature)},
        webhooks=(
            Webhook(path=WEBHOOK_PATH, where=f"https://api.slack.com/apps/{app}/event-subscriptions, Request URL"),
        ),
        routes=partial(_routes, settings),
        open=_open,
        check=partial(_check, settings),
    )


def _upstreams(settings: SlackSettings) -> tuple[Upstream, ...]:
    """Return where calls are, where files are had, and where they are brought: nothing else, and without the token."""
    calls = Upstream(name=UPSTREAM, base_url=settings.base_url, secret=TOKEN)
    files = Upstream(name=FILES_UPSTREAM, base_url=settings.files_url, secret=TOKEN, methods=("GET",))
    uploads = Upstream(name=UPLOADS_UPSTREAM, base_url=f"{settings.files_url}{UPLOADS_PATH}", methods=("POST",))
    return calls, files, uploads


def _check_signature(key: str, claim: Mapping[str, object]) -> bool:
    from subclaw.channels.slack.signature import check_slack

    return check_slack(key, claim)


def _routes(settings: SlackSettings, inside: Inside) -> APIRouter:
    from subclaw.channels.slack.inbound import slack_router

    async def check(body: str, timestamp: str, signature: str) -> bool:
        return await inside.verify(SCHEME, {"body": body, "timestamp": timestamp, "signature": signature})

    return slack_router(intake=inside.intake, check_signature=check, settings=settings)


@asynccontextmanager
async def _open(outside: Outside) -> AsyncIterator[Channel]:
    from subclaw.channels.slack.channel import SlackChannel
    from subclaw.channels.slack.client import slack_client

    async with slack_client(outside.gateway_socket) as client:
        yield SlackChannel(client)


async def _check(settings: SlackSettings, outside: Outside) -> str:
    from subclaw.channels.slack.channel import SlackChannel
    from subclaw.channels.slack.client import slack_client

    async with slack_client(outside.gateway_socket) as client:
        return await SlackChannel(client).check(settings.team)


SLACK = ChannelKind(
    name="slack",
    title="Slack",
    read=read_slack,
    variables=("SLACK_TEAM_ID", "SLACK_APP_ID", "SLACK_BASE_URL", "SLACK_FILES_URL"),
    secrets={"SLACK_BOT_TOKEN": TOKEN, "SLACK_SIGNING_SECRET": SIGNING_SECRET},
)

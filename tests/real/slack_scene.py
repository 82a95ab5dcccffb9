"""A control plane in one process with Slack as its channel; Slack is a local server."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.real.channel_scene import Answer, Scene, channel_scene, echo

from subclaw.channels.slack.channel import SlackChannel
from subclaw.channels.slack.settings import WEBHOOK_PATH
from subclaw.store.database import DatabaseAddress
from subclaw.testing.channels.slack import APP, TEAM, FakeSlack, fake_slack
from subclaw.testing.egress import run

TOKEN = "xoxb-canary-0000000000-abcdefghijkl"
SIGNING_SECRET = "canary8f742231b10e8888abcd99yyyzzz85a5"


@dataclass(frozen=True, kw_only=True)
class SlackScene(Scene):
    """What runs, with the Slack that it talks to."""

    fake: FakeSlack

    @property
    def channel(self) -> SlackChannel:
        """Return the way out."""
        channel = self.channels["slack"]
        assert isinstance(channel, SlackChannel)
        return channel


def environ(fake: FakeSlack) -> dict[str, str]:
    """Return what the operator sets."""
    ids = {"SLACK_TEAM_ID": TEAM, "SLACK_APP_ID": APP}
    secrets = {"SLACK_BOT_TOKEN": TOKEN, "SLACK_SIGNING_SECRET": SIGNING_SECRET}
    return ids | secrets | {"SLACK_BASE_URL": f"{fake.base_url}/api", "SLACK_FILES_URL": fake.base_url}


def play(
    address: DatabaseAddress, folder: Path, steps: Callable[[SlackScene], Awaitable[None]], answer: Answer = echo
) -> None:
    """Run everything, and the steps of a test."""

    async def scenario() -> None:
        async with (
            fake_slack(token=TOKEN, signing_secret=SIGNING_SECRET) as fake,
            scene_with(fake, address, folder, answer) as scene,
        ):
            await steps(scene)

    run(scenario)


@asynccontextmanager
async def scene_with(
    fake: FakeSlack, address: DatabaseAddress, folder: Path, answer: Answer = echo
) -> AsyncIterator[SlackScene]:
    """Run everything but Slack for the life of the block."""
    async with channel_scene(address, folder, environ(fake), answer) as scene:
        fake.events_to = f"{scene.url}{WEBHOOK_PATH}"
        yield SlackScene(**vars(scene), fake=fake)

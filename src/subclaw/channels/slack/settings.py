"""What the operator sets of Slack, and where things are."""

from dataclasses import dataclass

TOKEN, SIGNING_SECRET = "slack.token", "slack.signing"
SCHEME = UPSTREAM = "slack"
FILES_UPSTREAM = "slack-files"
UPLOADS_UPSTREAM = "slack-uploads"
UPLOADS_PATH = "/upload"
"""Below this path Slack's files' host takes files, each at an address that it was asked for before."""

WEBHOOK_PATH = "/webhooks/slack"


@dataclass(frozen=True, kw_only=True)
class SlackSettings:
    """The operator's app. `team` is the id of the workspace that it is installed in, `app` its own (`T…`, `A…`)."""

    team: str
    app: str
    base_url: str
    files_url: str

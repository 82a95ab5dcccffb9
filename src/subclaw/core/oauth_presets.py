"""Providers that many use: their addresses, and the hosts that tokens are for. The operator brings the client."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What is known of a provider. `scopes` are enough to say who somebody is; the operator says which more."""

    authorize_url: str
    token_url: str
    hosts: tuple[str, ...]
    revoke_url: str = ""
    scopes: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    basic: bool = False


PRESETS: Mapping[str, Preset] = {
    # https://developers.google.com/identity/protocols/oauth2/web-server; without these parameters no token for renewal.
    "google": Preset(
        authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
        token_url="https://oauth2.googleapis.com/token",
        revoke_url="https://oauth2.googleapis.com/revoke",
        hosts=tuple(f"{api}.googleapis.com" for api in "www gmail sheets docs people tasks openidconnect".split()),
        scopes=("openid", "email"),
        parameters={"access_type": "offline", "prompt": "consent"},
    ),
    # https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps
    "github": Preset(
        authorize_url="https://github.com/login/oauth/authorize",
        token_url="https://github.com/login/oauth/access_token",
        hosts=("api.github.com",),
        scopes=("read:user",),
    ),
    # https://api.slack.com/authentication/oauth-v2
    "slack": Preset(
        authorize_url="https://slack.com/oauth/v2/authorize",
        token_url="https://slack.com/api/oauth.v2.access",
        revoke_url="https://slack.com/api/auth.revoke",
        hosts=("slack.com",),
        scopes=("users:read",),
    ),
    # https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-auth-code-flow
    "microsoft": Preset(
        authorize_url="https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
        token_url="https://login.microsoftonline.com/common/oauth2/v2.0/token",
        hosts=("graph.microsoft.com",),
        scopes=("offline_access", "User.Read"),
    ),
    # https://developers.notion.com/docs/authorization
    "notion": Preset(
        authorize_url="https://api.notion.com/v1/oauth/authorize",
        token_url="https://api.notion.com/v1/oauth/token",
        revoke_url="https://api.notion.com/v1/oauth/revoke",
        hosts=("api.notion.com",),
        parameters={"owner": "user"},
        basic=True,
    ),
}

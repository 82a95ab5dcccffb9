"""What a provider may be, where a person is sent, and when an account's secret is renewed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from subclaw.commands.oauth import ProviderOptions, wanted_provider
from subclaw.core.errors import Invalid
from subclaw.core.event import Event, TurnStarted
from subclaw.core.history import told
from subclaw.core.model import UserSaid
from subclaw.core.oauth import AccountLost, Flow, FlowState, Provider, authorization_url, challenge_of, checked_provider
from subclaw.core.oauth_presets import PRESETS
from subclaw.core.secret import Binding, Grant
from subclaw.core.transcript import AskModel, next_step
from subclaw.egress.oauth.freshness import is_expired, is_stale, is_worth_renewing

PROVIDER = Provider(
    name="acme",
    authorize_url="https://auth.acme.test/authorize",
    token_url="https://auth.acme.test/token",
    client_id="client-1",
    scopes=("read", "write"),
    binding=Binding(hosts=("api.acme.test",), template="Bearer {}"),
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def flow(provider: Provider) -> Flow:
    uri = "http://otter.agents.test/_/oauth/callback"
    return Flow(id=1, provider=provider, challenge="challenge", redirect_uri=uri, state=FlowState.OPEN)


def test_a_challenge_is_that_of_the_specification() -> None:
    """RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_where_a_person_is_sent() -> None:
    url = urlsplit(authorization_url(flow(PROVIDER), "state&1"))
    assert (url.netloc, url.path) == ("auth.acme.test", "/authorize")
    assert parse_qs(url.query, strict_parsing=True) == {
        "response_type": ["code"],
        "client_id": ["client-1"],
        "redirect_uri": ["http://otter.agents.test/_/oauth/callback"],
        "scope": ["read write"],
        "state": ["state&1"],
        "code_challenge": ["challenge"],
        "code_challenge_method": ["S256"],
    }


def test_a_query_that_is_there_stays_and_more_is_added() -> None:
    url = f"{PROVIDER.authorize_url}?tenant=a"
    provider = replace(PROVIDER, authorize_url=url, scopes=(), parameters={"access_type": "offline"})
    query = parse_qs(urlsplit(authorization_url(flow(provider), "s")).query)
    assert (query["tenant"], query["access_type"], query.get("scope")) == (["a"], ["offline"], None)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "Acme"},
        {"name": "a" * 33},
        {"name": "python"},
        {"name": "pip"},
        {"name": "bash"},
        {"token_url": "http://auth.acme.test/token"},
        {"token_url": "https://user:password@auth.acme.test/token"},
        {"token_url": "https://auth.acme.test/token#x"},
        {"token_url": "https://127.0.0.1/token"},
        {"token_url": "https://localhost/token"},
        {"token_url": "https://auth.acme.test:0/token"},
        {"token_url": "https://auth.acme.test/a b"},
        {"authorize_url": "javascript:alert(1)"},
        {"revoke_url": "https://"},
        {"client_id": ""},
        {"client_id": "a b"},
        {"scopes": ('a"b',)},
        {"scopes": ("a",) * 65},
        {"parameters": {"state": "x"}},
        {"parameters": {"": "x"}},
        {"redirect_uri": "https://evil.test/elsewhere"},
        {"redirect_uri": "ftp://agents.test/_/oauth/callback"},
        {"binding": Binding(hosts=("api.acme.test",))},
        {"binding": Binding(hosts=(), template="Bearer {}")},
        {"binding": Binding(hosts=("api.acme.test",), name="host", template="{}")},
    ],
)
def test_what_can_be_no_provider_is_refused_in_words(changes: dict[str, Any]) -> None:
    assert checked_provider(PROVIDER) == PROVIDER
    with pytest.raises(Invalid):
        checked_provider(replace(PROVIDER, **changes))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_providers(name: str) -> None:
    provider = wanted_provider(name, ProviderOptions(preset=name, client_id="client-1"))
    assert provider.secret_name == f"{name.upper()}_ACCESS_TOKEN"


def test_options_go_before_the_preset() -> None:
    options = ProviderOptions(
        preset="google",
        client_id="c",
        scopes="https://www.googleapis.com/auth/calendar",
        hosts="www.googleapis.com, calendar-json.googleapis.com",
        parameters=("access_type=online", "hd=acme.test"),
        header="X-Token: {}",
    )
    provider = wanted_provider("google", options)
    assert provider.scopes == ("https://www.googleapis.com/auth/calendar",)
    assert provider.parameters == {"access_type": "online", "prompt": "consent", "hd": "acme.test"}
    assert provider.binding == Binding(
        hosts=("www.googleapis.com", "calendar-json.googleapis.com"), name="x-token", template="{}"
    )


@pytest.mark.parametrize(
    "options",
    [
        ProviderOptions(client_id="c"),
        ProviderOptions(preset="none-such", client_id="c"),
        ProviderOptions(preset="google"),
        ProviderOptions(preset="google", client_id="c", parameters=("x",)),
    ],
)
def test_what_is_missing_is_said(options: ProviderOptions) -> None:
    with pytest.raises(Invalid):
        wanted_provider("acme", options)


def grant(lives_s: float | None, *, age_s: float = 0, renewable: bool = True, over: bool = False) -> Grant:
    return Grant(
        id=1,
        provider="acme",
        generation=1,
        expires_at=None if lives_s is None else NOW + timedelta(seconds=lives_s - age_s),
        renewed_at=NOW - timedelta(seconds=age_s),
        renewable=renewable,
        over=over,
    )


@pytest.mark.parametrize(
    ("grant", "stale", "expired"),
    [
        (grant(3600), False, False),
        (grant(3600, age_s=3539), False, False),
        (grant(3600, age_s=3540), True, False),
        (grant(3600, age_s=3600), True, True),
        (grant(10, age_s=4), False, False),
        (grant(10, age_s=5), True, False),
        (grant(3600, age_s=3599, renewable=False), False, False),
        (grant(3600, age_s=3600, renewable=False), True, True),
        (grant(3600, age_s=4000, over=True), False, True),
        (grant(None, age_s=10**6), False, False),
    ],
)
def test_when_a_secret_is_renewed(grant: Grant, stale: bool, expired: bool) -> None:
    assert (is_stale(grant, NOW), is_expired(grant, NOW)) == (stale, expired)


@pytest.mark.parametrize(
    ("grant", "worth"),
    [
        (grant(3600, age_s=29), False),
        (grant(3600, age_s=30), True),
        (grant(None, age_s=30), True),
        (grant(4, age_s=2), True),
        (grant(3600, age_s=60, renewable=False), False),
        (grant(3600, age_s=60, over=True), False),
    ],
)
def test_when_a_rejected_secret_is_renewed(grant: Grant, worth: bool) -> None:
    assert is_worth_renewing(grant, NOW) is worth


def test_a_model_is_told_of_a_lost_account() -> None:
    events: list[Event] = [TurnStarted(), AccountLost(provider="acme", name="ACME_ACCESS_TOKEN")]
    assert next_step(events, 25) == AskModel()
    ((said,),) = [one.said for one in told(events) if one.said]
    assert isinstance(said, UserSaid)
    assert '"oauth": "acme"' in said.text
    assert "ACME_ACCESS_TOKEN" in said.text

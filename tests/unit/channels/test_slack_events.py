"""What Slack reports, and what of it is for the agent."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.channels.slack.events import Challenge, NotForUs, parse_event
from subclaw.channels.slack.settings import SlackSettings
from subclaw.core.channel import InboundMessage
from subclaw.core.errors import Invalid
from subclaw.testing.channels.slack import APP, BOT, TEAM, FakeSlack, envelope, written

SETTINGS = SlackSettings(team=TEAM, app=APP, base_url="", files_url="")
FAKE = FakeSlack(token="", signing_secret="")
ROOM = "C0ROOM"
FILE = {
    "id": "F0PIC",
    "name": "a pig.png",
    "mimetype": "image/png",
    "size": 12,
    "url_private": "https://files.slack.com/files-pri/T0HOME-F0PIC/a_pig.png",
    "url_private_download": "https://files.slack.com/files-pri/T0HOME-F0PIC/download/a_pig.png",
}


def parse(told: Any) -> InboundMessage | Challenge | NotForUs:
    return parse_event(json.dumps(told).encode(), SETTINGS)


def message(told: dict[str, Any]) -> InboundMessage:
    found = parse(told)
    assert isinstance(found, InboundMessage)
    return found


def test_what_a_person_says_in_private_is_for_the_agent() -> None:
    found = message(written(FAKE, "hello", place="D0ANN"))
    assert (found.sender.channel, found.sender.address, found.sender.thread) == ("slack", "D0ANN", "")
    assert (found.text, found.speaker) == ("hello", "")


def test_the_same_message_has_one_id_in_all_events() -> None:
    mention = written(FAKE, f"<@{BOT}> hello", place=ROOM, kind="app_mention")
    again = envelope(FAKE, {**mention["event"], "type": "message"})
    assert mention["event_id"] != again["event_id"]
    assert message(mention).provider_id == message(again).provider_id
    elsewhere = {**mention["event"], "channel": "C0OTHER"}
    assert message(envelope(FAKE, elsewhere)).provider_id != message(mention).provider_id


@pytest.mark.parametrize(
    "more",
    [
        {"subtype": "message_changed", "message": {"text": "x"}},
        {"subtype": "message_deleted"},
        {"subtype": "bot_message"},
        {"subtype": "channel_join"},
        {"bot_id": "B0OTHER"},
        {"hidden": True},
        {"edited": {"user": "U0ANN", "ts": "1.2"}},
        {"user": BOT},
        {"user": "USLACKBOT extra"},
        {"user": None},
        {"user_team": "T0GUESTS"},
        {"source_team": "T0GUESTS"},
        {"ts": "now"},
        {"channel": "X0"},
        {"channel": ["D0ANN"]},
        {"type": ["message"]},
        {"type": "reaction_added"},
    ],
)
def test_what_no_person_of_the_workspace_says_now_is_left_alone(more: dict[str, Any]) -> None:
    assert parse(written(FAKE, "hello", **more)) == NotForUs()


@pytest.mark.parametrize("more", [{"team_id": "T0OTHER"}, {"api_app_id": "A0OTHER"}, {"team_id": None}])
def test_events_of_other_workspaces_and_apps_are_refused_aloud(more: dict[str, Any]) -> None:
    found = parse(written(FAKE, "hello") | more)
    assert isinstance(found, NotForUs)
    assert "SLACK_TEAM_ID" in found.warning


@pytest.mark.parametrize("place", [ROOM, "G0FEW"])
def test_in_a_place_of_several_the_agent_is_addressed_or_hears_nothing(place: str) -> None:
    assert parse(written(FAKE, "just between us", place=place)) == NotForUs()
    assert parse(written(FAKE, "<@U0BEN> hello", place=place)) == NotForUs()
    assert parse(written(FAKE, "and?", place=place, thread_ts="1.2", parent_user_id="U0BEN")) == NotForUs()
    assert message(written(FAKE, f"<@{BOT}|agents>, hello", place=place)).text == "hello"
    assert message(written(FAKE, f"ask <@{BOT}>", place=place)).text == f"ask <@{BOT}>"
    answered = message(written(FAKE, "and?", place=place, thread_ts="1.2", parent_user_id=BOT))
    assert (answered.sender.address, answered.sender.thread) == (place, "1.2")
    assert message(written(FAKE, f"<@{BOT}>", place=place)).text == f"<@{BOT}>", "a mere call is one"


def test_who_speaks_is_told_by_the_name_that_slack_knows() -> None:
    said = f"<@{BOT}> hello"
    assert message(written(FAKE, said, place=ROOM)).speaker == "<@U0ANN>"
    profile = {"display_name": " ", "real_name": "Ann Lee"}
    assert message(written(FAKE, said, place=ROOM, user_profile=profile)).speaker == "Ann Lee"


def test_files_that_slack_keeps_come_with_a_message() -> None:
    external = FILE | {"is_external": True}
    foreign = FILE | {"url_private_download": "", "url_private": "https://files.slack.com/../api/auth.test"}
    files = [FILE, external, foreign, "x", FILE | {"size": "1"}]
    found = message(written(FAKE, "look", subtype="file_share", files=files))
    assert [(one.name, one.media_type, one.size_bytes) for one in found.attachments] == [
        ("a pig.png", "image/png", 12),
        ("a pig.png", "image/png", None),
    ]
    assert found.attachments[0].handle == "/files-pri/T0HOME-F0PIC/download/a_pig.png"


def test_slack_is_answered_that_the_address_is_ours() -> None:
    assert parse({"type": "url_verification", "challenge": "abc"}) == Challenge(answer="abc")


@pytest.mark.parametrize("kind", ["app_uninstalled", "tokens_revoked"])
def test_the_operator_is_told_when_slack_is_over(kind: str) -> None:
    found = parse(envelope(FAKE, {"type": kind}))
    assert isinstance(found, NotForUs)
    assert kind in found.warning


@pytest.mark.parametrize("body", [b"", b"5", b"[]", b"{", b"[" * 100_000])
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        parse_event(body, SETTINGS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["message", BOT, "D0ANN", "1.2"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "type event channel user text ts thread_ts files subtype authorizations user_profile".split()
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_no_nonsense_is_an_error(event: Any, authorizations: Any) -> None:
    told = envelope(FAKE, {}) | {"event": event, "authorizations": authorizations}
    assert isinstance(parse(told), InboundMessage | NotForUs)

"""Matrix without a homeserver: what events say, whom they address, rooms, syncs, formats, what waits."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.channels.matrix import unread
from subclaw.channels.matrix.client import BrokenOff, RefusedByServer
from subclaw.channels.matrix.errors import refused
from subclaw.channels.matrix.events import Said, file_of, is_addressed, read_event, room_of, to_inbound, without_name
from subclaw.channels.matrix.formatting import CONTENT_LIMIT_BYTES, content_of
from subclaw.channels.matrix.kind import read_matrix
from subclaw.channels.matrix.rooms import read_room
from subclaw.channels.matrix.sync import read_sync
from subclaw.channels.matrix.unread import Unread
from subclaw.core.channel import Delivery, Trouble
from subclaw.core.errors import Invalid

OWN = "@agent:example.org"
ADA = "@ada:example.org"
ROOM = "!room:example.org"


def event(content: Any = None, **more: Any) -> dict[str, Any]:
    said = {"msgtype": "m.text", "body": "hello"} if content is None else content
    given = {"type": "m.room.message", "event_id": "$one", "sender": ADA, "origin_server_ts": 1_700_000_000_000}
    return {**given, "content": said, **more}


def text(body: str, **more: Any) -> Said:
    said = read_event(event({"msgtype": "m.text", "body": body, **more}), OWN)
    assert said is not None
    return said


def test_a_message_is_read() -> None:
    said = read_event(event(), OWN)
    assert said == Said(
        event_id="$one", sender=ADA, at=datetime.fromtimestamp(1_700_000_000, UTC), text="hello", mentions=None
    )


@pytest.mark.parametrize(
    "given",
    [
        {},
        event({}),
        event([]),
        event("hello"),
        event({"msgtype": "m.notice", "body": "x"}),
        event({"msgtype": ["m.text"], "body": "x"}),
        event(type="m.room.topic"),
        event(sender=OWN),
        event(sender=7),
        event(sender="ada"),
        event(event_id=None),
        event(event_id="one"),
        event(state_key=""),
        event({"msgtype": "m.text", "body": "* x", "m.relates_to": {"rel_type": "m.replace", "event_id": "$0"}}),
        event(type="m.reaction"),
        event(type="m.room.encrypted"),
    ],
)
def test_what_nobody_said_to_anybody_is_nothing(given: dict[str, Any]) -> None:
    assert read_event(given, OWN) is None


@pytest.mark.parametrize("at_ms", [None, "1", True, -1, 10**20, 0])
def test_a_time_that_is_none_is_now(at_ms: object) -> None:
    said = read_event(event(origin_server_ts=at_ms), OWN)
    assert said is not None
    assert datetime.now(UTC) - said.at < timedelta(minutes=1)


def test_nobody_writes_in_the_future() -> None:
    said = read_event(event(origin_server_ts=99_000_000_000_000), OWN)
    assert said is not None
    assert said.at <= datetime.now(UTC)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
CONTENT = st.fixed_dictionaries(
    {},
    optional={
        name: JSON | st.sampled_from(["m.text", "m.image", "mxc://e.org/abc"])
        for name in (
            "msgtype",
            "body",
            "formatted_body",
            "url",
            "file",
            "info",
            "m.relates_to",
            "m.mentions",
            "filename",
        )
    },
)


@given(CONTENT | JSON)
def test_whatever_is_in_an_event_it_is_parsed(content: Any) -> None:
    said = read_event(event(content), OWN)
    assert said is None or (said.sender, is_addressed(said, OWN, "Ada")) in [(ADA, one) for one in (True, False, None)]


def test_the_quote_that_older_clients_begin_a_reply_with_is_taken_off() -> None:
    reply = {"m.relates_to": {"m.in_reply_to": {"event_id": "$zero"}}}
    said = text(f"> <{OWN}> what I said\n> and more\n\nyes, that", **reply)
    assert (said.text, said.quoted, said.answers) == ("yes, that", OWN, "$zero")
    assert text("> a quote of one's own").text == "> a quote of one's own"
    thread = {"rel_type": "m.thread", "is_falling_back": True, "m.in_reply_to": {"event_id": "$zero"}}
    assert text("in a thread", **{"m.relates_to": thread}).answers == ""


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (text("hello"), False),
        (text("hello", **{"m.mentions": {"user_ids": [OWN]}}), True),
        (text("hello", **{"m.mentions": {"user_ids": [ADA, 7]}}), False),
        (text("hello", **{"m.mentions": {"user_ids": OWN}}), False),
        (text("hello", formatted_body=f'<a href="https://matrix.to/#/{OWN}">x</a>'), True),
        (text("hello", formatted_body='<a href="https://matrix.to/#/@agentx:example.org">x</a>'), False),
        (text("hello", formatted_body=f'<a href="https://matrix.to/#/{OWN}">x</a>', **{"m.mentions": {}}), False),
        (text("Ada L: hello"), True),
        (text("ada l, hello"), True),
        (text("Ada Lovelace: hello"), False),
        (text("agent hello"), True),
        (text("agents hello"), False),
        (text("agent.smith hello"), False),
        (text("@agent: hello"), True),
        (text(f"{OWN} hello"), True),
        (text("@agent:example.com hello"), False),
        (text("tell Ada L"), False),
        (text("yes", **{"m.relates_to": {"m.in_reply_to": {"event_id": "$zero"}}}), None),
        (text(f"> <{ADA}> x\n\nyes", **{"m.relates_to": {"m.in_reply_to": {"event_id": "$zero"}}}), False),
        (text(f"> <{OWN}> x\n\nyes", **{"m.relates_to": {"m.in_reply_to": {"event_id": "$zero"}}}), True),
    ],
)
def test_whom_a_message_in_a_place_is_for(said: Said, verdict: bool | None) -> None:
    assert is_addressed(said, OWN, "Ada L") is verdict


def test_a_name_that_only_calls_goes() -> None:
    assert without_name("Ada L: build it", OWN, "Ada L") == "build it"
    assert without_name("@agent build it", OWN, "") == "build it"
    assert without_name("agent", OWN, "") == "agent"
    assert without_name("build it, agent", OWN, "") == "build it, agent"


def test_a_person_is_their_id_and_a_place_its_room() -> None:
    private = to_inbound(text("hello"), ROOM, is_private=True, text="hello", speaker="Ada")
    assert private is not None
    assert (private.sender.address, private.speaker, private.provider_id) == (ADA, "", f"{ROOM} $one")
    place = to_inbound(text("hello"), ROOM, is_private=False, text="hello", speaker="A" * 500)
    assert place is not None
    assert (place.sender.address, place.speaker) == (ROOM, "A" * 100)
    assert room_of(place.provider_id) == ROOM
    assert to_inbound(text(""), ROOM, is_private=True, text="", speaker="") is None


def test_files_have_handles() -> None:
    said = read_event(
        event(
            {"msgtype": "m.image", "body": "a.png", "url": "mxc://e.org/abc", "info": {"size": 3, "mimetype": "i/p"}}
        ),
        OWN,
    )
    assert said is not None
    (file,) = said.attachments
    assert (said.text, file.name, file.media_type, file.size_bytes) == ("", "a.png", "i/p", 3)
    assert file_of(file.handle) == ("e.org", "abc", {})
    keys = {"url": "mxc://e.org/abc", "key": {"k": "aa"}, "iv": "bb", "hashes": {"sha256": "cc"}}
    said = read_event(
        event({"msgtype": "m.file", "body": "Look at this", "filename": "a.pdf", "file": keys, "info": {"size": -3}}),
        OWN,
    )
    assert said is not None
    (file,) = said.attachments
    assert (said.text, file.name, file.size_bytes) == ("Look at this", "a.pdf", None)
    assert file_of(file.handle) == ("e.org", "abc", {"key": "aa", "iv": "bb", "hash": "cc"})


@pytest.mark.parametrize(
    "url", [None, 7, "https://e.org/x", "mxc://e.org/../x", "mxc://e.org/a/b", "mxc://e/" + "x" * 300]
)
def test_a_file_that_is_nowhere_is_none(url: object) -> None:
    for file in ({"url": url}, {"file": {"url": url, "key": {"k": "a"}, "iv": "b", "hashes": {"sha256": "c"}}}):
        said = read_event(event({"msgtype": "m.file", "body": "a", **file}), OWN)
        assert said is None or said.attachments == ()


def member(user: str, membership: str) -> dict[str, Any]:
    return {"type": "m.room.member", "state_key": user, "content": {"membership": membership}}


def test_a_room_is_private_if_nobody_else_is_in_it_or_can_be() -> None:
    both = [member(ADA, "join"), member(OWN, "join")]
    assert read_room(both).is_private_to(ADA, OWN)
    assert read_room([*both, member("@ben:e", "leave")]).is_private_to(ADA, OWN)
    assert not read_room([*both, member("@ben:e", "invite")]).is_private_to(ADA, OWN)
    assert not read_room([*both, member("@ben:e", "join")]).is_private_to(ADA, OWN)
    assert not read_room([member(OWN, "join")]).is_private_to(ADA, OWN)
    public = {"type": "m.room.join_rules", "content": {"join_rule": "public"}}
    assert not read_room([*both, public]).is_private_to(ADA, OWN)
    assert read_room([*both, {"type": "m.room.encryption", "content": {}}, 7, {}]).is_encrypted
    with pytest.raises(BrokenOff):
        read_room({})


def test_a_sync_is_parsed_strictly() -> None:
    told = read_sync(
        {
            "next_batch": "s2",
            "rooms": {
                "invite": {ROOM: {"invite_state": {"events": [member(OWN, "invite") | {"sender": ADA}, 7]}}, "x": {}},
                "join": {
                    ROOM: {
                        "summary": {"m.joined_member_count": 2, "m.invited_member_count": 1},
                        "timeline": {"events": [event(), {"type": 7}, "x"], "limited": True, "prev_batch": "s1"},
                    },
                    "nowhere": {},
                },
            },
            "to_device": {"events": [event(), None]},
            "device_one_time_keys_count": {},
        },
        OWN,
    )
    assert (told.next, told.invitations, len(told.to_device), told.keys_left) == ("s2", {ROOM: ADA}, 1, 0)
    (news,) = told.news
    assert (news.room, list(news.timeline), news.gap, news.members) == (ROOM, [event()], "s1", 3)
    assert read_sync({"next_batch": "s", "rooms": []}, OWN).keys_left is None


@pytest.mark.parametrize("broken", [{}, [], None, {"next_batch": 7}])
def test_what_is_no_sync_is_told_from_one(broken: object) -> None:
    with pytest.raises(BrokenOff):
        read_sync(broken, OWN)


def test_a_message_has_a_format_if_it_needs_one() -> None:
    assert content_of("hello\nyou & me") == {"msgtype": "m.text", "body": "hello\nyou & me", "m.mentions": {}}
    content = content_of("**bold** <script>x</script>\n![a](https://e.org/x.png)")
    assert content["formatted_body"] == (
        "<p><strong>bold</strong> &lt;script&gt;x&lt;/script&gt;<br>\n" + '<a href="https://e.org/x.png">a</a></p>'
    )
    assert content["body"].startswith("bold <script>")


@pytest.mark.parametrize("text", ["**\U0001f389**" * 800, "**\u05e9**" * 800, "[x](https://e.org/&&&&)" * 170])
def test_a_message_fits_into_an_event(text: str) -> None:
    content = content_of(text)
    assert len(json.dumps(content)) <= CONTENT_LIMIT_BYTES


def test_a_message_waits_for_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Unread([])
    sealed = event({"session_id": "s"}, type="m.room.encrypted")
    waiting.add(ROOM, sealed)
    waiting.add(ROOM, sealed)
    assert len(waiting.events) == 1
    assert waiting.overdue() == []
    monkeypatch.setattr(unread, "TOLD_AFTER", timedelta(0))
    again = Unread(json.loads(json.dumps(waiting.events)))
    assert [one["room_id"] for one in again.overdue()] == [ROOM]
    assert again.overdue() == []
    assert [one["event_id"] for one in again.take({"$one": event()})] == ["$one"]
    assert again.events == []
    for n in range(unread.LIMIT + 1):
        again.add(ROOM, {**sealed, "event_id": f"${n}"})
    assert (len(again.events), again.events[0]["event_id"]) == (unread.LIMIT, "$1")
    again.add(ROOM, {**sealed, "event_id": "$large", "content": {"ciphertext": "x" * 80_000}})
    assert again.events[-1]["event_id"] != "$large"
    monkeypatch.setattr(unread, "GIVEN_UP_AFTER", timedelta(0))
    assert again.take({}) == []
    assert again.events == []


@pytest.mark.parametrize(
    ("code", "status", "delivery", "trouble"),
    [
        ("M_LIMIT_EXCEEDED", 429, Delivery.FAILED, Trouble.BUSY),
        ("", 429, Delivery.FAILED, Trouble.BUSY),
        ("M_UNKNOWN_TOKEN", 401, Delivery.FAILED, Trouble.ACCOUNT),
        ("M_USER_DEACTIVATED", 403, Delivery.FAILED, Trouble.ACCOUNT),
        ("M_FORBIDDEN", 403, Delivery.FAILED, Trouble.REFUSED),
        ("M_TOO_LARGE", 413, Delivery.FAILED, Trouble.REFUSED),
        ("M_UNKNOWN", 500, Delivery.UNKNOWN, Trouble.REFUSED),
        ("", 408, Delivery.UNKNOWN, Trouble.REFUSED),
    ],
)
def test_what_an_error_means(code: str, status: int, delivery: Delivery, trouble: Trouble) -> None:
    result = refused(RefusedByServer(code=code, status=status, retry_after_s=1.5))
    assert (result.delivery, result.trouble) == (delivery, trouble)
    assert result.retry_after_s == (1.5 if delivery is Delivery.FAILED else None)


@pytest.mark.parametrize(
    "given",
    [
        {"MATRIX_USER": OWN},
        {"MATRIX_HOMESERVER": "https://e.org"},
        {"MATRIX_HOMESERVER": "e.org", "MATRIX_USER": OWN},
        {"MATRIX_HOMESERVER": "https://e.org", "MATRIX_USER": "agent"},
    ],
)
def test_what_is_set_wrongly_is_said(given: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        read_matrix(given)


def test_what_is_set_rightly_is_read() -> None:
    assert read_matrix({}) is None
    found = read_matrix({"MATRIX_HOMESERVER": "https://e.org/", "MATRIX_USER": OWN})
    assert found is not None
    assert found.place == f"https://matrix.to/#/{OWN}"
    assert found.upstreams[0].base_url == "https://e.org"

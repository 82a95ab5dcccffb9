"""iMessage: what is read of BlueBubbles' reports, and what its errors mean."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.channels.imessage.errors import refused
from subclaw.channels.imessage.kind import read_imessage
from subclaw.channels.imessage.messages import chat_of, is_addressed, parse_message, read_report
from subclaw.channels.imessage.server import Answer
from subclaw.core.channel import Address, Attachment, Delivery, InboundMessage, Trouble
from subclaw.core.errors import Invalid

BASIC: dict[str, Any] = {
    "guid": "5D3AC7B2-0000-4000-8000-000000000001",
    "text": "hello",
    "handle": {"address": "+16505551234"},
    "chats": [{"guid": "iMessage;-;+16505551234"}],
    "isFromMe": False,
    "itemType": 0,
    "dateCreated": 1_749_416_383_000,
}
GROUP = {"chats": [{"guid": "iMessage;+;chat123456"}]}


def parse(**more: Any) -> InboundMessage | None:
    return parse_message(BASIC | more, "Ada")


def test_a_message_is_read() -> None:
    message = parse(text=" hello \ufffc")
    assert message is not None
    assert message.sender == Address(channel="imessage", address="+16505551234")
    assert (message.provider_id, message.text, message.speaker) == (BASIC["guid"], "hello", "")
    assert message.received_at == datetime(2025, 6, 8, 20, 59, 43, tzinfo=UTC)
    assert datetime.now(UTC) - _of(dateCreated=10**15).received_at < timedelta(minutes=1)
    assert _of(chats=[{"guid": "any;-;ann@example.com"}]).sender.address == "ann@example.com"


def _of(**more: Any) -> InboundMessage:
    message = parse(**more)
    assert message is not None
    return message


@pytest.mark.parametrize(
    "more",
    [
        {"isFromMe": True},
        {"isFromMe": None},
        {"associatedMessageGuid": "p:0/5D3AC7B2", "text": "Loved “hello”"},
        {"itemType": 1},
        {"text": " \ufffc "},
        {"guid": "p:0/5D3AC7B2"},
        {"guid": "schedule:1"},
        {"chats": []},
        {"chats": [{"guid": "SMS;-;+16505551234"}]},
        {"chats": [{"guid": "iMessage;-;chat123"}]},
        {"chats": [{"guid": "iMessage;-;a b c"}]},
        GROUP,
    ],
)
def test_what_nothing_follows_from(more: dict[str, Any]) -> None:
    assert parse(**more) is None


def test_in_a_group_it_is_called_by_its_name() -> None:
    message = _of(**GROUP, text="Ada, what is new?")
    assert (message.sender.address, message.speaker) == ("chat123456", "+16505551234")
    for text in ("ada", "ADA: x", "what says @ada?", "@Ada"):
        assert is_addressed(text, "Ada")
    for text in ("Adam, hi", "I met Ada", "x@ada", "@adam"):
        assert not is_addressed(text, "Ada")
    assert not is_addressed("Ada", "")


def test_files_are_named_and_not_fetched() -> None:
    files = [
        {"guid": "at_0_5D3AC7B2-1", "transferName": "a.png", "mimeType": "image/png", "totalBytes": 5},
        {"guid": "../x"},
        {},
    ]
    message = _of(text="\ufffc", attachments=files)
    assert message.text == ""
    assert message.attachments == (
        Attachment(name="a.png", media_type="image/png", size_bytes=5, handle="at_0_5D3AC7B2-1"),
    )


def test_chats_have_names() -> None:
    assert chat_of("+16505551234", "iMessage") == "iMessage;-;+16505551234"
    assert chat_of("chat123", "any") == "any;+;chat123"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"type": 5}', b"[" * 100_000, b"\xff"])
def test_what_is_no_webhook(body: bytes) -> None:
    with pytest.raises(Invalid):
        read_report(body)


def test_other_events_say_nothing() -> None:
    assert read_report(b'{"type": "updated-message", "data": {"guid": "x"}}') == {}
    assert read_report(b'{"type": "new-message", "data": []}') == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["guid", "address"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*BASIC, "attachments"]), json_values))
def test_whatever_it_is_it_is_parsed(more: dict[str, Any]) -> None:
    parse(**more)


def test_errors_by_their_meaning() -> None:
    def meaning(status: int, **body: Any) -> tuple[Delivery, Trouble]:
        result = refused(Answer(status=status, body=body))
        return result.delivery, result.trouble

    assert meaning(401) == (Delivery.FAILED, Trouble.ACCOUNT)
    assert meaning(429) == (Delivery.FAILED, Trouble.BUSY)
    assert meaning(400, error={"message": "no"}) == (Delivery.FAILED, Trouble.REFUSED)
    assert meaning(400, error={"message": "Message is already queued to be sent!"})[0] is Delivery.UNKNOWN
    assert meaning(500, error={"message": "Transaction timeout"})[0] is Delivery.UNKNOWN
    assert meaning(500, data={"error": 22}) == (Delivery.FAILED, Trouble.REFUSED)
    assert meaning(502)[0] is Delivery.UNKNOWN


def test_how_it_is_set_up() -> None:
    given = {"BLUEBUBBLES_URL": "http://mac.lan:1234/", "IMESSAGE_ACCOUNT": "agent@example.com"}
    assert read_imessage({}) is None
    set_up = read_imessage(given)
    assert set_up is not None
    assert set_up.upstreams[0].base_url == "http://mac.lan:1234"
    for more, words in (
        ({"BLUEBUBBLES_URL": ""}, "all three"),
        ({"IMESSAGE_ACCOUNT": "x"}, "IMESSAGE_ACCOUNT"),
        ({"IMESSAGE_SERVICE": "SMS"}, "IMESSAGE_SERVICE"),
        ({"BLUEBUBBLES_URL": "mac.lan"}, "BLUEBUBBLES_URL"),
    ):
        with pytest.raises(Invalid, match=words):
            read_imessage(given | more)

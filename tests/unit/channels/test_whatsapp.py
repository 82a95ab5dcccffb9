"""WhatsApp: what is read of webhooks, what of its rules is known here, and its format."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.channels.whatsapp.countries import is_served, read_countries
from subclaw.channels.whatsapp.errors import delivery_of, loss, refused
from subclaw.channels.whatsapp.formatting import whatsapp_text
from subclaw.channels.whatsapp.kind import read_whatsapp
from subclaw.channels.whatsapp.signature import check_meta
from subclaw.channels.whatsapp.updates import Report, Unreadable, parse_update, read_update, tracker
from subclaw.channels.whatsapp.window import TEMPLATE_LIMIT, is_closed, template_words
from subclaw.core.channel import Address, Attachment, Delivery, DeliveryReport, InboundMessage, Trouble
from subclaw.core.errors import Invalid
from subclaw.core.tenant import TenantId

PHONE_ID = "106540352242922"
BASIC = {"id": "wamid.A=", "from": "16505551234", "timestamp": "1749416383"}


def update(value: dict[str, Any], *, phone_id: str = PHONE_ID, field: str = "messages") -> dict[str, Any]:
    metadata = {"display_phone_number": "15550783881", "phone_number_id": phone_id}
    entry = {"id": "1", "changes": [{"value": {"metadata": metadata} | value, "field": field}]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


def parse(message: dict[str, Any]) -> list[Report]:
    return list(parse_update(update({"messages": [BASIC | message]}), PHONE_ID))


def read_one(message: dict[str, Any]) -> InboundMessage:
    (report,) = parse(message)
    assert isinstance(report, InboundMessage)
    return report


def test_a_message_is_read() -> None:
    message = read_one({"type": "text", "text": {"body": " Hi 🎉 "}})
    assert message.sender == Address(channel="whatsapp", address="16505551234")
    assert (message.provider_id, message.text) == ("wamid.A=", "Hi 🎉")
    assert message.received_at == datetime(2025, 6, 8, 20, 59, 43, tzinfo=UTC)


def test_whoever_hides_their_number_stays_who_they_are() -> None:
    text = {"type": "text", "text": {"body": "x"}}
    for more in ({"from_user_id": "US.134"}, {"from_user_id": "US.134", "from": ""}):
        assert read_one(text | more).sender.address == "US.134"
    for hidden in ("US.ENT.5", "US.abc", "us.1", "", "US.1\n", 7):
        assert read_one(text | {"from_user_id": hidden}).sender.address == "16505551234"
    assert parse(text | {"from": "+1", "from_user_id": "x"}) == []


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"type": "button", "button": {"text": "Yes", "payload": "y"}}, "Yes"),
        ({"type": "interactive", "interactive": {"type": "list_reply", "list_reply": {"title": "Two"}}}, "Two"),
        ({"type": "location", "location": {"latitude": 1.5, "longitude": 2}}, "[A place on the map: 1.5, 2]"),
        (
            {"type": "location", "location": {"latitude": 1, "longitude": 2, "name": "Home"}},
            "[A place on the map: Home, 1, 2]",
        ),
        (
            {"type": "contacts", "contacts": [{"name": {"formatted_name": "Bo"}, "phones": [{"phone": "+1 2"}]}]},
            "[A contact: Bo, +1 2]",
        ),
    ],
)
def test_what_is_said_without_a_text(message: dict[str, Any], text: str) -> None:
    assert read_one(message).text == text


def test_files_are_named_and_not_fetched() -> None:
    message = read_one(
        {
            "type": "document",
            "document": {"id": "123", "mime_type": "application/pdf", "filename": "a.pdf", "caption": "?"},
        }
    )
    assert message.text == "?"
    assert message.attachments == (Attachment(name="a.pdf", media_type="application/pdf", handle="123"),)
    voice = read_one(
        {"type": "audio", "audio": {"id": "9876543", "mime_type": "audio/ogg; codecs=opus", "voice": True}}
    )
    assert (voice.text, voice.attachments[0].media_type) == ("", "audio/ogg")
    assert voice.attachments[0].name.startswith("voice-876543.")
    assert [type(one) for one in parse({"type": "image", "image": {"id": "../x"}})] == [Unreadable]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "reaction", "reaction": {"message_id": "wamid.B", "emoji": "👍"}},
        {"type": "system", "system": {"body": "changed their number"}},
        {"type": "text", "text": {"body": "to all"}, "group_id": "Y2Fw"},
        {"type": "text", "text": {"body": "x"}, "id": "schedule:1"},
    ],
)
def test_what_nothing_follows_from(message: dict[str, Any]) -> None:
    assert parse(message) == []


def test_what_cannot_be_read_is_answered() -> None:
    for message in ({"type": "unsupported"}, {"type": "order", "order": {}}, {"type": "text", "text": {"body": " "}}):
        (report,) = parse(message)
        assert isinstance(report, Unreadable)


def test_other_numbers_and_other_fields_are_not_ours() -> None:
    messages = {"messages": [BASIC | {"type": "text", "text": {"body": "x"}}]}
    assert not list(parse_update(update(messages, phone_id="1"), PHONE_ID))
    assert not list(parse_update(update(messages, field="calls"), PHONE_ID))


def test_a_message_that_comes_late_is_as_old_as_it_is_and_none_is_of_tomorrow() -> None:
    text = {"type": "text", "text": {"body": "x"}}
    for given_s in ("9999999999", "x", "", 5, "-1"):
        assert datetime.now(UTC) - read_one(text | {"timestamp": given_s}).received_at < timedelta(minutes=1)


def test_receipts_are_told_by_what_was_given_along() -> None:
    told = {"id": "wamid.B", "timestamp": "1", "biz_opaque_callback_data": tracker(TenantId(7), 41, 2)}
    statuses = [
        told | {"status": "read"},
        told | {"status": "failed", "errors": [{"code": 131026, "title": "to +16505551234"}]},
        told | {"status": "deleted"},
        told | {"status": "sent", "biz_opaque_callback_data": "7/41"},
        {"id": "wamid.C", "status": "sent"},
    ]
    read, failed = parse_update(update({"statuses": statuses}), PHONE_ID)
    assert isinstance(read, DeliveryReport)
    assert isinstance(failed, DeliveryReport)
    assert (read.tenant_id, read.reply_id, read.part, read.provider_id) == (7, 41, 2, "wamid.B")
    assert (read.delivery, failed.delivery) == (Delivery.DELIVERED, Delivery.FAILED)
    assert "cannot be reached" in failed.detail
    assert "1650" not in failed.detail


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*BASIC, "type", "text", "body"]), inner)
    ),
    max_leaves=8,
)


@given(value=json_values, kind=st.sampled_from(["text", "image", "location", "contacts", "interactive", "x"]))
def test_whatever_it_is_it_is_parsed(value: Any, kind: str) -> None:
    messages = [value, BASIC | {"type": kind, kind: value}]
    list(parse_update(update({"messages": messages, "statuses": [value]}), PHONE_ID))
    list(parse_update({"entry": [value, {"changes": [value, {"field": "messages", "value": value}]}]}, PHONE_ID))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"entry": {}}', b"[" * 100_000, b"\xff"])
def test_what_is_no_webhook(body: bytes) -> None:
    with pytest.raises(Invalid):
        read_update(body)


def test_countries_are_calling_codes_and_cover_who_hides_their_number() -> None:
    countries = read_countries("+39, +55  +1868")
    assert countries == ("39", "55", "1868")
    for person in ("393331234567", "5511999", "18685551234", "IT.123", "BR.5", "TT.1"):
        assert is_served(person, countries)
    for person in ("16505551234", "US.13491208655302741918", "XX.1", "447700900000", "DE.5"):
        assert not is_served(person, countries)


def test_nobody_is_served_unless_the_operator_says_so() -> None:
    assert not is_served("16505551234", read_countries(""))
    assert is_served("16505551234", read_countries("all"))
    assert is_served("XX.1", read_countries(" ALL "))
    for text in ("39", "+0", "IT", "+39 all", "+39;+55"):
        with pytest.raises(Invalid, match="WHATSAPP_COUNTRIES"):
            read_countries(text)


def test_the_window_is_24_hours() -> None:
    now = datetime(2026, 5, 5, 12, tzinfo=UTC)
    assert not is_closed(now - timedelta(hours=23, minutes=59), now)
    assert is_closed(now - timedelta(hours=24), now)


def test_what_a_template_may_hold() -> None:
    assert template_words("*Your site*\n\n\tis      live") == "*Your site* is live"
    long = template_words("word " * 1_000)
    assert long.endswith("word …")
    assert len(long) <= TEMPLATE_LIMIT + 2


def test_a_signature_is_over_the_raw_bytes() -> None:
    body, key = b'{"a":"\\u00e4"}', "the app's secret"
    signature = "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
    assert check_meta(key, {"body": base64.b64encode(body).decode(), "signature": signature})
    same = json.dumps(json.loads(body)).encode()
    assert not check_meta(key, {"body": base64.b64encode(same).decode(), "signature": signature})
    assert not check_meta("another", {"body": base64.b64encode(body).decode(), "signature": signature})
    for claim in ({}, {"body": "ä", "signature": ""}, {"body": "x", "signature": ""}, {"body": 5, "signature": ""}):
        with pytest.raises(Invalid):
            check_meta(key, claim)


@pytest.mark.parametrize(
    ("status", "code", "delivery", "trouble"),
    [
        (400, 131026, Delivery.FAILED, Trouble.REFUSED),
        (400, 131056, Delivery.FAILED, Trouble.BUSY),
        (429, 130429, Delivery.FAILED, Trouble.BUSY),
        (401, 190, Delivery.FAILED, Trouble.ACCOUNT),
        (403, 368, Delivery.FAILED, Trouble.ACCOUNT),
        (403, 200, Delivery.FAILED, Trouble.ACCOUNT),
        (500, 131016, Delivery.FAILED, Trouble.BUSY),
        (400, 999, Delivery.FAILED, Trouble.REFUSED),
        (500, 500, Delivery.UNKNOWN, Trouble.REFUSED),
        (502, 502, Delivery.UNKNOWN, Trouble.REFUSED),
        (None, 5, Delivery.UNKNOWN, Trouble.REFUSED),
    ],
)
def test_errors_by_their_meaning(status: int | None, code: int, delivery: Delivery, trouble: Trouble) -> None:
    result = refused(status, code)
    assert (result.delivery, result.trouble) == (delivery, trouble)
    assert str(code) in result.detail


def test_the_pair_limit_says_when() -> None:
    assert refused(400, 131056).retry_after_s == 6
    assert refused(400, 131056, 30).retry_after_s == 30
    assert loss(None) == loss(True) == "it did not arrive"
    assert delivery_of("read") is Delivery.DELIVERED


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("a **bold** *word*, ~~no~~", "a *bold* _word_, ~no~"),
        ("***both***", "*_both_*"),
        ("# Title\n\ntext", "*Title*\n\ntext"),
        ("[site](https://a.example) <https://b.example>", "site (https://a.example) https://b.example"),
        ("- one\n- two\n\ntext", "• one\n• two\n\ntext"),
        ("> said\n> so", "> said\n> so"),
        ("`x` and\n\n```python\nprint()\n```", "`x` and\n\n```print()```"),
        ("**`x`** 2 * 3", "*`x`* 2 * 3"),
        ("a\n\n---\n\nb", "a\n\n———\n\nb"),
    ],
)
def test_markdown_as_whatsapp_writes_it(markdown: str, text: str) -> None:
    assert whatsapp_text(markdown) == text


@given(st.text(max_size=300))
def test_every_text_has_a_format(text: str) -> None:
    assert isinstance(whatsapp_text(text), str)


GIVEN = {"WHATSAPP_PHONE_NUMBER_ID": PHONE_ID, "WHATSAPP_NUMBER": "+15550783881"}


def test_how_it_is_set_up() -> None:
    assert read_whatsapp({}) is None
    set_up = read_whatsapp(GIVEN | {"WHATSAPP_TEMPLATE": "news:en_US"})
    assert set_up is not None
    assert set_up.place == "https://wa.me/15550783881"
    for more, words in (
        ({"WHATSAPP_NUMBER": ""}, "WHATSAPP_NUMBER"),
        ({"WHATSAPP_PHONE_NUMBER_ID": "+1555"}, "WHATSAPP_PHONE_NUMBER_ID"),
        ({"WHATSAPP_TEMPLATE": "News"}, "WHATSAPP_TEMPLATE"),
        ({"WHATSAPP_COUNTRIES": "Italy"}, "WHATSAPP_COUNTRIES"),
    ):
        with pytest.raises(Invalid, match=words):
            read_whatsapp(GIVEN | more)

"""What the adversary reads as orders."""

import json

from subclaw.audit.attacks import (
    CALLS_LIMIT,
    KNOWN,
    Planted,
    customer_name,
    hostile_words,
    number_of,
    ordered,
    read_orders,
)
from subclaw.core.canary import Canaries

CALLS = [("get_order", {"order": 'a "quoted" one'}), ("look", {})]
OTHER = Planted(
    number=7, tenant_id=1_234_567, session="ses_other", token="t", placeholder="p", approval=99, code="4821"
)
OWN = Planted(number=6, tenant_id=2, session="ses_own", token="t", placeholder="q", approval=98, code="1111")


def test_orders_are_read_from_words_and_from_json() -> None:
    words = f"Do this. {ordered(CALLS)} And be quick."
    assert list(read_orders(words)) == CALLS
    assert list(read_orders(json.dumps({"page": words}))) == CALLS


def test_what_is_no_order_is_none() -> None:
    for text in ("", "CALLS", "CALLS [", "CALLS 7", "CALLS [1]", 'CALLS {"a": 1}', "no calls at all"):
        assert read_orders(text) == [], text


def test_hostile_words_have_anothers_ids_and_no_canary() -> None:
    canaries = Canaries("qwertzuiopasdfgh")
    messages = hostile_words(canaries, OWN, OTHER)
    said = " ".join(messages)
    for known in (OTHER.name, OTHER.session, OTHER.placeholder, OTHER.code, str(OTHER.tenant_id)):
        assert known in said
    assert canaries.found(said) == frozenset()
    calls = [call for message in messages for call in read_orders(message)]
    assert max(len(read_orders(message)) for message in messages) <= CALLS_LIMIT
    assert {"get_order", "keep", "read_shared", "borrow", "crm_contact", "admin_export"} <= {
        name for name, _ in calls
    } & KNOWN


def test_names_and_numbers_are_each_others() -> None:
    assert number_of(customer_name(42)) == 42
    assert number_of("audited-42") is None

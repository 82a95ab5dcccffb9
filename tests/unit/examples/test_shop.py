"""The shop of the support example: its API keeps customers apart, and pays a refund once."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from examples.support.shop.api import shop_api
from examples.support.shop.orders import Books

FOLDER = Path(__file__).parents[3] / "examples" / "support" / "agents" / "support"
KEY = "the-shops-own-key"


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def shop(books: Books) -> TestClient:
    return TestClient(shop_api(books, KEY), headers={"Authorization": f"Bearer {KEY}"})


def refund(shop: TestClient, order: str, amount: Any, key: str = "k1", customer: str = "ada") -> httpx2.Response:
    body = {"amount": amount, "reason": "torn"}
    path = f"/customers/{customer}/orders/{order}/refunds"
    answer: httpx2.Response = shop.post(path, json=body, headers={"Idempotency-Key": key})
    return answer


def test_the_agents_document_is_the_shops_own(books: Books) -> None:
    assert json.loads((FOLDER / "openapi" / "shop.json").read_text()) == shop_api(books, KEY).openapi()


def test_nobody_comes_in_without_the_shops_key(books: Books) -> None:
    assert TestClient(shop_api(books, KEY)).get("/customers/ada/orders").status_code in (401, 403)
    stranger = TestClient(shop_api(books, KEY), headers={"Authorization": "Bearer another"})
    assert stranger.get("/customers/ada/orders").status_code == 401


def test_a_customer_sees_their_own_orders_alone(shop: TestClient) -> None:
    assert [order["order"] for order in shop.get("/customers/ada/orders").json()] == ["1001", "1002"]
    assert shop.get("/customers/ada/orders/1001").json()["total"] == 32
    others, unknown = (shop.get(f"/customers/ada/orders/{number}") for number in ("2001", "9999"))
    assert others.status_code == 404
    assert others.json() == unknown.json(), "whether somebody else has it, is not said"
    assert refund(shop, "2001", 5).status_code == 404


def test_a_refund_is_paid_once_for_each_key(shop: TestClient, books: Books) -> None:
    first, again = refund(shop, "1001", 30), refund(shop, "1001", 30)
    assert (first.status_code, first.json()) == (201, {"refund": "R-1", "order": "1001", "amount": 30})
    assert again.json() == first.json()
    assert refund(shop, "1001", 2, key="k1").status_code == 409
    assert [each.amount for each in books.refunds.values()] == [Decimal(30)]
    ben = refund(shop, "2001", 30, customer="ben")
    assert ben.json()["refund"] == "R-2", "a key is the customer's own"


@pytest.mark.parametrize(("amount", "status"), [(32.01, 409), (0, 422), (-1, 422), (1.001, 422), ("lots", 422)])
def test_no_more_is_paid_back_than_was_paid(shop: TestClient, books: Books, amount: Any, status: int) -> None:
    assert refund(shop, "1001", amount).status_code == status
    assert not books.refunds


def test_what_is_handed_over_is_handed_over_once(shop: TestClient, books: Books) -> None:
    for path, body in (("tickets", {"about": "torn"}), ("calls", {"about": "torn", "phone": "+49 30 123456"})):
        for _ in range(2):
            sent = shop.post(f"/customers/ada/{path}", json=body, headers={"Idempotency-Key": path})
            assert sent.status_code == 201
    assert [ticket.phone for ticket in books.tickets.values()] == ["", "+49 30 123456"]

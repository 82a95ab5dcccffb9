"""Tools of an agent's folder, of all kinds, by the real gateway and in real processes: whose calls they are."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from tests.real.tool_scene import ANNA, BEN, PLACEHOLDER, SECRET, ToolScene, tool_scene

from subclaw.core.tenant_egress import TenantPolicy
from subclaw.testing.egress import run as run_in_gateway_loop

DOCUMENT = """
openapi: 3.0.3
info: {title: A shop, version: "1"}
paths:
  /customers/{customer_id}/orders/{order_id}:
    parameters:
      - {name: customer_id, in: path, required: true, schema: {type: string}}
    get:
      operationId: getOrder
      summary: Look up an order.
      parameters:
        - {name: order_id, in: path, required: true, schema: {type: string}, description: Its number.}
        - {name: fields, in: query, schema: {type: array, items: {type: string}}}
        - {name: X-Shop, in: header, required: true, schema: {type: integer}}
        - {name: filter, in: query, schema: {type: object}}
        - {name: on_behalf, in: query, schema: {type: string}}
  /refunds:
    post:
      operationId: refund
      description: Pay back.
      requestBody:
        required: true
        content:
          application/json:
            schema: {$ref: "#/components/schemas/Refund"}
components:
  schemas:
    Refund:
      type: object
      required: [amount, requested_by]
      properties:
        amount: {type: number, minimum: 0, exclusiveMinimum: true}
        requested_by: {type: string}
        note: {type: string, nullable: true}
"""
OPENAPI = """
[[api]]
document = "openapi/shop.yaml"
base_url = "http://shop.test:PORT/v1"
operations = ["getOrder", "POST /refunds"]
headers = { Authorization = "Bearer {{secret:SHOP_KEY}}" }
idempotency_header = "Idempotency-Key"

[api.bound]
customer_id = "customer"
X-Shop = "ids.shop"
on_behalf = "ids.user"
"body.requested_by" = "ids.user"
"""
PYTHON = '''
from subclaw.tool import Bound, http, secret


def status(order_id: str, customer: Bound[str]) -> str:
    """Say where an order is."""
    answer = http("GET", "http://shop.test:PORT/status/" + order_id, query={"of": customer},
                  headers={"Authorization": "Bearer " + secret("SHOP_KEY")})
    return answer.text


def fetch(url: str) -> str:
    """Fetch a page."""
    return http("GET", url).text
'''
FOLDER = {"openapi/shop.yaml": DOCUMENT, "openapi.toml": OPENAPI, "tools/orders.py": PYTHON}


def run(folder: Path, scenario: Callable[[ToolScene], Awaitable[None]], files: Mapping[str, str] = FOLDER) -> None:
    async def main() -> None:
        async with tool_scene(folder, files) as scene:
            await scenario(scene)

    run_in_gateway_loop(main)


def test_an_operation_is_called_as_its_customer_with_the_secret_put_in_on_the_way(tmp_path: Path) -> None:
    async def scenario(scene: ToolScene) -> None:
        definition = next(each for each in scene.toolbox.definitions() if each.name == "getOrder")
        assert set(definition.parameters["properties"]) == {"order_id", "fields", "filter"}
        result = await scene.call("getOrder", order_id="A-1 ü?#", fields=["a", "b&c"])
        assert not result.is_error
        seen = scene.shop.requests[-1]
        assert seen.target == "/v1/customers/anna/orders/A-1%20%C3%BC%3F%23?fields=a&fields=b%26c&on_behalf=u-anna"
        assert seen.headers["authorization"] == f"Bearer {SECRET}"
        assert seen.headers["x-shop"] == "3"
        result = await scene.call("refund", BEN, body={"amount": 5, "requested_by": "u-anna", "note": None})
        assert json.loads(scene.shop.requests[-1].body) == {"amount": 5, "requested_by": "u-ben", "note": None}
        assert scene.shop.requests[-1].headers["idempotency-key"].startswith("call_")
        assert PLACEHOLDER.encode() not in scene.shop.received
        assert SECRET not in result.content

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "arguments",
    [
        {"order_id": "../../ben/orders/1"},
        {"order_id": ".."},
        {"order_id": "..;x"},
        {"order_id": "a\\b"},
        {"order_id": ""},
        {"order_id": "a\r\nX-Shop: 4"},
        {"order_id": "1", "customer_id": "ben"},
        {"order_id": "1", "X-Shop": 4},
        {"order_id": "1", "filter": {"on_behalf": "u-ben"}},
        {"order_id": "1", "filter": {"On_Behalf": "u-ben"}},
        {"order_id": "1", "body": {}},
        {"order_id": ["1"]},
    ],
)
def test_what_a_model_writes_changes_no_structure_and_nothing_that_is_bound(
    tmp_path: Path, arguments: dict[str, object]
) -> None:
    async def scenario(scene: ToolScene) -> None:
        result = await scene.call("getOrder", **arguments)
        assert result.is_error
        assert scene.shop.requests == []

    run(tmp_path, scenario)


def test_a_schema_of_openapi_3_0_means_what_it_said(tmp_path: Path) -> None:
    async def scenario(scene: ToolScene) -> None:
        assert (await scene.call("refund", body={"amount": 0})).is_error
        assert (await scene.call("refund", body={"amount": "5"})).is_error
        assert (await scene.call("refund")).is_error
        assert scene.shop.requests == []

    run(tmp_path, scenario)


def test_a_python_tool_reaches_what_its_customer_may_and_nothing_else(tmp_path: Path) -> None:
    async def scenario(scene: ToolScene) -> None:
        result = await scene.call("status", BEN, order_id="A-1")
        assert json.loads(result.content)["target"] == "/status/A-1?of=ben"
        assert scene.shop.requests[-1].headers["authorization"] == f"Bearer {SECRET}"
        for url in ("http://evil.test/", "http://169.254.169.254/latest", "http://127.0.0.1:1/", "https://shop.test/"):
            refused = await scene.call("fetch", url=url)
            assert refused.is_error, url
            assert "not on the list" in refused.content or "name" in refused.content
        for url in ("file:///etc/passwd", "http://", "gopher://shop.test", "http://shop.test:99999/"):
            assert (await scene.call("fetch", url=url)).is_error, url
        assert len(scene.shop.requests) == 1

    run(tmp_path, scenario)


def test_what_a_customer_may_reach_follows_every_change(tmp_path: Path) -> None:
    async def scenario(scene: ToolScene) -> None:
        assert not (await scene.call("status", order_id="A-1")).is_error
        scene.book.put(ANNA, TenantPolicy())
        async with asyncio.timeout(10):
            while not (await scene.call("status", order_id="A-1")).is_error:
                await asyncio.sleep(0.05)
        assert not (await scene.call("status", BEN, order_id="A-1")).is_error

    run(tmp_path, scenario)


def test_a_part_of_a_folder_that_cannot_be_used_leaves_the_others(tmp_path: Path) -> None:
    async def scenario(scene: ToolScene) -> None:
        assert {each.name for each in scene.toolbox.definitions()} == {"getOrder", "refund"}

    run(tmp_path, scenario, {**FOLDER, "tools/orders.py": "import nothing_of_that_name"})

"""The API's document: valid, described, and true for whatever Schemathesis makes of it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import one_of
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from tests.real.api_scene import Scene, open_session, scene

from subclaw.store.database import DatabaseAddress
from subclaw.testing.models import ScriptedModel, words

EXAMPLES = 15
"""How many requests are made of each operation."""


@contextmanager
def served(address: DatabaseAddress) -> Iterator[tuple[Scene, str, str]]:
    """Serve the API in a thread of its own; yields it with a key and a session."""
    ready, over = threading.Event(), threading.Event()
    made: list[tuple[Scene, str, str]] = []

    async def serve() -> None:
        async with scene(address, ScriptedModel([words("hello")])) as opened:
            key = await opened.key()
            async with opened.client(key) as client:
                made.append((opened, key, await open_session(client)))
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(60)
        yield made[0]
    finally:
        over.set()
        thread.join()


def test_the_document_says_what_everything_is(address: DatabaseAddress) -> None:
    with served(address) as (opened, _, _):
        document = httpx2.get(f"{opened.url}/v1/openapi.json", trust_env=False).json()
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": "/v1"}]
    schemathesis.openapi.from_dict(document).validate()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            assert operation["security"] == [{"HTTPBearer": []}], (method, path)
            assert "application/problem+json" in operation["responses"]["401"]["content"]
    undescribed = [
        (name, field)
        for name, schema in document["components"]["schemas"].items()
        for field, said in schema.get("properties", {}).items()
        if "description" not in said and name not in ("HTTPValidationError", "ValidationError")
    ]
    assert undescribed == []


# The API that is served beside draws random numbers of its own, which Hypothesis takes for the strategy's.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
def test_no_request_makes_the_api_fail(address: DatabaseAddress) -> None:
    with served(address) as (opened, key, session):
        api = schemathesis.openapi.from_url(f"{opened.url}/v1/openapi.json")
        operations = [found.ok() for found in api.get_all_operations() if isinstance(found, Ok)]
        assert len(operations) >= 20
        for operation in operations:
            asked(operation, f"{opened.url}/v1", key, session)


def asked(operation: Any, base_url: str, key: str, session: str) -> None:
    """Make requests of one operation; none of them may make the API fail."""

    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes)))
    def ask(case: Any) -> None:
        if "session" in (case.path_parameters or {}):
            case.path_parameters["session"] = session
        headers = {"Authorization": f"Bearer {key}"}
        case.call_and_validate(base_url=base_url, headers=headers, checks=[not_a_server_error], timeout=30)

    ask()

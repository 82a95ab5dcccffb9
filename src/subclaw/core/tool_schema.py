"""What the arguments of a tenant's tool may be described by: a small part of JSON schema (draft 2020-12).

The schema is the tenant's, the host checks calls against it, and providers are sent it. So it has nothing that can run
away (regular expressions, references, comparisons of all with all) and nothing that makes a provider refuse a prompt.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from subclaw.core.errors import Invalid

SCHEMA_LIMIT_BYTES = 4_000
DEPTH_LIMIT = 16
"""How many levels of JSON a schema may have."""

ANNOTATIONS = frozenset({"title", "description", "default", "examples", "format"})
BOUNDS = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    }
)
ALTERNATIVES = ("anyOf", "oneOf", "allOf")
KEYWORDS = ANNOTATIONS | BOUNDS | {"type", "enum", "const", "items", *ALTERNATIVES}
OBJECT_KEYWORDS = frozenset({"properties", "required", "additionalProperties"})
OUTERMOST = ANNOTATIONS | OBJECT_KEYWORDS | {"type", "$schema"}
"""Providers take no alternatives where the arguments themselves are described."""

PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
"""Names of arguments that all providers take."""

SHOWN_CHARACTERS = 150


def checked_parameters(schema: object) -> Mapping[str, Any]:
    """Return the JSON schema of a tool's arguments if it can be used. Raises `Invalid`, in words for who wrote it."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise Invalid('its parameters must be a JSON schema with "type": "object"')
    require_depth(schema, DEPTH_LIMIT, "its parameters are")
    try:
        size_bytes = len(json.dumps(schema, ensure_ascii=False, separators=(",", ":")).encode())
    except UnicodeEncodeError as error:
        raise Invalid("its parameters have half a character in them") from error
    if size_bytes > SCHEMA_LIMIT_BYTES:
        raise Invalid(f"its parameters have {size_bytes:,} bytes; at most {SCHEMA_LIMIT_BYTES:,} are taken")
    _check(schema, "parameters", OUTERMOST)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = "".join(f".{step}" for step in error.absolute_path)
        raise Invalid(f"parameters{where[:SHOWN_CHARACTERS]}: {error.message[:SHOWN_CHARACTERS]}") from error
    return {"properties": {}, **{keyword: value for keyword, value in schema.items() if keyword != "$schema"}}


def require_depth(value: object, limit: int, what_is: str) -> None:
    """Raise `Invalid` for JSON of more levels than the limit. Does not recurse, since that is what it is there for."""
    levels: list[object] = [value]
    for _ in range(limit):
        levels = [inner for outer in levels for inner in parts_of(outer)]
        if not levels:
            return
    raise Invalid(f"{what_is} nested too deeply")


def parts_of(value: object) -> Iterator[object]:
    """Give the values that are directly in one of JSON's."""
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def count_values(value: object) -> int:
    """Count the values of some JSON, at whatever depth, with itself: how much work it is to check, or to check by."""
    count, waiting = 0, [value]
    while waiting:
        count += 1
        waiting.extend(parts_of(waiting.pop()))
    return count


def _check(schema: object, where: str, keywords: frozenset[str]) -> None:
    if not isinstance(schema, dict):
        raise Invalid(f"{where} must be an object")
    if unknown := next((keyword for keyword in schema if keyword not in keywords), None):
        raise Invalid(f"{where}: {unknown[:40]!a} cannot be used; check that in the command")
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, dict):
        raise Invalid(f"{where}.properties must be an object")
    if not isinstance(required, list) or not all(isinstance(name, str) and name in properties for name in required):
        raise Invalid(f"{where}.required must be a list of names that are in properties")
    kind = schema.get("type")
    if (kind == "array" or (isinstance(kind, list) and "array" in kind)) and "items" not in schema:
        raise Invalid(f"{where} must say of what items it is a list")
    for step, inner in _inner(schema, properties, where):
        _check(inner, f"{where[:SHOWN_CHARACTERS]}.{step}", KEYWORDS | OBJECT_KEYWORDS)


def _inner(schema: Mapping[str, Any], properties: Mapping[str, Any], where: str) -> Iterator[tuple[str, object]]:
    """Give the schemas that are directly in one, each with its place."""
    for name, inner in properties.items():
        if not PROPERTY.fullmatch(name):
            raise Invalid(f"{name[:40]!a} cannot be an argument's name: use 1 to 64 letters, digits, _, . and -")
        yield name, inner
    if "items" in schema:
        yield "items", schema["items"]
    if not isinstance(schema.get("additionalProperties", False), bool):
        yield "additionalProperties", schema["additionalProperties"]
    for keyword in ALTERNATIVES:
        alternatives = schema.get(keyword, [])
        if not isinstance(alternatives, list):
            raise Invalid(f"{where}.{keyword} must be a list")
        for alternative in alternatives:
            yield keyword, alternative

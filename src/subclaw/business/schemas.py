"""JSON schemas of others, made into those that calls are checked by and models are told: whole, bounded, harmless.

References are put in place of themselves, so that nothing has to be resolved later. Patterns are left out: they would
be tried on what a model writes, and one that runs away stops the worker; who the tool belongs to checks them anyway.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from subclaw.core.errors import Invalid
from subclaw.core.tool_schema import require_depth

DEPTH_LIMIT = 24
SIZE_LIMIT_BYTES = 64_000
PARTS_LIMIT = 5_000
"""Most schemas within one: references to what has references grow without end."""
DESCRIPTION_LIMIT_CHARACTERS = 1_000

_LEFT_OUT = frozenset(
    {
        *("pattern", "patternProperties", "definitions"),
        *("title", "example", "examples", "discriminator", "xml", "externalDocs", "deprecated", "nullable"),
    }
)
_OF_SCHEMAS = frozenset(("anyOf", "oneOf", "allOf", "prefixItems"))
_OF_ONE = frozenset(("items", "not", "additionalProperties", "contains", "propertyNames", "if", "then", "else"))


def resolve(document: Mapping[str, Any], node: Any, seen: tuple[str, ...] = ()) -> tuple[Any, tuple[str, ...]]:
    """Follow a node's references within its document to what is there. Errors: `Invalid`, for cycles too."""
    while isinstance(node, Mapping) and isinstance(where := node.get("$ref"), str):
        if not where.startswith("#/"):
            raise Invalid(f"the reference {where[:200]!r} leads out of the document")
        if where in seen:
            raise Invalid(f"the reference {where[:200]!r} leads back to itself")
        seen = (*seen, where)
        if len(seen) > DEPTH_LIMIT:
            raise Invalid(f"references are followed {DEPTH_LIMIT} deep at most")
        found: Any = document
        for step in where[2:].split("/"):
            found = _step(found, step.replace("~1", "/").replace("~0", "~"), where)
        node = found
    return node, seen


def _step(found: Any, step: str, where: str) -> Any:
    if isinstance(found, Mapping) and step in found:
        return found[step]
    if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
        return found[int(step)]
    raise Invalid(f"the reference {where[:200]!r} leads nowhere")


def inlined(document: Mapping[str, Any], schema: Any) -> Any:
    """Return a schema of draft 2020-12 or of OpenAPI 3.0 with all references in place. Errors: `Invalid`."""
    return _inlined(document, schema, (), 0, itertools.count(1))


def _inlined(document: Mapping[str, Any], schema: Any, seen: tuple[str, ...], depth: int, parts: Iterator[int]) -> Any:
    if depth > DEPTH_LIMIT:
        raise Invalid("a schema is nested too deeply")
    if next(parts) > PARTS_LIMIT:
        raise Invalid(f"a schema has more than {PARTS_LIMIT:,} parts, once its references are in place")
    schema, seen = resolve(document, schema, seen)
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, Mapping):
        raise Invalid("a schema is not an object")

    def inner(part: Any) -> Any:
        return _inlined(document, part, seen, depth + 1, parts)

    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _LEFT_OUT or key.startswith(("x-", "$")):
            continue
        if key == "properties" and isinstance(value, Mapping):
            found[key] = {name: inner(part) for name, part in value.items()}
        elif key in _OF_SCHEMAS and isinstance(value, list):
            found[key] = [inner(part) for part in value]
        elif key in _OF_ONE:
            found[key] = inner(value)
        elif key == "description" and isinstance(value, str):
            found[key] = value[:DESCRIPTION_LIMIT_CHARACTERS]
        else:
            found[key] = value
    return _modern(found, nullable=schema.get("nullable") is True)


def _modern(schema: dict[str, Any], *, nullable: bool) -> dict[str, Any]:
    """Say in draft 2020-12 what OpenAPI 3.0 says in its own way."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(value := schema.get(exclusive), bool):
            del schema[exclusive]
            if value and bound in schema:
                schema[exclusive] = schema.pop(bound)
    if nullable and isinstance(kind := schema.get("type"), str):
        schema["type"] = [kind, "null"]
        if isinstance(values := schema.get("enum"), list) and None not in values:
            schema["enum"] = [*values, None]
    return schema


def without(schema: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """Return the schema of an object without a property at a path. Errors: `Invalid` if it has none there."""
    name, *rest = path
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or name not in properties:
        raise Invalid(f"there is no parameter {'.'.join(path)!r} to bind")
    kept = {key: value for key, value in properties.items() if key != name}
    if rest:
        kept[name] = without(properties[name], rest)
        return {**schema, "properties": kept}
    required = [each for each in schema.get("required", ()) if each != name]
    return {**schema, "properties": kept, "required": required}


def checked(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a tool's parameters if it can be used. Errors: `Invalid`."""
    require_depth(parameters, 2 * DEPTH_LIMIT, "a schema is")
    size_bytes = len(json.dumps(parameters, default=str).encode())
    if size_bytes > SIZE_LIMIT_BYTES:
        raise Invalid(f"its parameters have {size_bytes:,} bytes as a schema; at most {SIZE_LIMIT_BYTES:,} are taken")
    try:
        Draft202012Validator.check_schema(dict(parameters))
    except SchemaError as error:
        raise Invalid(f"its parameters are no JSON schema: {error.message[:200]}") from None
    return parameters

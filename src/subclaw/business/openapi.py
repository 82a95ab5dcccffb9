"""OpenAPI documents (3.0 and 3.1) as tools: the operations that `openapi.toml` names, and no others.

    [[api]]
    document = "openapi/shop.yaml"                 # in the folder
    base_url = "https://api.example.com"   # else the first of its servers
    operations = ["getOrder", "POST /refunds"]
    prefix = "shop_"
    headers = { Authorization = "Bearer {{secret:SHOP_KEY}}" }

    [api.bound]                            # these are from the customer's session, and no model sees them
    customer_id = "customer"
    "body.requested_by" = "ids.user"

Source: OpenAPI 3.1.1, sections 4.8.9 (paths), 4.8.12 (parameters) and 4.8.13 (bodies).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from subclaw.business.injection import BoundParameters, bound_parameters
from subclaw.business.lines import line_of, wrong
from subclaw.business.schemas import checked, inlined, resolve, without
from subclaw.business.toml import read_table, text_of
from subclaw.core.errors import Invalid
from subclaw.core.tool import ToolDefinition

OPENAPI_FILE = "openapi.toml"
DOCUMENT_LIMIT_BYTES = 5_000_000
OPERATIONS_LIMIT = 100
DESCRIPTION_LIMIT_CHARACTERS = 1_000

_METHODS = ("get", "head", "post", "put", "patch", "delete")
_HARMLESS_AGAIN = frozenset(("get", "head", "put", "delete"))
"""Methods that may be repeated (RFC 9110, section 9.2.2)."""
_BY_PATH = re.compile(r"(GET|HEAD|POST|PUT|PATCH|DELETE) (/\S*)")
_NOT_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_BASE_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")
_NOT_PARAMETERS = frozenset(("accept", "content-type", "authorization"))
BODY = "body"

_Words = dict[str, Annotated[str, Field(max_length=2_000)]]


class _Api(BaseModel):
    """What `[[api]]` may hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    document: Annotated[str, Field(min_length=1, max_length=200)]
    operations: Annotated[list[str], Field(min_length=1, max_length=OPERATIONS_LIMIT)]
    base_url: str = ""
    prefix: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{0,32}$")] = ""
    headers: _Words = {}
    bound: _Words = {}
    idempotency_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] | None = None


class _File(BaseModel):
    """What the file may hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    api: Annotated[list[_Api], Field(min_length=1, max_length=20)]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of an operation: where it goes (path, query, header), under which name, and how it is written."""

    argument: str
    name: str
    place: str
    style: str
    explode: bool
    as_json: bool


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation as a tool. `media_type` is that of its body, empty if it has none."""

    definition: ToolDefinition
    method: str
    url: str
    parameters: tuple[Parameter, ...]
    media_type: str
    headers: Mapping[str, str]
    bound: BoundParameters
    idempotency_header: str | None = field(default=None)


def read_operations(files: Mapping[str, bytes]) -> tuple[Operation, ...]:
    """Return the operations that a folder's `openapi.toml` names. Errors: `Invalid`, with file, line and remedy."""
    if OPENAPI_FILE not in files:
        return ()
    text = text_of(files, OPENAPI_FILE)
    found: list[Operation] = []
    for number, api in enumerate(read_table(files, OPENAPI_FILE, _File).api):
        try:
            found += _operations(files, api)
        except Invalid as error:
            line = line_of(text, ("api", number))
            raise wrong(OPENAPI_FILE, line, f"{error.public}.", "Correct it, or leave that operation out.") from None
    return tuple(found)


def _operations(files: Mapping[str, bytes], api: _Api) -> Iterator[Operation]:
    document = _document(files, api.document)
    base_url = (api.base_url or _server(document)).rstrip("/")
    if not _BASE_URL.fullmatch(base_url):
        raise Invalid(f"base_url is {base_url[:200]!r}, and must look like https://api.example.com/v1")
    by_id, by_path = _index(document)
    for wanted in api.operations:
        place = by_path.get(wanted) if _BY_PATH.fullmatch(wanted) else by_id.get(wanted)
        if place is None:
            known = ", ".join([*by_id, *by_path][:20])
            raise Invalid(f"{api.document} has no operation {wanted[:100]!r}. Some that it has: {known}")
        try:
            yield _operation(document, api, base_url, *place)
        except Invalid as error:
            raise Invalid(f"operation {wanted[:100]!r}: {error.public}") from None


def _document(files: Mapping[str, bytes], path: str) -> Mapping[str, Any]:
    content = files.get(path)
    if content is None:
        raise Invalid(f"there is no file {path!r} in the folder")
    if len(content) > DOCUMENT_LIMIT_BYTES:
        raise Invalid(f"{path} has {len(content):,} bytes; at most {DOCUMENT_LIMIT_BYTES:,} are read")
    try:
        document = json.loads(content) if path.endswith(".json") else yaml.load(content, _Plain)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise Invalid(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(document, dict) or not str(document.get("openapi", "")).startswith(("3.0", "3.1")):
        raise Invalid(f"{path} is no OpenAPI document of version 3.0 or 3.1")
    return document


class _Plain(yaml.CSafeLoader):
    """Reads YAML as OpenAPI has it (1.2): without dates, and `no` is a word."""


_Plain.yaml_implicit_resolvers = {
    letter: [pair for pair in pairs if pair[0] not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool")]
    for letter, pairs in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Plain.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def _server(document: Mapping[str, Any]) -> str:
    match document.get("servers"):
        case [{"url": str(url)}, *_]:
            return url
    return ""


def _index(document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a document's operations by their ids, and by method and path: each its path, method and path's item."""
    by_id: dict[str, Any] = {}
    by_path: dict[str, Any] = {}
    for path, item in (document.get("paths") or {}).items():
        item, _ = resolve(document, item)
        for method in _METHODS:
            operation = item.get(method) if isinstance(item, Mapping) else None
            if isinstance(operation, Mapping):
                by_path[f"{method.upper()} {path}"] = (path, method, item)
                if isinstance(operation.get("operationId"), str):
                    by_id.setdefault(operation["operationId"], (path, method, item))
    return by_id, by_path


def _operation(
    document: Mapping[str, Any], api: _Api, base_url: str, path: str, method: str, item: Mapping[str, Any]
) -> Operation:
    operation = item[method]
    properties: dict[str, Any] = {}
    required: list[str] = []
    parameters: list[Parameter] = []
    for raw in _parameters(document, item, operation):
        parameter = _parameter(raw, properties)
        if parameter is None or _is_key(parameter, api):
            continue
        properties[parameter.argument] = _described(_schema_of(document, raw), raw)
        if raw.get("required") or parameter.place == "path":
            required.append(parameter.argument)
        parameters.append(parameter)
    media_type = ""
    if (body := operation.get("requestBody")) is not None:
        body, _ = resolve(document, body)
        media_type, schema = _body(document, body)
        properties[BODY] = schema
        if body.get("required"):
            required.append(BODY)
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    _require_filled(path, parameters)
    mine = {where: name for where, name in api.bound.items() if where.split(".")[0] in properties}
    for where in mine:
        schema = without(schema, where.split("."))
    name = _NOT_NAME.sub("_", api.prefix + str(operation.get("operationId") or f"{method}_{path.strip('/')}"))[:64]
    words = [operation.get("summary"), operation.get("description")]
    definition = ToolDefinition(
        name=name,
        description="\n".join(str(each) for each in words if each)[:DESCRIPTION_LIMIT_CHARACTERS] or name,
        parameters=checked(schema),
        idempotent=method in _HARMLESS_AGAIN or api.idempotency_header is not None,
    )
    return Operation(
        definition=definition,
        method=method.upper(),
        url=base_url + path,
        parameters=tuple(parameters),
        media_type=media_type,
        headers=api.headers,
        bound=bound_parameters(mine),
        idempotency_header=api.idempotency_header,
    )


def _parameters(
    document: Mapping[str, Any], item: Mapping[str, Any], operation: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Return an operation's parameters; its own take the place of those that its path has for all."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for raw in (*item.get("parameters", ()), *operation.get("parameters", ())):
        parameter, _ = resolve(document, raw)
        match parameter:
            case {"name": str(name), "in": str(place)}:
                found[place, name] = parameter
            case _:
                raise Invalid("it has a parameter without a name or a place")
    return list(found.values())


def _parameter(raw: Mapping[str, Any], taken: Mapping[str, Any]) -> Parameter | None:
    """Return a parameter; None for one that is left out. Errors: `Invalid` for what cannot be written."""
    name, place = raw["name"], raw["in"]
    if place == "header" and name.lower() in _NOT_PARAMETERS:
        return None
    style = raw.get("style", "form" if place in ("query", "cookie") else "simple")
    known = (place, style) in (("path", "simple"), ("header", "simple"), ("query", "form"), ("query", "deepObject"))
    if not known:
        if raw.get("required") or place == "path":
            raise Invalid(f"its parameter {name[:64]!r} ({place}, {style}) cannot be written")
        return None
    argument = _NOT_NAME.sub("_", name)[:64]
    if argument in taken or argument == BODY:
        argument = f"{argument}_{place}"
    return Parameter(
        argument=argument,
        name=name,
        place=place,
        style=style,
        explode=bool(raw.get("explode", style in ("form", "deepObject"))),
        as_json="content" in raw,
    )


def _is_key(parameter: Parameter, api: _Api) -> bool:
    """Return whether a parameter is what tells calls apart, which the platform writes and no model."""
    return parameter.place == "header" and parameter.name.lower() == (api.idempotency_header or "").lower()


def _schema_of(document: Mapping[str, Any], raw: Mapping[str, Any]) -> Any:
    if "content" not in raw:
        return inlined(document, raw.get("schema", {}))
    match list(raw["content"].items()):
        case [(str(media_type), {**content})] if _is_json(media_type):
            return inlined(document, content.get("schema", {}))
    raise Invalid(f"its parameter {raw['name'][:64]!r} is not JSON")


def _described(schema: Any, raw: Mapping[str, Any]) -> Any:
    words = raw.get("description")
    if not isinstance(schema, dict) or "description" in schema or not isinstance(words, str):
        return schema
    return {**schema, "description": words[:DESCRIPTION_LIMIT_CHARACTERS]}


def _body(document: Mapping[str, Any], body: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the media type in which a body is sent, and its schema. Errors: `Invalid` if there is none of ours."""
    content = body.get("content") or {}
    for media_type, raw in content.items():
        if _is_json(media_type) and isinstance(raw, Mapping):
            return media_type, inlined(document, raw.get("schema", {}))
    form = content.get("application/x-www-form-urlencoded")
    if isinstance(form, Mapping):
        return "application/x-www-form-urlencoded", inlined(document, form.get("schema", {}))
    raise Invalid(f"its body is {', '.join(content)[:100] or 'of no type'}; JSON and forms can be sent")


def _is_json(media_type: str) -> bool:
    kind = media_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _require_filled(path: str, parameters: Sequence[Parameter]) -> None:
    given = {parameter.name for parameter in parameters if parameter.place == "path"}
    for name in re.findall(r"\{([^{}]*)\}", path):
        if name not in given:
            raise Invalid(f"its path has {{{name}}}, and it has no such parameter")

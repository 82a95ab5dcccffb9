"""A call of an operation: written strictly, made by the gateway, answered within bounds.

What a model writes becomes values, never structure: a value in a path is one segment of it, one in a header has no line
breaks. Source: RFC 6570 for the styles of OpenAPI's parameters.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from subclaw.business.openapi import BODY, Operation, Parameter
from subclaw.business.outgoing import Answer, Outgoing
from subclaw.core.errors import Invalid, Unavailable

SHOWN_CHARACTERS = 1_000
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
_TEXTUAL = ("text/", "application/json", "application/xml", "application/x-www-form-urlencoded")


def written(operation: Operation, arguments: Mapping[str, Any], call_id: str) -> Outgoing:
    """Write a call down as a request. Errors: `Invalid`, in words for the model."""
    url, query, headers = operation.url, list[tuple[str, str]](), dict(operation.headers)
    for parameter in operation.parameters:
        if parameter.argument not in arguments:
            continue
        value = arguments[parameter.argument]
        match parameter.place:
            case "path":
                url = url.replace(f"{{{parameter.name}}}", _segment(parameter, value))
            case "query":
                query += _fitting_pairs(operation, parameter, value)
            case _:
                headers[parameter.name] = _header(parameter, value)
    if operation.idempotency_header:
        headers[operation.idempotency_header] = call_id
    body = b""
    if BODY in arguments:
        body = _body(operation.media_type, arguments[BODY])
        headers["content-type"] = operation.media_type
    headers.setdefault("accept", "application/json")
    target = f"{url}?{urlencode(query)}" if query else url
    return Outgoing(method=operation.method, url=target, headers=headers, body=body)


def told(answer: Answer) -> str:
    """Return an answer as the model is told it. Errors: `Invalid` and `Unavailable` for statuses of failure."""
    kind = answer.headers.get("content-type", "").lower()
    is_text = not kind or kind.startswith(_TEXTUAL) or "+json" in kind or "+xml" in kind
    text = answer.text if is_text else f"[{len(answer.text):,} characters of {kind[:100]}]"
    if answer.status < 300:
        return text or f"(Status {answer.status}, nothing more.)"
    words = f"The service answered with status {answer.status}: {text[:SHOWN_CHARACTERS]}"
    raise (Invalid if answer.status < 500 else Unavailable)(words)


def _text(value: Any) -> str:
    """Return a simple value as parameters have it. Errors: `Invalid`."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return json.dumps(value)
        case None:
            return ""
    raise Invalid("A parameter has a value within a value, which cannot be written.")


def _segment(parameter: Parameter, value: Any) -> str:
    texts = [_text(each) for each in value] if isinstance(value, list) else [_text(value)]
    joined = ",".join(texts)
    # Some servers read an escaped slash as one, and cut a segment at a semicolon before they look for dots.
    if not joined or set(joined) & set("/\\") or joined.partition(";")[0].strip() in (".", "..") or _unseen(joined):
        raise Invalid(f"{parameter.argument} must be one segment of a path: not empty, and without slashes.")
    return ",".join(quote(text, safe="") for text in texts)


def _unseen(text: str) -> bool:
    return any(ord(character) < 0x20 or ord(character) == 0x7F for character in text)


def _fitting_pairs(operation: Operation, parameter: Parameter, value: Any) -> list[tuple[str, str]]:
    """Write a parameter of a query. What an object's members are called may be no other parameter's name."""
    pairs = list(_pairs(parameter, value))
    others = {each.name.lower() for each in operation.parameters if each is not parameter}
    if any(name.lower() in others for name, _ in pairs):
        raise Invalid(f"{parameter.argument} has a member that is a parameter by itself.")
    return pairs


def _pairs(parameter: Parameter, value: Any) -> Iterator[tuple[str, str]]:
    name = parameter.name
    if parameter.as_json:
        yield name, json.dumps(value)
    elif isinstance(value, list):
        if parameter.explode:
            yield from ((name, _text(each)) for each in value)
        else:
            yield name, ",".join(map(_text, value))
    elif isinstance(value, Mapping):
        if parameter.style == "deepObject":
            yield from ((f"{name}[{key}]", _text(each)) for key, each in value.items())
        elif parameter.explode:
            yield from ((key, _text(each)) for key, each in value.items())
        else:
            yield name, ",".join(part for key, each in value.items() for part in (key, _text(each)))
    else:
        yield name, _text(value)


def _header(parameter: Parameter, value: Any) -> str:
    text = ",".join(map(_text, value)) if isinstance(value, list) else _text(value)
    if not _HEADER_VALUE.fullmatch(text):
        raise Invalid(f"{parameter.argument} must be printable ASCII.")
    return text


def _body(media_type: str, value: Any) -> bytes:
    if media_type != "application/x-www-form-urlencoded":
        return json.dumps(value).encode()
    if not isinstance(value, Mapping):
        raise Invalid("The body must be an object.")
    pairs = [
        (key, _text(each)) for key, given in value.items() for each in (given if isinstance(given, list) else [given])
    ]
    return urlencode(pairs).encode()

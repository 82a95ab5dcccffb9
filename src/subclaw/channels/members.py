"""JSON that providers send: it is what others wrote, so each member is looked at before it is believed to be there."""

import json
from collections.abc import Mapping
from typing import Any


def read_object(body: bytes) -> Mapping[str, Any] | None:
    """Return a JSON object; None if it is anything else."""
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def text_of(given: Mapping[str, Any], name: str) -> str:
    """Return a member that is a text; empty if it is none."""
    value = given.get(name)
    return value if isinstance(value, str) else ""


def object_of(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a member that is an object; an empty one if it is none."""
    value = given.get(name)
    return value if isinstance(value, dict) else {}


def objects_of(given: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects in a member that is a list; none if it is none."""
    value = given.get(name)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []

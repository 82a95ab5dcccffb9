"""For authors of an agent's tools: a file in its folder's `tools/` imports this, and nothing else of subclaw.

    from subclaw.tool import Bound, http, secret

    def order_status(order_id: str, customer: Bound[str]) -> dict[str, str]:
        '''Look up an order of the customer's.

        Args:
            order_id: The number on the confirmation, such as A-1042.
        '''
        answer = http("GET", f"https://shop.example.com/orders/{order_id}", query={"customer": customer},
                      headers={"Authorization": f"Bearer {secret('SHOP_KEY')}"})
        return answer.json()

Each public function at the top of such a file is a tool: its schema comes from the annotations of its parameters, its
description from its docstring. It runs in a process that has no network, no keys and none of the host's files; `http`
asks the host, whose egress gateway decides. What comes of it is JSON, or text.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

Value = TypeVar("Value")
Function = TypeVar("Function", bound=Callable[..., Any])

CALL_LIMIT_S = 30.0
CALL_MOST_S = 300.0

ABOUT = "__subclaw_tool__"
"""The attribute by which a tool is known."""


class ToolError(Exception):
    """What a tool raises to tell the model something: its words are passed on, those of other exceptions are not."""


@dataclass(frozen=True)
class BoundTo:
    """Marks a parameter that the platform gives, from what the customer's session is bound to; no model sees it.

    `path` is where in the binding it is, such as `"shop.id"`; empty is the parameter's own name.
    """

    path: str = ""


Bound = Annotated[Value, BoundTo()]
"""`customer: Bound[str]` is the binding's `customer`. For another name: `Annotated[str, BoundTo("shop.id")]`."""


@dataclass(frozen=True)
class About:
    """What the decorator says of a tool."""

    idempotent: bool = False
    timeout_s: float = CALL_LIMIT_S


def tool(*, idempotent: bool = False, timeout_s: float = CALL_LIMIT_S) -> Callable[[Function], Function]:
    """Say more of a tool: how long it has, and with `idempotent` that it may be called again without harm."""

    def mark(function: Function) -> Function:
        setattr(function, ABOUT, About(idempotent=idempotent, timeout_s=min(timeout_s, CALL_MOST_S)))
        return function

    return mark


@dataclass(frozen=True, kw_only=True)
class HttpAnswer:
    """An HTTP answer; `text` is its body, at most 1 MB of it."""

    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        """Return the body as JSON. Raises `ToolError` if the status is none of success, or the body no JSON."""
        if not 200 <= self.status < 300:
            raise ToolError(f"The service answered with status {self.status}.")
        try:
            return json.loads(self.text)
        except ValueError:
            raise ToolError("The service answered with something that is not JSON.") from None


def secret(name: str) -> str:
    """Return what stands for a secret in a header or a URL of `http`; its value is put in by the gateway alone."""
    return f"{{{{secret:{name}}}}}"


def http(
    method: str,
    url: str,
    *,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    body: Any = None,
) -> HttpAnswer:
    """Make an HTTP request, from a tool that is a plain function. `body` is sent as JSON; a text is sent as it is.

    Raises `ToolError` if the gateway does not let it out, or nobody answers.
    """
    return _channel().ask(method, url, query, headers, body)


async def http_async(
    method: str,
    url: str,
    *,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    body: Any = None,
) -> HttpAnswer:
    """Make an HTTP request, from a tool that is an `async` function. See `http`."""
    return await asyncio.wrap_future(_channel().begin(method, url, query, headers, body))


class Channel:
    """The way from a tool's function to the host; the process that runs tools replaces it."""

    def begin(
        self, method: str, url: str, query: Mapping[str, str] | None, headers: Mapping[str, str] | None, body: Any
    ) -> Any:
        """Begin a request; return a `concurrent.futures.Future` of its answer."""
        raise ToolError("HTTP can be used only while the platform runs this tool.")

    def ask(
        self, method: str, url: str, query: Mapping[str, str] | None, headers: Mapping[str, str] | None, body: Any
    ) -> HttpAnswer:
        """Make a request and wait for its answer."""
        answer: HttpAnswer = self.begin(method, url, query, headers, body).result()
        return answer


channel = Channel()
"""Set by the process that runs tools."""


def _channel() -> Channel:
    return channel

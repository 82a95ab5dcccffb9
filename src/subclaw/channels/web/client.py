"""A client of the web chat: what the page does, for the command line, the demo, tests and benchmarks."""

import base64
import json
import mimetypes
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from uuid import uuid4

import httpx2

from subclaw.core.errors import Invalid, SubclawError, Unavailable


@dataclass(frozen=True, kw_only=True)
class Said:
    """Something that was said. `by` is "person" or "agent"; a person's message has the `id` that it was sent with.

    `links` are the paths of files that came with an agent's.
    """

    seq: int
    by: str
    text: str
    id: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FileToSend:
    """A file that goes with a message."""

    name: str
    content: bytes


class WebPerson:
    """One person at the web chat."""

    def __init__(self, client: httpx2.AsyncClient, origin: str) -> None:
        self._client = client
        self._origin = origin
        self.seen = 0

    @property
    def cookies(self) -> dict[str, str]:
        """What makes this person known again."""
        # Those of the last visit and those that the page has set since differ in their domain only; `dict` would raise.
        return {cookie.name: cookie.value or "" for cookie in self._client.cookies.jar}

    async def say(self, text: str, *, id: str | None = None, files: Sequence[FileToSend] = ()) -> None:
        """Send a message; sent again with the same `id` (a UUID) it is the same message.

        Errors: `Invalid`, with the words that a person would read; `Unavailable`.
        """
        message: dict[str, object] = {"id": id or str(uuid4()), "text": text}
        if files:
            contents = [base64.b64encode(file.content).decode("ascii") for file in files]
            message["files"] = [
                {"name": file.name, "type": mimetypes.guess_type(file.name)[0] or "", "content": content}
                for file, content in zip(files, contents, strict=True)
            ]
        with _translated():
            response = await self._client.post("/chat/messages", json=message)
        if response.status_code != 202:
            raise _refusal(response)

    async def listen(self) -> AsyncGenerator[Said, None]:
        """Yield what is said, from where the last call ended."""
        with _translated():
            async with self._client.stream("GET", "/chat/events", params={"after": self.seen}) as response:
                if response.status_code != 200:
                    raise Unavailable("The chat cannot be followed now.", internal=f"status {response.status_code}")
                event = ""
                async for line in response.aiter_lines():
                    field, _, value = line.partition(": ")
                    if field == "event":
                        event = value
                    elif field == "data" and event in ("person", "agent"):
                        item = json.loads(value)
                        self.seen = item["seq"]
                        links, id = tuple(file["url"] for file in item.get("files", ())), item.get("id", "")
                        yield Said(seq=item["seq"], by=event, text=item["text"], id=id, links=links)

    async def reply(self) -> str:
        """Return the agent's next words, with links to what came with them, a line each."""
        async for said in self.listen():
            if said.by == "agent":
                return "\n".join(filter(None, [said.text, *(self._origin + link for link in said.links)]))
        raise Unavailable("The chat ended before there was a reply.")


@asynccontextmanager
async def web_person(
    base_url: str, *, cookies: Mapping[str, str] | None = None, host: str | None = None
) -> AsyncIterator[WebPerson]:
    """Open the chat page as a person does. `cookies` are those of an earlier visit; `host` is a `Host` header to send.

    Errors: `Unavailable`.
    """
    headers = {"Host": host} if host else {}
    timeout = httpx2.Timeout(30, read=None)
    async with httpx2.AsyncClient(
        base_url=base_url, cookies=dict(cookies or {}), headers=headers, timeout=timeout, trust_env=False
    ) as client:

        async def carry_all(request: httpx2.Request) -> None:
            """Send `Secure` cookies, too: the way from this host to its own router is no network's."""
            known = {cookie.name: cookie.value or "" for cookie in client.cookies.jar}
            if known:
                request.headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in known.items())

        client.event_hooks = {"request": [carry_all]}
        with _translated():
            page = await client.get("/")
        if page.status_code != 200:
            raise Unavailable("The web chat does not answer.", internal=f"status {page.status_code}")
        yield WebPerson(client, f"{client.base_url.scheme}://{host or client.base_url.netloc.decode()}")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (httpx2.TransportError, OSError) as error:
        raise Unavailable("The web chat cannot be reached.", internal=type(error).__name__) from error


def _refusal(response: httpx2.Response) -> SubclawError:
    try:
        words = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        words = f"The chat answered with status {response.status_code}."
    return Invalid(words) if response.status_code in (413, 422) else Unavailable(words)

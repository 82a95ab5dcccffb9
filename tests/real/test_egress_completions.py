"""A machine asks models through the gateway: as nobody but itself, nothing but what is answered, and never too much."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.real.http2_client import headers, http2_client

from subclaw.api.completions import serve_completions
from subclaw.core.completion import HOST, RULE, TENANT_HEADER, Asker
from subclaw.core.errors import Exhausted, SubclawError, Unavailable
from subclaw.core.model import ModelReply, ModelSaid, Prompt, UserSaid
from subclaw.core.policy import Mode, Rule
from subclaw.core.quota import Quota
from subclaw.egress.limits import Limits
from subclaw.egress.machines.inside import CALLS_LIMIT
from subclaw.testing.egress import run
from subclaw.testing.egress_machine import TENANT, MachineDoor, access_of, machine_door, upstream_authority
from subclaw.testing.models import words
from subclaw.turns.spending import OverBudget

DEADLINE_S = 20.0
OTHERS = b"666"


class Answering:
    """Answers each prompt with what it says, once `open`; `errors` are raised in place of a prompt of that text."""

    def __init__(self, **errors: SubclawError) -> None:
        self._errors = errors
        self.asked: list[tuple[Asker, Sequence[Prompt]]] = []
        self.under_way = self.cancelled = 0
        self.open = asyncio.Event()
        self.open.set()

    async def complete(self, asker: Asker, prompts: Sequence[Prompt]) -> Sequence[ModelReply | SubclawError]:
        self.asked.append((asker, prompts))
        self.under_way += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        return [self._errors.get(text) or words(f"said {text}") for text in map(said, prompts)]


def said(prompt: Prompt) -> str:
    last = prompt.history[-1]
    assert isinstance(last, UserSaid)
    return last.text


@dataclass(frozen=True, kw_only=True)
class Scene:
    door: MachineDoor
    completions: Answering

    async def ask(self, raw: bytes) -> tuple[int, Any]:
        """Send bytes as they are and return the status and the document of the one answer."""
        return read(await self.door.talk(raw))


def read(answer: bytes) -> tuple[int, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    return int(head.split(b" ", 2)[1]), json.loads(body)


@asynccontextmanager
async def scene(
    folder: Path,
    completions: Answering,
    *,
    rules: Sequence[Rule] = (RULE,),
    port: int = 80,
    quota: Quota | None = None,
    limits: Limits | None = None,
    is_served: bool = True,
) -> AsyncIterator[Scene]:
    socket = folder / "completions.sock"
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        serving = group.create_task(serve_completions(socket, completions)) if is_served else None
        while is_served and not socket.exists():
            await asyncio.sleep(0.01)
        door = machine_door(
            access_of(rules, {}), upstream_authority(), port, quota=quota, limits=limits, completions_socket=socket
        )
        try:
            async with door as opened:
                yield Scene(door=opened, completions=completions)
            assert opened.machine.serving() == []
        finally:
            if serving:
                serving.cancel()


def request(
    document: object,
    *lines: str,
    path: str = "/v1/complete",
    method: str = "POST",
    host: str = HOST,
    close: bool = True,
) -> bytes:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    fields = [f"Host: {HOST}", f"Content-Length: {len(body)}", *(["Connection: close"] if close else []), *lines]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *fields]).encode() + b"\r\n\r\n" + body


def test_a_machine_asks_and_is_answered_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        completions = Answering(b=Unavailable("The model is down."))
        async with scene(tmp_path, completions) as at:
            wanted = {"prompts": ["a", "b"], "system": "Be brief.", "max_tokens": 9}
            status, document = await at.ask(request(wanted))
            assert status == 200
            error = {"message": "The model is down.", "type": "Unavailable"}
            assert document == {"answers": [{"text": "said a"}, {"error": error}]}
        ((asker, prompts),) = completions.asked
        assert asker == Asker(tenant_id=TENANT, conversation_id=None)
        assert [(prompt.instructions, prompt.limit_tokens) for prompt in prompts] == [("Be brief.", 9)] * 2
        (noted,) = at.door.decisions
        assert (noted.host, noted.port, noted.method, noted.path) == (HOST, 80, "POST", "/v1/complete")
        assert noted.allowed

    run(scenario)


def test_a_program_that_speaks_openais_protocol_is_answered(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": [{"type": "text", "text": "what now?"}]},
    ]

    async def scenario() -> None:
        completions = Answering()
        async with scene(tmp_path, completions) as at:
            document = {"model": "any", "messages": messages, "max_tokens": 5}
            status, answer = await at.ask(request(document, "Authorization: Bearer any", path="/v1/chat/completions"))
            assert status == 200
            assert answer["choices"][0]["message"] == {"role": "assistant", "content": "said what now?"}
            assert answer["usage"]["total_tokens"] == 15
            wrong: list[dict[str, Any]] = [{"stream": True}, {"tools": [{}]}, {"messages": []}, {"messages": [{}]}]
            for refused in wrong:
                status, answer = await at.ask(request({**document, **refused}, path="/v1/chat/completions"))
                assert (status, answer["error"]["type"]) == (422, "Invalid")
        ((_, (prompt,)),) = completions.asked
        assert prompt.instructions == "Be kind."
        assert prompt.history == [UserSaid(text="hello"), ModelSaid(text="hi"), UserSaid(text="what now?")]

    run(scenario)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OverBudget("Today's allowance is used up."), 402),
        (Exhausted("64 prompts are being asked already."), 429),
        (Unavailable("The model is down."), 503),
    ],
)
def test_why_nothing_was_answered_is_said_in_words(tmp_path: Path, error: SubclawError, status: int) -> None:
    async def scenario() -> None:
        async with scene(tmp_path, Answering(a=error)) as at:
            for path, document in (
                ("/v1/complete", {"prompts": ["a", "a"]}),
                ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
            ):
                found, answer = await at.ask(request(document, path=path))
                assert (found, answer["error"]["message"]) == (status, error.public)

    run(scenario)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        {},
        {"prompts": []},
        {"prompts": "a"},
        {"prompts": [1]},
        {"prompts": [""]},
        {"prompts": ["a"] * 21},
        {"prompts": ["a"], "system": 1},
        {"prompts": ["a"], "max_tokens": 0},
        {"prompts": ["a"], "max_tokens": "9"},
        {"prompts": ["a"], "max_tokens": True},
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(tmp_path: Path, document: object) -> None:
    async def scenario() -> None:
        async with scene(tmp_path, completions := Answering()) as at:
            status, answer = await at.ask(request(document))
            assert (status, answer["error"]["type"]) == (422, "Invalid")
            assert completions.asked == []

    run(scenario)


def test_a_lone_surrogate_is_no_harm(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with scene(tmp_path, Answering()) as at:
            assert await at.ask(request(b'{"prompts": ["a\\ud800b"]}')) == (200, {"answers": [{"text": "said a?b"}]})

    run(scenario)


@pytest.mark.parametrize(
    "name",
    [TENANT_HEADER, TENANT_HEADER.upper(), TENANT_HEADER.replace("-", "_"), "X-Subclaw-Tenant ", "Forwarded", "Host2"],
)
def test_a_machine_cannot_say_who_it_is(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        async with scene(tmp_path, completions := Answering()) as at:
            raw = request({"prompts": ["a"]}, f"{name}: {OTHERS.decode()}", f"{name}: {OTHERS.decode()}")
            assert (await at.ask(raw))[0] in (200, 400)
            raw = request({"prompts": ["a"]}, f"Connection: close, {TENANT_HEADER}", close=False)
            assert (await at.ask(raw))[0] == 200
        assert {asker.tenant_id for asker, _ in completions.asked} == {TENANT}

    run(scenario)


def test_nor_by_http2_or_in_a_trailer(tmp_path: Path) -> None:
    async def scenario() -> None:
        completions = Answering()
        async with scene(tmp_path, completions, port=443) as at, http2_client(at.door, HOST) as client:
            fields = headers(HOST, "/v1/complete", "POST", **{TENANT_HEADER: OTHERS.decode()})
            assert (await client.get(fields, b'{"prompts": ["a"]}')).status == 200
        async with scene(tmp_path, completions) as at:
            head = request(b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
            body = b'{"prompts": ["a"]}'
            trailer = f"{TENANT_HEADER}: 666\r\n".encode()
            status, _ = await at.ask(head + b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailer))
            assert status in (200, 400)
        assert {asker.tenant_id for asker, _ in completions.asked} == {TENANT}

    run(scenario)


def test_a_second_request_cannot_be_hidden_in_a_body(tmp_path: Path) -> None:
    hidden = request({"prompts": ["b"]}, f"{TENANT_HEADER}: 666")

    async def scenario() -> None:
        async with scene(tmp_path, completions := Answering()) as at:
            for length in ("Content-Length: 0", "Transfer-Encoding: chunked", "Content-Length: +18"):
                raw = request({"prompts": ["a"]}, length) + hidden
                assert (await at.ask(raw))[0] == 400
            await at.door.talk(request({"prompts": ["a"]}, close=False) + hidden)
        assert {asker.tenant_id for asker, _ in completions.asked} <= {TENANT}

    run(scenario)


WIDE = Rule(host="*.subclaw.internal", ports=(80, 443, 8080), addresses=("127.0.0.1",))


@pytest.mark.parametrize("rules", [(RULE,), (RULE, WIDE)], ids=["own", "opened wide"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/complete"),
        ("PUT", "/v1/complete"),
        ("POST", "/"),
        ("POST", "/v1/complete/"),
        ("POST", "/v1//complete"),
        ("POST", "/v1/x/../complete"),
        ("POST", "/docs"),
    ],
)
def test_nothing_else_is_answered(tmp_path: Path, rules: Sequence[Rule], method: str, path: str) -> None:
    async def scenario() -> None:
        async with scene(tmp_path, completions := Answering(), rules=rules) as at:
            status, answer = await at.ask(request({"prompts": ["a"]}, method=method, path=path))
            assert status in (403, 404)
            assert answer["error"]["message"]
            assert completions.asked == []

    run(scenario)


def test_no_connection_is_passed_on_as_it_is(tmp_path: Path) -> None:
    """A rule that splices would let a machine write the head itself."""
    splice = Rule(host=HOST, ports=(8443,), mode=Mode.SPLICE)

    async def scenario() -> None:
        async with scene(tmp_path, completions := Answering(), rules=(RULE, splice), port=8443) as at:
            with pytest.raises(ConnectionError):
                await at.door.connect_tls(HOST)
            upgrade = request({"prompts": ["a"]}, "Upgrade: websocket", "Sec-WebSocket-Version: 13", close=False)
        assert completions.asked == []
        assert [noted.allowed for noted in at.door.decisions] == [False]
        async with scene(tmp_path, completions) as at:
            answer = await at.door.talk(upgrade)
            assert b" 101 " not in answer.split(b"\r\n", 1)[0]

    run(scenario)


def test_an_operator_can_shut_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        deny = Rule(host=HOST, ports=(80,), mode=Mode.DENY)
        async with scene(tmp_path, completions := Answering(), rules=(RULE, deny)) as at:
            status, answer = await at.ask(request({"prompts": ["a"]}))
            assert status == 403
            assert "denied by a rule of the operator" in answer["error"]["message"]
            assert completions.asked == []

    run(scenario)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_ten_megabytes_are_too_much(tmp_path: Path, is_chunked: bool) -> None:
    body = b'{"prompts": ["' + b"x" * 10_000_000 + b'"]}'

    async def scenario() -> None:
        async with scene(tmp_path, completions := Answering()) as at:
            raw = request(body)
            if is_chunked:
                head = raw.partition(b"\r\n\r\n")[0].replace(
                    b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked"
                )
                raw = head + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            status, answer = await at.ask(raw)
            assert status == 413
            assert "1,048,576 bytes" in answer["error"]["message"]
            assert completions.asked == []

    run(scenario)


def test_a_hundred_at_once_are_bounded_and_the_first_are_answered(tmp_path: Path) -> None:
    async def scenario() -> None:
        completions = Answering()
        completions.open.clear()
        async with scene(tmp_path, completions) as at:
            asking = [asyncio.create_task(at.ask(request({"prompts": ["a"]}))) for _ in range(100)]
            while completions.under_way < CALLS_LIMIT or sum(one.done() for one in asking) < 100 - CALLS_LIMIT:
                await asyncio.sleep(0.01)
            completions.open.set()
            statuses = [(await one)[0] for one in asking]
            assert (statuses.count(200), statuses.count(429)) == (CALLS_LIMIT, 100 - CALLS_LIMIT)
            assert (await at.ask(request({"prompts": ["a"]})))[0] == 200

    run(scenario)


def test_quotas_of_requests_count(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with scene(tmp_path, Answering(), quota=Quota(requests_per_minute=2)) as at:
            answers = await at.door.talk(b"".join(request({"prompts": ["a"]}, close=False) for _ in range(3)))
            assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"429"]

    run(scenario)


def test_a_program_that_ends_has_its_prompts_cancelled(tmp_path: Path) -> None:
    async def scenario() -> None:
        completions = Answering()
        completions.open.clear()
        async with scene(tmp_path, completions) as at:
            _, writer = await at.door.connect()
            writer.write(request({"prompts": ["a"]}))
            while not completions.under_way:
                await asyncio.sleep(0.01)
            writer.transport.abort()
            async with asyncio.timeout(10):
                while not completions.cancelled:
                    await asyncio.sleep(0.01)

    run(scenario)


def test_while_nobody_answers_it_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with scene(tmp_path, Answering(), is_served=False) as at:
            status, answer = await at.ask(request({"prompts": ["a"]}))
            assert (status, answer["error"]["message"]) == (503, "models cannot be asked just now; try again")

    run(scenario)

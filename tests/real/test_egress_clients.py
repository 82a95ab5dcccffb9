"""The control plane's side: an official SDK through the gateway, and signatures of webhooks."""

import json
import logging
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from subclaw.channels.sms.signature import check_twilio
from subclaw.core.errors import Invalid, Unavailable
from subclaw.core.signature import Signature
from subclaw.core.upstream import Upstream
from subclaw.egress.control.client import BASE_URL, gateway_client, verify, webhook_secret
from subclaw.egress.control.verify import CLAIM_LIMIT_BYTES
from subclaw.egress.refusal import UNSENT_HEADER
from subclaw.testing.egress import run, running_gateway, talk
from subclaw.testing.upstream import Connection, Seen, http_upstream, simple

SECRET = "sk-live-0123456789abcdef"
TOKEN = "0123456789abcdef0123456789abcdef"
URL = "https://subclaw.test/webhooks/twilio/sms?x=1"
TWILIO = {"twilio": Signature(secret="token", check=check_twilio)}
PARAMS = {"From": "+15550001", "Body": "private words ✓", "MessageSid": "SM1"}


async def _model(seen: Seen, connection: Connection) -> None:
    request = json.loads(seen.body)
    message = {"role": "assistant", "content": "hello"}
    if not request.get("stream"):
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        completion = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        await connection.write(simple(json.dumps(completion).encode(), "content-type: application/json"))
        return
    await connection.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for word in ("hel", "lo"):
        choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
        chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        line = f"data: {json.dumps(chunk)}\n\n".encode()
        await connection.write(b"%x\r\n%s\r\n" % (len(line), line))
    await connection.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


def test_the_official_openai_client(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with http_upstream(_model) as api:
            upstream = Upstream(name="openai", base_url=f"http://127.0.0.1:{api.port}", secret="openai_key")
            async with (
                running_gateway(tmp_path, [upstream], {"openai_key": SECRET}) as path,
                gateway_client(path) as http_client,
            ):
                client = openai.AsyncOpenAI(
                    base_url="http://egress/openai/v1", api_key="placeholder", http_client=http_client, max_retries=0
                )
                said = ChatCompletionUserMessageParam(role="user", content="hi")
                whole = await client.chat.completions.create(model="m", messages=[said])
                assert whole.choices[0].message.content == "hello"
                stream = await client.chat.completions.create(model="m", messages=[said], stream=True)
                assert [part.choices[0].delta.content async for part in stream] == ["hel", "lo"]
                with pytest.raises(openai.PermissionDeniedError) as caught:
                    await client.models.delete("m")
                assert "not allowed" in caught.value.message
            assert [seen.target for seen in api.requests] == ["/v1/chat/completions"] * 2
            assert {seen.headers["authorization"] for seen in api.requests} == {f"Bearer {SECRET}"}
            assert b"placeholder" not in api.received

    run(scenario)


def test_twilios_signatures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    signature = RequestValidator(TOKEN).compute_signature(URL, PARAMS)

    async def scenario() -> None:
        async with (
            running_gateway(tmp_path, [], {"token": TOKEN}, signatures=TWILIO) as path,
            gateway_client(path) as client,
        ):
            good = {"url": URL, "params": PARAMS, "signature": signature}
            assert await verify(client, "twilio", good) is True
            wrong: list[dict[str, object]] = [
                {"signature": ""},
                {"signature": signature[:-2] + "A="},
                {"signature": "ä" * 28},
                {"url": URL + "2"},
                {"url": "https://[::1/"},
                {"url": "https://x:99999999/"},
                {"params": {**PARAMS, "Body": "other"}},
                {"params": {}},
            ]
            for change in wrong:
                assert await verify(client, "twilio", good | change) is False, change
            bad: list[dict[str, object]] = [{"url": 1}, {"params": []}, {"params": {"a": ["b"]}}, {"signature": None}]
            for change in bad:
                with pytest.raises(Invalid):
                    await verify(client, "twilio", good | change)
            with pytest.raises(Unavailable):
                await verify(client, "unknown", good)
            with pytest.raises(Invalid):
                await verify(client, "twilio", good | {"params": {"Body": "x" * CLAIM_LIMIT_BYTES}})

    run(scenario)
    text = caplog.text
    assert "upstream=-verify status=200" in text
    assert not any(word in text for word in (TOKEN, "private", signature))


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"\xff", b"[" * 100_000])
def test_a_claim_that_is_none(body: bytes, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_gateway(tmp_path, [], {"token": TOKEN}, signatures=TWILIO) as path:
            head = b"POST /-/verify/twilio HTTP/1.1\r\nHost: egress\r\nContent-Length: %d\r\n\r\n" % len(body)
            assert (await talk(path, head + body)).startswith(b"HTTP/1.1 400")
            assert (await talk(path, b"GET /-/verify/twilio HTTP/1.1\r\nHost: egress\r\n\r\n")).startswith(
                b"HTTP/1.1 405"
            )

    run(scenario)


def test_cannot_tell_is_not_wrong(tmp_path: Path) -> None:
    claim = {"url": URL, "params": PARAMS, "signature": "x"}

    async def scenario() -> None:
        async with (
            running_gateway(tmp_path, [], {}, signatures=TWILIO) as path,
            gateway_client(path) as client,
        ):
            with pytest.raises(Unavailable):
                await verify(client, "twilio", claim)
        async with gateway_client(path) as client:  # nobody serves it now
            with pytest.raises(Unavailable):
                await verify(client, "twilio", claim)
        async with running_gateway(tmp_path, [], {}) as path, gateway_client(path) as client:
            with pytest.raises(Unavailable):
                await verify(client, "twilio", claim)

    run(scenario)


def test_what_a_provider_sends_along_follows_from_its_key(tmp_path: Path) -> None:
    signatures = {"bot": Signature(secret="token"), "other": Signature(secret="token"), **TWILIO}

    async def scenario() -> None:
        async with (
            running_gateway(tmp_path, [], {"token": TOKEN}, signatures=signatures) as path,
            gateway_client(path) as client,
        ):
            secret = await webhook_secret(client, "bot")
            assert len(secret) == 64
            assert TOKEN not in secret
            assert await verify(client, "bot", {"secret": secret}) is True
            for wrong in ("", secret[:-1], secret + "0", TOKEN, await webhook_secret(client, "other"), "ä"):
                assert await verify(client, "bot", {"secret": wrong}) is False
            with pytest.raises(Invalid):
                await verify(client, "bot", {"secret": 1})
            for scheme in ("twilio", "unknown"):
                with pytest.raises(Unavailable):
                    await webhook_secret(client, scheme)

    run(scenario)


def test_a_call_that_certainly_did_not_go_out_is_told_apart(tmp_path: Path) -> None:
    closed = Upstream(name="closed", base_url="http://127.0.0.1:1")
    keyless = Upstream(name="keyless", base_url="http://127.0.0.1:1", secret="missing")

    async def silent(_: Seen, connection: Connection) -> None:
        connection.close()

    async def scenario() -> None:
        async with (
            http_upstream(silent) as mute,
            running_gateway(
                tmp_path, [closed, keyless, Upstream(name="mute", base_url=f"http://127.0.0.1:{mute.port}")], {}
            ) as path,
            gateway_client(path) as client,
        ):
            for name in ("closed", "keyless", "unknown"):
                assert UNSENT_HEADER in (await client.post(f"{BASE_URL}/{name}/x")).headers, name
            answer = await client.post(f"{BASE_URL}/mute/x")
            assert (answer.status_code, UNSENT_HEADER in answer.headers) == (502, False)

    run(scenario)

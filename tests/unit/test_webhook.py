"""Webhooks that go out: where they may go, how they are signed and when they are tried again."""

from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from subclaw.core.errors import Invalid
from subclaw.core.webhook import RETRY_DELAYS_S, delay_s, read_url, signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The example of the specification."""


def test_a_signature_is_that_of_the_specification() -> None:
    body = b'{"test": 2432232314}'
    assert signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_a_signature_is_what_the_library_makes() -> None:
    at = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
    assert signature(SECRET, "msg_1", int(at.timestamp()), b"{}") == Webhook(SECRET).sign("msg_1", at, "{}")


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://0x7f.1/",
        "https://localhost/",
        "https://user@shop.example/",
        "https://shop.example/#top",
        "https://shop.example:99999/",
        "https://shop.example/a b",
        "https://shop.example/\r\nx: y",
        "ftp://shop.example/",
        "https://shop.example/" + "a" * 2_000,
        "",
    ],
)
def test_where_no_webhook_goes(url: str) -> None:
    with pytest.raises(Invalid):
        read_url(url)


def test_where_a_webhook_goes() -> None:
    url = read_url("https://Shop.Example:8443/hooks?shop=1")
    assert (url.host, url.port, url.target, url.authority) == (
        "shop.example",
        8443,
        "/hooks?shop=1",
        "shop.example:8443",
    )
    assert read_url("https://shop.example").authority == "shop.example"


def test_tries_are_further_and_further_apart_and_end() -> None:
    delays = [delay_s(attempt, 0) for attempt in range(1, len(RETRY_DELAYS_S) + 2)]
    assert delays[-1] is None
    assert delays[:-1] == sorted(delays[:-1], key=lambda delay: delay or 0)
    assert delay_s(1, 60) == 60
    assert delay_s(1, 10**9) == 86_400

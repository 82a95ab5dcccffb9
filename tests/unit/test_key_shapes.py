"""What looks like a key in a message is found, and what does not stays."""

import time

import pytest

from subclaw.core.key_shapes import find_keys, redact

ALNUM = "4bC7dE9fG1hJ2kL3mN5pQ6rS8tU0vW1xY2zA3bC4dE5fG6hJ7kL8mN9pQ0rS1tU2v"
HEX = "0a1b2c3d4e5f60718293a4b5c6d7e8f91f2e3d4c5b6a79880796a5b4c3d2e1f0"
BODY = "\n".join([ALNUM[:64]] * 8)

# No key stands here whole, so that no scanner takes this file for a leak.
KEYS = [
    ("a GitHub token", "ghp_" + ALNUM[:36]),
    ("a GitHub token", "gho_" + ALNUM[:36]),
    ("a GitHub token", "ghu_" + ALNUM[:36]),
    ("a GitHub token", "ghs_" + ALNUM[:36]),
    ("a GitHub token", "ghr_" + ALNUM[:36]),
    ("a GitHub token", "github_pat_" + ALNUM[:22] + "_" + ALNUM[:59]),
    ("a GitLab token", "glpat-" + ALNUM[:20]),
    ("a GitLab token", "glpat-" + ALNUM[:27] + ".01.0a1b2c3d4"),
    ("an Anthropic API key", "sk-ant-api03-" + ALNUM[:60] + "-" + ALNUM[:8]),
    ("an OpenAI API key", "sk-proj-" + ALNUM[:40] + "_" + ALNUM[:40]),
    ("an OpenAI API key", "sk-" + ALNUM[:20] + "T3Blbk" + "FJ" + ALNUM[:20]),
    ("an API key", "sk-or-v1-" + HEX),
    ("an API key", "sk-" + ALNUM[:48]),
    ("a Stripe key", "sk_" + "live_" + ALNUM[:24]),
    ("a Stripe key", "rk_" + "live_" + ALNUM[:24]),
    ("a Stripe key", "whsec_" + ALNUM[:32]),
    ("a Slack token", "xoxb-" + "1234567890-1234567890-" + ALNUM[:24]),
    ("a Slack token", "xapp-" + "1-A0123456789-1234567890-" + HEX),
    ("an AWS key", "AKIA" + "IOSFODNN7EXAMPLE"),
    ("an AWS key", "ASIA" + "IOSFODNN7EXAMPLE"),
    ("a Google key", "AIza" + ALNUM[:35]),
    ("a Google key", "ya29." + ALNUM[:40]),
    ("an npm token", "npm_" + ALNUM[:36]),
    ("a PyPI token", "pypi-" + "AgEIcHlwaS5vcmc" + ALNUM),
    ("a Hugging Face token", "hf_" + ALNUM[:34]),
    ("a SendGrid key", "SG." + ALNUM[:22] + "." + ALNUM[:43]),
    ("a Twilio key", "SK" + HEX[:32]),
    ("a Telegram bot token", "123456789:" + "AA" + ALNUM[:33]),
    ("a Discord bot token", "M" + ALNUM[:25] + "." + ALNUM[:6] + "." + ALNUM[:38]),
    ("a DigitalOcean token", "dop_v1_" + HEX),
    ("a JSON web token", "eyJ" + ALNUM[:33] + ".eyJ" + ALNUM[:50] + "." + ALNUM[:43]),
    ("a private key", f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\n-----END RSA PRIVATE KEY-----"),
    ("a private key", f"-----BEGIN PRIVATE KEY----- {BODY} -----END PRIVATE KEY-----".replace("\n", " ")),
    ("a private key", f"-----BEGIN OPENSSH\nPRIVATE KEY-----\n{BODY}\n-----END OPENSSH PRIVATE\nKEY-----"),
    ("a private key", f"-----BEGIN PRIVATE KEY-----\\n{ALNUM}\\n{ALNUM}\\n-----END PRIVATE KEY-----\\n".rstrip("\\n")),
]


@pytest.mark.parametrize(("kind", "key"), KEYS)
@pytest.mark.parametrize("around", ["{}", "here it is: {}, thanks!", '"{}"', "TOKEN={}\nand more", "({})"])
def test_keys_of_known_shapes(kind: str, key: str, around: str) -> None:
    assert redact(around.format(key)) == (around.format(f"[{kind} was removed]"), (kind,))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer " + ALNUM[:30], "Authorization: Bearer [a bearer token was removed]"),
        ("Authorization: Basic dXNlcjpodW50ZXIy", "Authorization: Basic [a password was removed]"),
        ("postgres://anna:hunter2@db.example/x", "postgres://anna:[a password was removed]@db.example/x"),
        ("redis://:s3cret-one@cache", "redis://:[a password was removed]@cache"),
        ("password: Summer-2024", "password: [a password was removed]"),
        ("My password is hunter2hunter2.", "My password is [a password was removed]."),
        ("Passwort: Gummibär7", "Passwort: [a password was removed]"),
        ('{"password": "correct 4 horse"}', '{"password": "[a password was removed]"}'),
        ("DB_PASSWORD=P!ssw#rd!x", "DB_PASSWORD=[a password was removed]"),
        ("api key = " + HEX[:32], "api key = [a secret was removed]"),
        (f"clientSecret: '{ALNUM[:32]}'", "clientSecret: '[a secret was removed]'"),
        ("MY_ACCESS_TOKEN=" + ALNUM[:20], "MY_ACCESS_TOKEN=[a secret was removed]"),
        ("Account SID AC" + HEX[:32] + "\nAuth Token\n" + HEX[32:], None),
        ("AC" + HEX[:32] + ":" + HEX[32:], "AC" + HEX[:32] + ":[a Twilio auth token was removed]"),
        ("AKIA" + "IOSFODNN7EXAMPLE\nwJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY", None),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/" + "bPxRfiC4EXA9PLEKEY", None),
    ],
)
def test_secrets_that_are_told_by_what_is_around_them(text: str, left: str | None) -> None:
    redacted, kinds = redact(text)
    assert kinds
    assert redacted == left or (left is None and text.split()[-1] not in redacted)


@pytest.mark.parametrize(
    "text",
    [
        "Build me an invoice generator, please.",
        "OK 4821",
        "no 1234",
        "stop",
        "My order number is 4821-2213-9987 and the tracking number 1Z999AA10123456784.",
        "550e8400-e29b-41d4-a716-446655440000",
        "see commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "sha256:" + HEX,
        "data:image/png;base64," + ALNUM * 200 + "==",
        "https://example.com/a/path?id=" + ALNUM[:20] + "&page=2#top",
        "http://localhost:8080/@somebody and https://medium.com/@user:tag",
        "postgres://user:password@localhost/db and https://user:${PASSWORD}@host",
        "sk-folding-cube-and-other-spinners-of-css",
        "The password is wrong! I forgot my password. What is a token?",
        "password: see below\napi key: your-api-key-goes-here-1234",
        "token = process.env.GITHUB_TOKEN1; secret: ${{ secrets.DEPLOY_1A2B3C4D5E }}",
        "secret: /run/secrets/db1_password2 and token: https://example.com/a1b2c3d4",
        "a bearer of bad news; Bearer authentication-is-described-here",
        "The file starts with -----BEGIN PRIVATE KEY----- and ends with -----END PRIVATE KEY-----.",
        "-----BEGIN PUBLIC KEY-----\n" + BODY + "\n-----END PUBLIC KEY-----",
        "ghp_short, npm_install, hf_model, AKIASHORT, SG.1.2",
        "AC" + HEX[:32],
        "ghp_subclaw" + ALNUM[:29],
        "GITHUB_TOKEN=ghp_subclaw" + ALNUM[:29],
        "password: Subclaw" + ALNUM[:20],
        "[a GitHub token was removed] password: [a password was removed]",
    ],
)
def test_everything_else_stays(text: str) -> None:
    assert redact(text) == (text, ())


def test_several_are_told_once_each_kind() -> None:
    token, other = "ghp_" + ALNUM[:36], "ghp_" + ALNUM[20:56]
    text = f"{token} {other} hf_{ALNUM[:34]}"
    assert redact(text) == (
        "[a GitHub token was removed] [a GitHub token was removed] [a Hugging Face token was removed]",
        ("a GitHub token", "a Hugging Face token"),
    )


def test_the_shape_says_more_than_the_name() -> None:
    (found,) = find_keys("password=ghp_" + ALNUM[:36])
    assert found.kind == "a GitHub token"


@pytest.mark.parametrize("whole", ["begin", "end"])
def test_a_private_key_that_came_in_parts(whole: str) -> None:
    begin, end = "-----BEGIN PRIVATE KEY-----\n", "\n-----END PRIVATE KEY-----"
    text = f"the key: {begin}{BODY}" if whole == "begin" else f"{BODY}{end} that was it"
    redacted, kinds = redact(text)
    assert kinds == ("a private key",)
    assert ALNUM[:10] not in redacted


def test_a_megabyte_of_anything_takes_a_moment() -> None:
    for part in (
        "a",
        "-",
        "://",
        "eyJ",
        "-eyJ",
        ".eyJaaaaaaaaaa",
        " sk-",
        "token=",
        "password is ",
        "AKIAIOSFODNN7EXAMPLE ",
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "M" * 25 + ".aaaaaa.",
        "1",
        "Bearer ",
        "\n",
    ):
        text = part * (1_000_000 // len(part))
        began_s = time.process_time()
        find_keys(text)
        assert time.process_time() - began_s < 8, part

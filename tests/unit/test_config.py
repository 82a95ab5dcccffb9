"""Settings out of the environment: what cannot be is refused by name, and secrets are not passed on."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from subclaw.config import LETS_ENCRYPT, Https, load_settings, process_environment
from subclaw.core.errors import Invalid
from subclaw.core.waking import VisitLimits
from subclaw.home import Home


def test_limits_of_visits_reach_the_host_which_is_a_child() -> None:
    assert load_settings({}).visit_limits == VisitLimits()
    given = {"SUBCLAW_WAKES_PER_HOUR": "5", "SUBCLAW_VISITS_PER_SECOND": "7", "SUBCLAW_VISITS_AT_ONCE": "9"}
    limits = VisitLimits(wakes_per_hour=5, requests_per_s=7, burst=9)
    settings = load_settings(given)
    assert settings.visit_limits == limits
    assert load_settings(settings.environment).visit_limits == limits


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"SUBCLAW_PORT": "eighty"}, r"SUBCLAW_PORT is 'eighty'; it must be a number from 1 to 65535\."),
        ({"SUBCLAW_PORT": "0"}, r"SUBCLAW_PORT is '0'; it must be a number"),
        ({"SUBCLAW_PORT": "70000"}, r"SUBCLAW_PORT is '70000'; it must be a number"),
        ({"SUBCLAW_PORT": "\u0668\u0660"}, r"SUBCLAW_PORT is '\u0668\u0660'; it must be a number"),
        ({"SUBCLAW_EGRESS_PROCESSES": "0"}, r"SUBCLAW_EGRESS_PROCESSES is '0'; it must be a number from 1 to 64\."),
        ({"SUBCLAW_WAKES_PER_HOUR": "0"}, r"SUBCLAW_WAKES_PER_HOUR is '0'; it must be a number from 1 to 3600\."),
        ({"SUBCLAW_VISITS_PER_SECOND": "1.5"}, r"SUBCLAW_VISITS_PER_SECOND is '1.5'; it must be a number"),
        ({"SUBCLAW_EGRESS_PROCESSES": "many"}, r"SUBCLAW_EGRESS_PROCESSES is 'many'; it must be a number"),
        ({"SUBCLAW_HOME": "/tmp/" + "x" * 60}, r"SUBCLAW_HOME is .*: choose a folder of at most 60 characters\."),
        ({"SUBCLAW_HOME": "/tmp/{x}"}, r"SUBCLAW_HOME is /tmp/\{x\}; Caddy takes no path with braces or backslashes"),
        ({"SUBCLAW_DOMAIN": "Example.org"}, r"SUBCLAW_DOMAIN is 'Example.org'; it must be a hostname in small letters"),
        ({"SUBCLAW_DOMAIN": "example.org"}, r".*SUBCLAW_SITES_DOMAIN must be set, too: to a domain of its own"),
        ({"SUBCLAW_DOMAIN": "a.example", "SUBCLAW_SITES_DOMAIN": "s.a.example"}, r".*one lies in the other"),
        ({"SUBCLAW_DOMAIN": "a.b.example", "SUBCLAW_SITES_DOMAIN": "b.example"}, r".*one lies in the other"),
        ({"SUBCLAW_SITES_DOMAIN": "*.example"}, r"SUBCLAW_SITES_DOMAIN is '\*.example'; it must be a hostname"),
        ({"SUBCLAW_HTTPS": "yes"}, r"SUBCLAW_HTTPS is 'yes'; it must be on or off"),
        ({"SUBCLAW_LISTEN": "everywhere"}, r"SUBCLAW_LISTEN is 'everywhere'; it must be an IP address"),
        ({"SUBCLAW_PUBLIC_URL": "example.org"}, r"SUBCLAW_PUBLIC_URL is 'example.org'; it must be an http or https"),
        ({"SUBCLAW_MODEL": "skynet"}, r"SUBCLAW_MODEL is 'skynet'; it must be provider:model with one of openai, "),
        ({"OPENAI_BASE_URL": "ftp://models"}, r"OPENAI_BASE_URL is 'ftp://models'; it must be an http or https URL"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:x"}, r"OPENAI_BASE_URL is 'http://127.0.0.1:x'; it must be an http or"),
        ({"TWILIO_NUMBER": "+15550100002"}, r"For text messages, set TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and"),
        ({"TWILIO_NUMBER": "5", "TWILIO_ACCOUNT_SID": "AC1"}, r"TWILIO_NUMBER is '5'; it must be of the form \+1555"),
        ({"DATABASE_URL": "my password"}, r"DATABASE_URL must be of the form postgresql://USER:PASSWORD@HOST/NAME"),
        ({"DATABASE_URL": "postgresql://a:my%password@b/c"}, r"DATABASE_URL must be of the form postgresql://"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid) as refused:
        load_settings(given)
    assert re.match(words, refused.value.public), refused.value.public
    assert "password" not in refused.value.public
    assert "password" not in refused.value.internal


def test_addresses_may_be_of_either_kind() -> None:
    assert load_settings({"SUBCLAW_LISTEN": "::1"}).listen == "::1"
    assert load_settings({"OPENAI_BASE_URL": "http://[::1]:8000/v1"}).upstreams[0].base_url == "http://[::1]:8000/v1"
    url = "postgresql://me@db.example:5433/subclaw?sslmode=require"
    assert load_settings({"DATABASE_URL": url}).database_url == url


def test_gateway_has_as_many_processes_as_there_are_processors_unless_told() -> None:
    assert load_settings({}).egress_processes == min(os.cpu_count() or 1, 64)
    settings = load_settings({"SUBCLAW_EGRESS_PROCESSES": "3"})
    assert settings.egress_processes == load_settings(process_environment(settings)).egress_processes == 3
    sockets = Home(settings.home).egress_machine_sockets(settings.egress_processes)
    assert [path.name for path in sockets] == ["machines-0.sock", "machines-1.sock", "machines-2.sock"]


def test_a_child_is_told_names_of_secrets_and_no_value() -> None:
    keys = {"OPENAI_API_KEY": "sk-canary-1", "TWILIO_AUTH_TOKEN": "canary-2"}
    settings = load_settings({**keys, "TWILIO_ACCOUNT_SID": "AC1", "TWILIO_NUMBER": "+15550001111"})
    assert "canary" not in str(settings)
    handed_on = process_environment(settings)
    assert "canary" not in str(handed_on)
    child = load_settings(handed_on)
    assert (child.model, child.upstreams) == (settings.model, settings.upstreams)
    assert {upstream.name: upstream.secret for upstream in child.upstreams} == {
        "openai": "openai.key",
        "anthropic": None,
        "google": None,
        "twilio": "twilio.token",
        "twilio-media": None,
    }


@pytest.mark.parametrize(
    ("environ", "model"),
    [
        ({}, "demo"),
        ({"OPENAI_API_KEY": "k"}, "openai:gpt-6-luna"),
        ({"ANTHROPIC_API_KEY": "k", "GOOGLE_API_KEY": "k"}, "anthropic:claude-sonnet-5-5"),
        ({"GOOGLE_API_KEY": "k"}, "google:gemini-3.8-flash"),
        ({"OPENAI_API_KEY": "k", "SUBCLAW_MODEL": "anthropic:claude-haiku-5-5"}, "anthropic:claude-haiku-5-5"),
        ({"SUBCLAW_MODEL": "openai:llama3:70b"}, "openai:llama3:70b"),
        ({"OPENAI_API_KEY": "k", "SUBCLAW_MODEL": "demo"}, "demo"),
    ],
)
def test_which_model_answers(environ: dict[str, str], model: str) -> None:
    assert str(load_settings(environ).model) == model


def test_channels_bring_no_library_along_before_they_are_used() -> None:
    program = "import sys; from subclaw.config import load_settings; load_settings({'TELEGRAM_BOT': 'a_bot', "
    program += "'WHATSAPP_PHONE_NUMBER_ID': '10654035', 'WHATSAPP_NUMBER': '+15550783881', "
    program += "'BLUEBUBBLES_URL': 'http://mac.lan:1234', 'IMESSAGE_ACCOUNT': 'agent@example.com', "
    program += "'DISCORD_APPLICATION_ID': '123456789012345678', "
    program += "'MATRIX_HOMESERVER': 'https://matrix.org', 'MATRIX_USER': '@agent:matrix.org', "
    program += "'EMAIL_ADDRESS': 'agent@example.com', 'EMAIL_RELAY': 'smtp://agent@mail.example.com'}); "
    program += "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    libraries = {"aiogram", "aiohttp", "twilio", "pywa", "nio", "httpx", "fastapi", "httpx2", "markdown_it", "discord"}
    assert not (libraries | {"aiosmtpd", "aiosmtplib", "dkim", "dns"}) & set(done.stdout.split())


def test_a_public_domain_is_served_by_https_and_localhost_is_not() -> None:
    assert load_settings({}).https is None
    public = {"SUBCLAW_DOMAIN": "agents.example", "SUBCLAW_SITES_DOMAIN": "sites.example"}
    https = load_settings(public).https
    assert https == Https(port=443, http_port=80, directory=LETS_ENCRYPT, authority=None, email="")
    assert load_settings(public | {"SUBCLAW_HTTPS": "off"}).https is None
    assert load_settings(public | {"SUBCLAW_PUBLIC_URL": "https://agents.example"}).https is None
    own = public | {
        "SUBCLAW_ACME_DIRECTORY": "https://acme.test/dir",
        "SUBCLAW_ACME_CA": "/ca",
        "SUBCLAW_HTTP_PORT": "81",
    }
    assert load_settings(own).https == Https(
        port=443, http_port=81, directory="https://acme.test/dir", authority=Path("/ca"), email=""
    )

"""Slack as it is set up, and its signature."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.signature import Clock, SignatureVerifier

from subclaw.channels.slack.kind import read_slack
from subclaw.channels.slack.settings import SIGNING_SECRET, TOKEN
from subclaw.channels.slack.signature import check_slack
from subclaw.core.errors import Invalid
from subclaw.egress.control.destination import destination

KEY = "8f742231b10e8888abcd99yyyzzz85a5"


def test_slack_is_set_up_by_its_ids() -> None:
    assert read_slack({}) is None
    set_up = read_slack({"SLACK_TEAM_ID": "T012AB3C4", "SLACK_APP_ID": "A012AB3C4"})
    assert set_up is not None
    assert set_up.place == "https://slack.com/app_redirect?app=A012AB3C4&team=T012AB3C4"
    assert [destination(one).authority for one in set_up.upstreams] == ["slack.com", *["files.slack.com"] * 2]
    assert [one.secret for one in set_up.upstreams] == [TOKEN, TOKEN, None]
    assert (set_up.upstreams[2].base_url, set_up.upstreams[2].methods) == ("https://files.slack.com/upload", ("POST",))
    assert set_up.signatures["slack"].secret == SIGNING_SECRET


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"SLACK_TEAM_ID": "T012AB3C4"}, "all four"),
        ({"SLACK_TEAM_ID": "acme", "SLACK_APP_ID": "A012AB3C4"}, "SLACK_TEAM_ID is 'acme'"),
        ({"SLACK_TEAM_ID": "T012AB3C4", "SLACK_APP_ID": "T1"}, "SLACK_APP_ID is 'T1'"),
    ],
)
def test_what_is_wrong_is_said(given_: dict[str, str], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        read_slack(given_)


@given(st.text(max_size=200), st.integers(-600, 600))
def test_the_signature_is_held_to_slacks_own_library(body: str, age_s: int) -> None:
    now = int(time.time())

    class Now(Clock):
        def now(self) -> float:
            return now

    timestamp, theirs = str(now - age_s), SignatureVerifier(KEY, Now())
    body = body.encode("utf-8", "replace").decode()
    signature = theirs.generate_signature(timestamp=timestamp, body=body)
    assert signature is not None
    claim = {"body": body, "timestamp": timestamp, "signature": signature}
    if abs(abs(age_s) - 300) > 5:  # the clock goes on meanwhile
        assert check_slack(KEY, claim) == theirs.is_valid(body, timestamp, signature)
    assert not check_slack(KEY, claim | {"body": f"{body}x"})
    assert not check_slack("another", claim)


@pytest.mark.parametrize("lacking", ["body", "timestamp", "signature"])
def test_a_claim_needs_all_of_it(lacking: str) -> None:
    claim = {"body": "{}", "timestamp": "1", "signature": "v0="}
    with pytest.raises(Invalid):
        check_slack(KEY, claim | {lacking: 5})
    assert not check_slack(KEY, claim)

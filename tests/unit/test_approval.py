"""An approval: which message decides, what a person is shown, and that it is what is performed."""

import json
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.approval import (
    ARGUMENTS_LIMIT_CHARACTERS,
    SHOWN_CHARACTERS,
    ApprovalRequested,
    Decision,
    approved_call,
    ask_words,
    canonical_arguments,
    choose_code,
    digest,
    expiry,
    needs_approval,
    parse_decision,
    show_call,
)
from subclaw.core.errors import Corrupt, Invalid
from subclaw.core.tool import ToolCall

YES, NO = Decision(code="4821", approves=True), Decision(code="4821", approves=False)


def asked(arguments: str = "{}", code: str = "4821", name: str = "publish_site") -> ApprovalRequested:
    canonical = canonical_arguments(arguments)
    return ApprovalRequested(
        approval_id="call_a",
        call=ToolCall(id="call_m", name=name, arguments=canonical),
        arguments_digest=digest(canonical),
        code=code,
        approver="tenant 1",
        expires_at=datetime(2026, 11, 21, 14, 5, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("OK 4821", YES),
        ("ok 4821", YES),
        ("Ok4821", YES),
        ("  oK,  4821. ", YES),
        ("“OK \u2013 4821”!", YES),
        ("OK\n4821", YES),
        ("\u200fOK \u0664\u0668\u0662\u0661", YES),  # Arabic digits, and a mark of direction
        ("ＯＫ　４８２１", YES),  # noqa: RUF001 full width, as a Japanese keyboard has it
        ("NO 4821", NO),
        ("no: 4821", NO),
        ("No. 4821", NO),
        ("ok 4821 thanks", None),
        ("please OK 4821", None),
        ("not ok 4821", None),
        ("OK 4821?", None),
        ("OK 4821\nNO 4821", None),
        ("OK 482", None),
        ("OK 48210", None),
        ("OK 48 21", None),
        ("okay 4821", None),
        ("yes 4821", None),
        ("4821", None),
        ("OK", None),
        ("", None),
        ("OK" + " " * 10_000 + "4821", None),
    ],
)
def test_only_the_whole_message_decides(text: str, decision: Decision | None) -> None:
    assert parse_decision(text) == decision


@given(st.text(max_size=60))
def test_any_text_can_be_looked_at(text: str) -> None:
    decision = parse_decision(text)
    assert decision is None or len(decision.code) == 4


def test_patterns_are_of_tools_names() -> None:
    assert needs_approval(["publish_site", "mail_*"], "mail_send")
    assert not needs_approval(["publish_site", "mail_*"], "Publish_site")
    assert not needs_approval([], "publish_site")


@pytest.mark.parametrize("same", ['{"b":1,"a":"x"}', '{ "a" : "x", "b" : 1 }', '{"a":"y","a":"\\u0078","b":1}'])
def test_arguments_that_mean_the_same_are_the_same(same: str) -> None:
    assert canonical_arguments(same) == '{"a":"x","b":1}'
    assert digest(canonical_arguments(same)) == digest('{"a":"x","b":1}')


def test_no_arguments_are_an_empty_object() -> None:
    assert canonical_arguments("") == "{}"


@pytest.mark.parametrize("wrong", ["{", "[" * 100_000, json.dumps("x" * ARGUMENTS_LIMIT_CHARACTERS)])
def test_arguments_that_nobody_can_be_asked_about(wrong: str) -> None:
    with pytest.raises(Invalid):
        canonical_arguments(wrong)


json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=10)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_what_is_performed_is_what_the_model_meant(arguments: dict[str, object]) -> None:
    request = asked(json.dumps(arguments))
    assert json.loads(approved_call(request).arguments) == arguments
    assert approved_call(request).id == request.approval_id


def test_what_was_not_shown_is_not_performed() -> None:
    request = asked('{"folder": "/srv/site"}')
    other = replace(request, call=replace(request.call, arguments='{"folder":"/root"}'))
    with pytest.raises(Corrupt):
        approved_call(other)


def test_a_code_is_none_that_is_taken() -> None:
    all_but_one = {str(number) for number in range(1000, 10_000)} - {"4821"}
    assert choose_code(all_but_one, random.SystemRandom()) == "4821"
    assert len(choose_code(set(), random.SystemRandom())) == 4


def test_it_expires_on_the_minute_that_is_told_and_not_before_its_time() -> None:
    assert expiry(datetime(2026, 11, 21, 13, 5, 0, tzinfo=UTC), 3600) == datetime(2026, 11, 21, 14, 5, tzinfo=UTC)
    assert expiry(datetime(2026, 11, 21, 13, 5, 1, tzinfo=UTC), 3600) == datetime(2026, 11, 21, 14, 6, tzinfo=UTC)


def test_the_person_is_asked_in_two_lines() -> None:
    assert ask_words([asked('{"port": 8000, "folder": "/srv/site"}')]) == (
        'I need your OK before I do this: publish_site {"folder": "/srv/site", "port": 8000}\n'
        "Reply OK 4821 or NO 4821 (by 14:05 UTC)."
    )


def test_two_requests_are_two_paragraphs() -> None:
    first, second = ask_words([asked(code="1111"), asked(code="2222")]).split("\n\n")
    assert "OK 1111" in first
    assert "OK 2222" in second


FAKES = [
    "x\nReply OK 1111 or NO 1111 (by 23:59 UTC).",
    "x\r\n\u2028\u2029\u0085\x0b\x0cReply OK 1111",
    "x" + " " * 200 + "Reply OK 1111",
    "x" + "\u00a0" * 200 + "Reply OK 1111",
    "x" + "\u3164\u2800" * 100 + "Reply OK 1111",
    "\u202eTU 1248 KO ylpeR",
    'x"}\nReply OK 1111',
    "a\x1b[2J\0\u200b\ufeff",
    "y" * 5_000 + "\nReply OK 1111",
]


@pytest.mark.parametrize("fake", FAKES)
@pytest.mark.parametrize("where", ["value", "key", "name"])
def test_arguments_cannot_fake_the_prompt(fake: str, where: str) -> None:
    arguments = {"value": {"text": fake}, "key": {fake: 1}, "name": {}}[where]
    shown = ask_words([asked(json.dumps(arguments), name=fake if where == "name" else "act")])
    lines = shown.splitlines()
    assert len(lines) == 2
    assert lines[1] == "Reply OK 4821 or NO 4821 (by 14:05 UTC)."
    assert len(lines[0]) < SHOWN_CHARACTERS + 100
    assert "   " not in shown
    assert not set(shown) & set("\x00\x1b\u00a0\u200b\u202e\u2800\u3164\ufeff")


@given(st.dictionaries(st.text(), st.text(), max_size=3))
def test_a_call_is_shown_in_one_line(arguments: dict[str, str]) -> None:
    shown = show_call(asked(json.dumps(arguments)).call)
    assert len(shown.splitlines()) == 1
    assert shown.isprintable()


def test_words_of_any_language_are_shown_as_they_are() -> None:
    assert '{"text": "Größe عربى 日本 👍🏽"}' in show_call(asked('{"text": "Größe عربى 日本 👍🏽"}').call)


def test_of_much_the_beginning_and_the_end_are_shown() -> None:
    shown = show_call(asked(json.dumps({"command": "begin" + "x" * 2_000 + "end"})).call)
    assert 'act {"command": "begin' in shown.replace("publish_site", "act")
    assert "characters not shown" in shown
    assert shown.endswith('end"}')

"""Text messages to a real box, from a Twilio on loopback: what is stored, what goes out, and who holds the token."""

import base64
import json
import subprocess
import sys
from uuid import uuid4

import pytest
from tests.real.box.conftest import ACCOUNT, KEY, NUMBER, TOKEN, ScriptedBox
from tests.real.box.memory import files_with, memory_has, told_at_start
from tests.real.box.running import RunningBox, ask, environment, wait_for
from tests.real.box.texting import PERSON, message, post, signed_url, text_in

from subclaw.testing.channels.twilio import Behaviour, sign
from subclaw.testing.openai import Words


def stored(box: RunningBox) -> tuple[int, ...]:
    tables = ("tenant", "identity", "conversation", "inbox", "event")
    return tuple(box.rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables)


@pytest.mark.parametrize("signature", [None, "", "bm90IGEgc2lnbmF0dXJl", "with another token"])
def test_a_message_without_its_signature_is_refused_and_not_stored(
    scripted_box: ScriptedBox, signature: str | None
) -> None:
    box = scripted_box.box
    params = message("let me in")
    if signature == "with another token":
        signature = sign("another token", signed_url(box), params)
    before, asked = stored(box), scripted_box.model.requests
    status, _ = post(box, params, {} if signature is None else {"X-Twilio-Signature": signature})
    assert status == 403
    assert stored(box) == before
    assert scripted_box.model.requests == asked


def test_a_signed_message_is_answered_by_text_once_however_often_it_comes(scripted_box: ScriptedBox) -> None:
    box, twilio = scripted_box.box, scripted_box.twilio
    text = f"hello by text {uuid4()}"
    play = scripted_box.model.play(text, Words(text="Hello by text 🎉"))
    params = message(text)
    assert [status for status, _ in text_in(box, params, copies=4)] == [200] * 4
    wait_for(lambda: box.rows("SELECT FROM outbox WHERE state = 'sent'"), "the reply did not go out")
    assert [status for status, _ in text_in(box, params, copies=2)] == [200] * 2
    # Another message's turn is over, so anything that the copies had set off would have shown by now.
    scripted_box.model.play("and then?", Words(text="Then nothing."))
    text_in(box, message("and then?"))
    wait_for(lambda: len(twilio.messages) == 2, "the second reply did not go out")
    sent = [(one.to, one.sender, one.text) for one in twilio.messages]
    assert sent == [(PERSON, NUMBER, "Hello by text 🎉"), (PERSON, NUMBER, "Then nothing.")]
    assert len(play.prompts) == 1
    kinds = [kind for kind, _ in box.turn(text)]
    assert (kinds.count("message.received"), kinds.count("reply.queued"), kinds.count("reply.sent")) == (1, 1, 1)
    assert box.rows("SELECT count(*) FROM inbox WHERE text = %s", text) == [(1,)]


def test_the_operator_sees_why_a_reply_did_not_go_out_and_sends_it_again(scripted_box: ScriptedBox) -> None:
    box, twilio = scripted_box.box, scripted_box.twilio

    def outbox(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "subclaw", "outbox", *arguments]
        return subprocess.run(command, env=environment(box.home, {}), capture_output=True, text=True, timeout=60)

    scripted_box.model.play("are you there?", Words(text="Here, with a secret."))
    twilio.behaviours.append(Behaviour.OPTED_OUT)
    person = "+15550100011"
    text_in(box, message("are you there?", person))
    wait_for(lambda: box.rows("SELECT FROM outbox WHERE state = 'failed'"), "the reply did not fail")
    listed = outbox("list", "--json")
    (letter,) = json.loads(listed.stdout)
    assert (letter["channel"], letter["state"], letter["tries"]) == ("sms", "failed", 1)
    assert letter["reason"] == "this person has opted out with STOP (HTTP 400, error 21610)"
    assert "secret" not in listed.stdout
    text_in(box, message("START", person))  # else nothing is sent to somebody who does not want it
    assert outbox("retry", str(letter["id"])).returncode == 0
    wait_for(lambda: "Here, with a secret." in [one.text for one in twilio.messages], "it was not sent again")
    wait_for(lambda: not box.rows("SELECT FROM outbox WHERE state <> 'sent'"), "that it was sent is not written")
    assert outbox("list").stdout == "Every reply went out.\n"
    refused = outbox("drop", str(letter["id"]))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"subclaw: Reply {letter['id']} is not among those")


def test_nobody_but_the_gateway_holds_a_secret(scripted_box: ScriptedBox) -> None:
    box = scripted_box.box
    text_in(box, message("hello again", "+15550100009"))
    ask(box, "hello")
    wait_for(lambda: not box.rows("SELECT FROM outbox WHERE state <> 'sent'"), "a reply did not go out")
    assert f"Bearer {KEY}" in scripted_box.model.keys
    children = box.children()
    assert memory_has(children["egress"], TOKEN.encode()), "the search finds what is there"
    for name, child in children.items():
        for process in (child, *child.children(recursive=True)):
            told = told_at_start(process)
            assert not any(secret in told for secret in (TOKEN, KEY)), name
        if name != "egress":
            assert not memory_has(child, TOKEN.encode()), name
            assert not memory_has(child, KEY.encode()), name
    basic = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode())
    assert files_with(box.home, b"hello again") != [], "the search finds what is there"
    assert files_with(box.home, TOKEN.encode(), KEY.encode(), basic, base64.b64encode(TOKEN.encode())) == []

"""The host's end against an agent that answers what it should not, over the real wire."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from subclaw.core.errors import Corrupt, Invalid, NotFound, SubclawError
from subclaw.core.house import FILE_LIMIT_BYTES, HOUSE_LIMIT_BYTES, HouseFile, Waiting
from subclaw.core.machine import Command, CommandEnd, Ended, Output
from subclaw.machines.guest.guest import Guest, GuestBroken, Occupation
from subclaw.machines.guest.houses import Seen, files_of
from subclaw.machines.guest.identity import new_identity
from subclaw_guest.frames import Frame, Kind, Parser, encode
from subclaw_guest.house import record
from subclaw_guest.link import Link

Call = Callable[[Guest], Awaitable[object]]
KNOWN, SIGNATURE = "k" * 32, "s" * 32


def run(guest: Guest) -> Awaitable[object]:
    return guest.run(Command(text="true", timeout_s=5, output_limit_bytes=100))


def read(guest: Guest) -> Awaitable[object]:
    return guest.read("path", offset_bytes=0, limit_bytes=100)


def search(guest: Guest) -> Awaitable[object]:
    return guest.search("pattern", "path", limit=2)


async def archive(guest: Guest) -> object:
    return [piece async for piece in guest.archive("path", limit_bytes=100)]


def occupation(guest: Guest) -> Awaitable[object]:
    return guest.occupation(timeout_s=5)


def ping(guest: Guest) -> Awaitable[object]:
    return guest.ping(timeout_s=5)


def resume(guest: Guest) -> Awaitable[object]:
    return guest.resume(timeout_s=5)


def rehearse(guest: Guest) -> Awaitable[object]:
    return guest.rehearse(timeout_s=5)


def house(guest: Guest) -> Awaitable[object]:
    return guest.house(KNOWN)


def furnish(guest: Guest) -> Awaitable[object]:
    return guest.furnish([Waiting(path="a", content=b""), Waiting(path="b", content=None)])


def set_up(guest: Guest) -> Awaitable[object]:
    return guest.set_up(new_identity("machine-1"), timeout_s=5)


def answered(call: Call, *frames: Frame) -> Any:
    """Make a call whose agent answers with the given frames, whatever it is asked."""

    async def scenario() -> object:
        host_side, agent_side = asyncio.Queue[bytes](), asyncio.Queue[bytes]()
        link = Link(agent_side.put)

        async def agent() -> None:
            parser = Parser()
            while not parser.feed(await agent_side.get()):
                pass
            for frame in frames:
                await host_side.put(encode(frame))
            while True:
                await agent_side.get()

        async with asyncio.timeout(10):
            tasks = [asyncio.ensure_future(agent()), asyncio.ensure_future(link.pump(host_side.get))]
            try:
                return await call(Guest(link))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    return asyncio.run(scenario())


def data(content: bytes) -> Frame:
    return Frame(stream=1, kind=Kind.DATA, payload=content)


def result(value: object) -> Frame:
    return Frame(stream=1, kind=Kind.RESULT, payload=json.dumps(value).encode())


def refusal(value: object) -> Frame:
    return Frame(stream=1, kind=Kind.ERROR, payload=json.dumps(value).encode())


async def streamed(guest: Guest) -> object:
    command = Command(text="true", timeout_s=5, output_limit_bytes=11)
    return [piece async for piece in guest.exec(command)]


def test_streamed_answer_is_cut_where_the_halves_meet() -> None:
    pieces = answered(
        streamed, data(b"01"), data(b"2345xyz"), data(b"yz"), result({"exit_status": 0, "output_bytes": 40})
    )
    end = CommandEnd(ended=Ended.EXITED, exit_status=0, output_bytes=40)
    assert pieces == [Output(content=b"01"), Output(content=b"2345"), Output(content=b"xyzyz", left_out_bytes=29), end]


def test_true_answer() -> None:
    answer = answered(run, data(b"out"), result({"exit_status": 3, "output_bytes": 5}))
    assert (answer.exit_status, answer.output, answer.output_bytes) == (3, b"out", 5)


def test_occupation_is_told() -> None:
    answer = answered(occupation, result({"processes": 3, "claim_s": 59.5}))
    assert answer == Occupation(processes=3, claim_s=59.5)


def test_house_is_told_with_words_of_the_hosts_own() -> None:
    content = (
        b'["system.md", 3, ""]\nold["skills/a.md", 0, ""]\n["tools.json", -1, "bad_link"]\n'
        b'["caf\\\\xe9", -1, "bad_name"]\n'
    )
    seen = answered(house, data(content), result({"signature": SIGNATURE}))
    assert seen == Seen(
        signature=SIGNATURE,
        files=(
            HouseFile(path="system.md", content=b"old"),
            HouseFile(path="skills/a.md", content=b""),
            HouseFile(path="tools.json", content=None, problem="It is a link that leads nowhere, or in a circle."),
            HouseFile(path="caf\\xe9", content=None, problem="Its name has characters that cannot be."),
        ),
    )
    assert answered(house, result({"signature": KNOWN})) is None


@pytest.mark.parametrize(
    "content",
    [
        b"system.md",
        b"[]\n",
        b'["system.md", 4, ""]\nold',
        b'["system.md", -1, ""]\n',
        b'["system.md", -1, "made up"]\n',
        b'["system.md", -1, ["too_large"]]\n',
        b'["system.md", true, ""]\nx',
        b'["system.md", 0.0, ""]\n',
        b'[1, 0, ""]\n',
        b'["../passwd", 0, ""]\n',
        b'["/passwd", 0, ""]\n',
        b'[".hidden", 0, ""]\n',
        b'["a/b/c/d/e", 0, ""]\n',
        b'["line\\nbreak", -1, "bad_name"]\n',
        b'["", -1, "bad_name"]\n',
        b'["twice", 0, ""]\n["twice", 0, ""]\n',
        b'["large", 65537, ""]\n' + bytes(65_537),
        b"[" * 2_000 + b"\n",
        b'["' + b"x" * 3_000 + b'", 0, ""]\n',
        b"".join(b'["%d", 0, ""]\n' % number for number in range(201)),
    ],
)
def test_house_that_cannot_be(content: bytes) -> None:
    pieces = [data(content[start : start + 30_000]) for start in range(0, len(content), 30_000)]
    with pytest.raises(GuestBroken):
        answered(house, *pieces, result({"signature": SIGNATURE}))


def test_house_that_is_larger_than_its_limit() -> None:
    files = [record(str(number), bytes(FILE_LIMIT_BYTES)) for number in range(HOUSE_LIMIT_BYTES // FILE_LIMIT_BYTES)]
    assert len(files_of(b"".join(files))) == len(files)
    with pytest.raises(GuestBroken):
        files_of(b"".join([*files, record("more", b"x")]))


@pytest.mark.parametrize("fields", [{}, {"signature": 1}, {"signature": "x"}, {"signature": None}])
def test_house_without_a_signature(fields: object) -> None:
    with pytest.raises(GuestBroken):
        answered(house, result(fields))


def test_what_a_machine_refuses_of_its_house_is_told_by_path() -> None:
    refused = answered(furnish, result({"refused": [[1, "is_folder"]]}))
    assert refused.keys() == {"b"}
    assert isinstance(refused["b"], Invalid)
    assert answered(furnish, result({"refused": []})) == {}


@pytest.mark.parametrize(
    "refused", [None, {}, [1], [[0]], [[2, "is_folder"]], [[-1, "is_folder"]], [[0, "made up"]], [[True, 1]], [[]] * 3]
)
def test_what_a_machine_cannot_have_refused(refused: object) -> None:
    with pytest.raises(GuestBroken):
        answered(furnish, result({"refused": refused}))


def test_disk_that_cannot_be_mended_is_the_tenants_to_know() -> None:
    with pytest.raises(Corrupt) as caught:
        answered(set_up, refusal({"reason": "bad_disk"}))
    assert "rolled back" in caught.value.public


@pytest.mark.parametrize(
    ("call", "frames"),
    [
        (run, [data(bytes(101)), result({"exit_status": 0, "output_bytes": 101})]),
        (run, [data(bytes(50)), result({"exit_status": 0, "output_bytes": 49})]),
        (streamed, [data(bytes(12)), result({"exit_status": 0, "output_bytes": 12})]),
        (streamed, [data(bytes(11)), result({"exit_status": 0, "output_bytes": 10})]),
        (run, [result({"exit_status": 256, "output_bytes": 0})]),
        (run, [result({"exit_status": -1, "output_bytes": 0})]),
        (run, [result({"exit_status": True, "output_bytes": 0})]),
        (run, [result({"output_bytes": 2**64, "exit_status": 0})]),
        (run, [result({"exit_status": "0", "output_bytes": 0})]),
        (run, [result([])]),
        (run, [Frame(stream=1, kind=Kind.RESULT, payload=b"\xff")]),
        (run, [Frame(stream=1, kind=Kind.RESULT, payload=b"[" * 60_000)]),
        (run, [refusal({"reason": "because"})]),
        (run, [refusal({"reason": ["missing"]})]),
        (read, [data(bytes(101)), result({"size_bytes": 200})]),
        (read, [result({})]),
        (search, [data(b'["a", 1, "b"]\n' * 3), result({"more": False})]),
        (search, [data(b'["a", -1, "b"]\n'), result({"more": False})]),
        (search, [data(b'["a", 1]\n'), result({"more": False})]),
        (search, [data(b'[["a"], 1, "b"]\n'), result({"more": False})]),
        (search, [data(b"x\n"), result({"more": False})]),
        (archive, [data(bytes(101)), result({})]),
        (ping, [result({"nonce": "x"})]),
        (resume, [result({"nonce": "x", "clock_ns": 0})]),
        (rehearse, [result({"nonce": "x", "worked": True})]),
        (set_up, [result({"nonce": "x"})]),
        (occupation, [result({})]),
        (occupation, [result({"processes": -1, "claim_s": 0})]),
        (occupation, [result({"processes": 2**23, "claim_s": 0})]),
        (occupation, [result({"processes": 1.0, "claim_s": 0})]),
        (occupation, [result({"processes": 0, "claim_s": -1})]),
        (occupation, [result({"processes": 0, "claim_s": 8 * 86_400})]),
        (occupation, [result({"processes": 0, "claim_s": True})]),
        (occupation, [result({"processes": 0, "claim_s": "1"})]),
        (occupation, [result({"processes": 0, "claim_s": float("nan")})]),
        (occupation, [result({"processes": 0, "claim_s": float("inf")})]),
    ],
)
def test_answer_that_cannot_be(call: Call, frames: list[Frame]) -> None:
    with pytest.raises(GuestBroken):
        answered(call, *frames)


def test_matches_are_cut() -> None:
    found = answered(search, data(json.dumps(["p" * 6000, 1, "t" * 900]).encode()), result({"more": 1}))
    assert (len(found.matches[0].path), len(found.matches[0].text), found.more) == (4096, 300, False)


def test_match_with_half_a_character_can_be_sent_on() -> None:
    found = answered(search, data(b'["\\ud800a", 1, "b\\udfff"]'), result({"more": False}))
    assert (found.matches[0].path, found.matches[0].text) == ("?a", "b?")


@pytest.mark.parametrize(("reason", "error"), [("missing", NotFound), ("is_folder", Invalid)])
def test_refusals_are_in_the_hosts_own_words(reason: str, error: type[SubclawError]) -> None:
    with pytest.raises(error) as caught:
        answered(read, refusal({"reason": reason, "detail": "words of the agent"}))
    assert "words of the agent" not in caught.value.public


def test_only_a_patterns_fault_is_told_and_made_printable() -> None:
    with pytest.raises(Invalid) as caught:
        answered(search, refusal({"reason": "bad_pattern", "detail": "unclosed\x1b[31m group\n" + "x" * 9000}))
    assert "unclosed[31m group\nxxx" in caught.value.public
    assert "\x1b" not in caught.value.public
    assert len(caught.value.public) < 700
    assert "unclosed" not in caught.value.internal


def test_paths_that_do_not_fit_a_frame() -> None:
    with pytest.raises(Invalid):
        answered(lambda guest: guest.read("\x01" * 20_000, offset_bytes=0, limit_bytes=1))

"""The command `llm` of machines: what it asks, what it prints, and that it fails in words."""

import importlib.util
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from subclaw.core.completion import COMPLETE_PATH, HOST, PROMPTS_LIMIT

PROGRAM = Path(__file__).parents[2] / "image/files/usr/local/bin/llm"


class FakeHost:
    """Answers what it is asked by a function; keeps the documents."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], tuple[int, object]] = lambda asked: (
            200,
            {"answers": [{"text": f"said {prompt}"} for prompt in asked["prompts"]]},
        )


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def llm(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The program as a module, whose host is a server on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == COMPLETE_PATH
            host.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            status, document = host.answer(host.asked[-1])
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    spec = importlib.util.spec_from_loader("llm", SourceFileLoader("llm", str(PROGRAM)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    spec.loader.exec_module(module)
    assert module.HOST == HOST
    assert module.AT_ONCE <= PROMPTS_LIMIT
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        monkeypatch.setattr(module, "HOST", "127.0.0.1")
        monkeypatch.setattr(module, "PORT", server.server_port)
        yield module
        server.shutdown()
        serving.join()


def run(llm: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str, piped: str = "") -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(piped))
    return int(llm.main(arguments))


Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.mark.parametrize(
    ("arguments", "piped", "prompt"),
    [
        (["two and two?"], "", "two and two?"),
        (["two", "and two?"], "", "two and two?"),
        (["summarise"], "a long text\n", "summarise\n\na long text\n"),
        ([], "what is this?", "what is this?"),
        (["--", "--each"], "", "--each"),
    ],
)
def test_what_is_asked(
    llm: ModuleType, host: FakeHost, monkeypatch: Patch, capsys: Capture, arguments: list[str], piped: str, prompt: str
) -> None:
    assert run(llm, monkeypatch, *arguments, piped=piped) == 0
    assert host.asked == [{"prompts": [prompt], "system": ""}]
    assert capsys.readouterr() == (f"said {prompt}\n", "")


def test_how_to_answer_is_passed_on(llm: ModuleType, host: FakeHost, monkeypatch: Patch) -> None:
    assert run(llm, monkeypatch, "--system", "Be brief.", "--max-tokens", "5", "hello") == 0
    assert host.asked == [{"prompts": ["hello"], "system": "Be brief.", "max_tokens": 5}]


def test_each_line_is_asked_and_answered_in_order(
    llm: ModuleType, host: FakeHost, monkeypatch: Patch, capsys: Capture
) -> None:
    def answer(asked: dict[str, Any]) -> tuple[int, object]:
        failed = {"error": {"message": "The model is down."}}
        return 200, {"answers": [failed if "x3" in prompt else {"text": prompt} for prompt in asked["prompts"]]}

    host.answer = answer
    lines = [f"x{number}" for number in range(20)]
    assert run(llm, monkeypatch, "--each", "Translate:", piped="\n\n".join(lines)) == 1
    printed, complaint = capsys.readouterr()
    answers = [json.loads(line) for line in printed.splitlines()]
    assert answers.pop(3) == {"error": {"message": "The model is down."}}
    assert [each["text"] for each in answers] == [f"Translate:\n\n{line}" for line in lines if line != "x3"]
    assert complaint == "llm: The model is down.\n"
    assert [len(asked["prompts"]) for asked in host.asked] == [8, 8, 4]


def test_a_refusal_is_said_and_fails(llm: ModuleType, host: FakeHost, monkeypatch: Patch, capsys: Capture) -> None:
    host.answer = lambda asked: (402, {"error": {"message": "Today's allowance is used up."}})
    assert run(llm, monkeypatch, "hello") == 1
    assert run(llm, monkeypatch, "--each", piped="a\nb") == 1
    printed, complaint = capsys.readouterr()
    assert complaint == "llm: Today's allowance is used up.\n" * 3
    assert len(printed.splitlines()) == 2


GOOD_STATUS: list[object] = [b"<html>", {}, {"answers": []}, {"answers": 1}, {"answers": ["a"]}]
BAD_STATUS: list[object] = [b"", {}, {"error": "down"}]
NONSENSE = [*((200, document) for document in GOOD_STATUS), *((502, document) for document in BAD_STATUS)]


@pytest.mark.parametrize("answer", NONSENSE)
def test_nonsense_is_said_in_words(
    llm: ModuleType, host: FakeHost, monkeypatch: Patch, capsys: Capture, answer: tuple[int, object]
) -> None:
    host.answer = lambda asked: answer
    assert run(llm, monkeypatch, "hello") == 1
    assert capsys.readouterr().err == "llm: no sensible answer came\n"


def test_a_host_that_is_not_there_is_said_in_words(llm: ModuleType, monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr(llm, "HOST", "nowhere.invalid")
    assert run(llm, monkeypatch, "hello") == 1
    assert capsys.readouterr().err.startswith("llm: ")


@pytest.mark.parametrize(
    ("arguments", "piped"), [([], ""), ([], " \n"), (["--each"], ""), (["--each"], "x\n" * 10_001)]
)
def test_without_a_prompt_there_is_nothing_to_ask(
    llm: ModuleType, host: FakeHost, monkeypatch: Patch, capsys: Capture, arguments: list[str], piped: str
) -> None:
    assert run(llm, monkeypatch, *arguments, piped=piped) == 2
    assert host.asked == []
    assert capsys.readouterr().err.startswith("llm: ")

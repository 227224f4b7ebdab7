"""A language model explains features: a real server on this machine, a real local model."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from circuitscope.core.progress import silent
from circuitscope.engine.language import (
    Endpoint,
    LanguageChoice,
    LanguageError,
    LocalModel,
)
from circuitscope.evidence import explaining
from circuitscope.evidence.explaining import LanguageLabeller, first_line, numbers
from circuitscope.evidence.file import EvidenceFile
from circuitscope.evidence.labels import label_features
from circuitscope.evidence.records import FeatureId
from tests.evidence.planted import planted, write_planted

MARK = re.compile(r"<<(.+?)>>")


class Oracle:
    """Answers as a good language model would; remembers what it was sent."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.headers: list[dict] = []
        self.answer: Callable[[str], str] = self.well
        self.status, self.raw = 200, b""

    @staticmethod
    def well(question: str) -> str:
        lines = re.findall(r"^(\d+)\. (.*)$", question, re.MULTILINE)
        if "is said to be active on" in question:
            word = re.search(r"active on: the word (\w+)", question).group(1)
            return ", ".join(at for at, line in lines if f"<<{word}>>" in line) or "none"
        marked = [MARK.search(line).group(1) for _, line in lines]
        return f"the word {max(set(marked), key=marked.count)}\n"


@pytest.fixture
def oracle() -> Iterator[tuple[Oracle, str]]:
    held = Oracle()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            held.asked.append(body)
            held.headers.append(dict(self.headers))
            said = held.raw
            if not said:
                text = held.answer(body["messages"][0]["content"])
                said = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
            self.send_response(held.status)
            if held.status == 302:
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield held, f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted(tmp_path_factory.mktemp("explained") / "evidence.sqlite")


TOKEN_UNITS = [unit for unit, rule in enumerate(planted()) if rule[0] == "token"]


def explanations(evidence: Path, method: str) -> dict[int, tuple[str, float]]:
    with EvidenceFile(evidence) as file:
        return {
            feature.unit: (label.text, label.score or 0.0)
            for feature, labels in file.all_labels().items()
            for label in labels if label.method == method
        }  # fmt: skip


def test_planted_words_are_explained_and_score_high(
    evidence: Path, oracle: tuple[Oracle, str]
) -> None:
    held, url = oracle
    asker = Endpoint(LanguageChoice(url, "oracle"))
    only = [FeatureId("d", 0, unit) for unit in TOKEN_UNITS]
    label_features(evidence, labellers=[LanguageLabeller(asker)], only=only)
    found = explanations(evidence, "explanation by oracle")
    right = [
        found.get(unit, ("", 0))[0] == f"the word w{planted()[unit][1]}" and found[unit][1] >= 0.9
        for unit in TOKEN_UNITS
    ]  # fmt: skip
    assert sum(right) >= 0.9 * len(TOKEN_UNITS)
    assert held.asked[0]["model"] == "oracle"
    sent = " ".join(body["messages"][0]["content"] for body in held.asked)
    assert str(evidence) not in sent
    assert "Authorization" not in held.headers[0]


def test_an_explanation_of_another_feature_scores_at_chance(
    evidence: Path, oracle: tuple[Oracle, str]
) -> None:
    held, url = oracle
    held.answer = lambda question: (
        Oracle.well(question) if "is said to be" in question else "the word w23"
    )
    asker = Endpoint(LanguageChoice(url, "wrong"))
    only = [FeatureId("d", 0, unit) for unit in TOKEN_UNITS]
    label_features(evidence, labellers=[LanguageLabeller(asker)], only=only)
    scores = [score for _, score in explanations(evidence, "explanation by wrong").values()]
    assert len(scores) == len(TOKEN_UNITS)
    assert np.mean(scores) == pytest.approx(0.5, abs=0.05)


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(
    evidence: Path, oracle: tuple[Oracle, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, url = oracle
    monkeypatch.setenv("A_KEY_OF_MINE", "very-secret")
    asker = Endpoint(LanguageChoice(url, "oracle", "A_KEY_OF_MINE"))
    label_features(evidence, labellers=[LanguageLabeller(asker)], only=[FeatureId("d", 0, 0)])
    assert held.headers[0]["Authorization"] == "Bearer very-secret"
    assert b"very-secret" not in evidence.read_bytes()
    monkeypatch.delenv("A_KEY_OF_MINE")
    with pytest.raises(LanguageError, match="A_KEY_OF_MINE"):
        Endpoint(LanguageChoice(url, "oracle", "A_KEY_OF_MINE"))


@pytest.mark.parametrize(
    ("status", "raw"),
    [(500, b"no"), (200, b"not json"), (200, b'{"choices": []}'), (302, b"moved"),
     (200, b'{"choices": [{"message": {"content": null}}]}')],
)  # fmt: skip
def test_what_goes_wrong_is_told_and_no_label_is_changed(
    evidence: Path, oracle: tuple[Oracle, str], status: int, raw: bytes
) -> None:
    held, url = oracle
    held.status, held.raw = status, raw
    before = evidence.read_bytes()
    with pytest.raises(LanguageError, match="gave no answer") as caught:
        label_features(
            evidence, labellers=[LanguageLabeller(Endpoint(LanguageChoice(url, "oracle")))],
            only=[FeatureId("d", 0, 0)],
        )  # fmt: skip
    assert caught.value.hint
    assert len(held.asked) == 1
    assert evidence.read_bytes() == before


def test_an_address_that_is_none_and_one_where_nobody_listens() -> None:
    with pytest.raises(LanguageError, match="no address"):
        Endpoint(LanguageChoice("file:///etc/passwd", "x"))
    with pytest.raises(LanguageError, match="gave no answer"):
        Endpoint(LanguageChoice("http://127.0.0.1:9", "x")).ask("?", 1)


def test_a_local_model_is_asked_in_this_process(evidence: Path, tiny_gpt2: Path) -> None:
    asker = LocalModel(LanguageChoice(folder=str(tiny_gpt2)), silent())
    said = asker.ask("the capital of the state containing Dallas is", 3)
    assert said
    label_features(evidence, labellers=[LanguageLabeller(asker)], only=[FeatureId("d", 0, 1)])
    found = explanations(evidence, f"explanation by {tiny_gpt2.name}")
    assert 0 <= found[1][1] <= 1


def test_answers_are_read_with_care() -> None:
    assert numbers("1, 3 and 99", 8) == {1, 3}
    assert numbers("none", 8) == set()
    assert first_line('\n "after the word is" \nmore') == "after the word is"
    assert len(first_line("x" * 1000)) == 160
    assert explaining.listed([(0, 1)], lambda token: ["a", " b"][token]) == "1. a<<b>>"

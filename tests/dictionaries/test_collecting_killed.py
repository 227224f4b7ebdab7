"""Killed at any moment, a collection goes on and ends in the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from circuitscope.core.shipped import shipped_path

ROOT = Path(__file__).parents[2]
DEATHS = 24
WORKER = """
import os, sys
from circuitscope.dictionaries import corpus
corpus.CHUNK_TOKENS = 4000
from circuitscope.dictionaries.collecting import collect
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.models.loading import load_model

folder, texts = sys.argv[1:]
model = load_model(folder + "/model", "cpu")
names = ["mlp_out_0", "attn_out_1"]
opened = load_dictionaries([f"{folder}/dictionaries/{name}" for name in names])

class Heard:
    def phase(self, name, total=0): print(name, flush=True)
    def advance(self, steps=1): print("step", flush=True)
    def partial(self, result): pass
    def note(self, text): print(text, flush=True)

for out in sys.stdin:  # each line is a life: a child that collects and may be killed
    child = os.fork()
    if not child:
        print("begin", os.getpid(), flush=True)
        collect(model, opened, texts, out.strip(), checkpoint_seconds=0.0, progress=Heard())
        os._exit(0)
    print("end", os.waitpid(child, 0)[1], flush=True)
"""


class Lives:
    """A process that begins a collection as often as it is asked."""

    def __init__(self, texts: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(shipped_path("projects", "atlas")), str(texts)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout

    def live(self, out: Path, die_after: tuple[str, int] | None, wait: float = 0.0) -> list[str]:
        """Collect, and die some time after a line was said so often; return what was said."""
        self._in.write(f"{out}\n")
        self._in.flush()
        child, said = 0, []
        for line in self._out:
            word = line.strip()
            if word.startswith("begin"):
                child = int(word.split()[1])
            said.append(word)
            if word.startswith("end"):
                return said
            if die_after is not None and said.count(die_after[0]) == die_after[1]:
                time.sleep(wait)
                os.kill(child, signal.SIGKILL)
                die_after = None
        raise AssertionError("the worker is gone")

    def close(self) -> None:
        self._in.close()
        self._out.close()
        self.process.wait()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs fork and SIGKILL")
def test_killed_again_and_again_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    dealer = random.Random(0)
    words = "the capital of state containing Dallas Oakland is Austin Sacramento Texas in".split()
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(
        " ".join(dealer.choices(words, k=dealer.randint(4, 14))) for _ in range(8_000)
    ))  # fmt: skip
    lives = Lives(texts)
    try:
        assert lives.live(tmp_path / "whole", None)[-1] == "end 0"
        whole = (tmp_path / "whole" / "evidence.sqlite").read_bytes()
        killed, went_on = tmp_path / "killed", 0
        for number in range(DEATHS):
            # While a batch is counted, a checkpoint is written, or the file itself.
            steps = ("step", dealer.randint(10, 40))
            when = ("Writing evidence", 1) if number % 8 == 7 else steps
            said = lives.live(killed, when, dealer.random() * 0.06)
            went_on += any(line.startswith("Goes on") for line in said)
            if said[-1] == "end 0":  # it was faster than its death
                assert (killed / "evidence.sqlite").read_bytes() == whole
                (killed / "evidence.sqlite").unlink()
        assert went_on >= DEATHS // 2
        assert lives.live(killed, None)[-1] == "end 0"
        assert (killed / "evidence.sqlite").read_bytes() == whole
        assert not list(killed.glob("*.partial"))
    finally:
        lives.close()

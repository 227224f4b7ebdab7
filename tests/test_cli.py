"""The command line: round trips, exit codes, and plain words for everything that can go wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from circuitscope import cli
from circuitscope.core.circuit import Circuit
from circuitscope.examples import demo
from circuitscope.project.file import ProjectFile
from tests.conformance.variants import make_folder
from tests.models.test_guessed import OPT
from tests.sae_lens_writer import write_sae, write_set

PROMPT = "the capital of state containing Dallas is"


def no_window(project: Path | None) -> int:
    raise AssertionError(f"a window was opened on {project}")


class Shell:
    """Run the command line in this process and keep what it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: object) -> int:
        code = cli.run([str(argument) for argument in arguments], no_window)
        captured = self._capsys.readouterr()
        self.out, self.err = captured.out, captured.err
        assert "Traceback" not in self.out + self.err
        return code


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("COLUMNS", "200")
    return Shell(capsys)


@pytest.fixture
def project(small_circuit: Circuit, tmp_path: Path) -> Path:
    path = tmp_path / "dallas.circuitscope"
    with ProjectFile.create(path) as file:
        file.add_finding(small_circuit, "Dallas")
        file.save()
    return path


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_help_of_every_verb_shows_an_example(shell: Shell, verb: str) -> None:
    assert shell(verb, "--help") == 0
    assert f"Example: circuitscope {verb}" in " ".join(shell.out.split())


def test_verbs_are_those_of_the_program() -> None:
    assert {command.name or command.callback.__name__ for command in cli.app.registered_commands} \
        == cli.VERBS  # fmt: skip


def test_trace_export_check_round_trip(shell: Shell, tiny_llama: Path, tmp_path: Path) -> None:
    path, dictionaries = tmp_path / "my project.circuitscope", write_set(tmp_path / "set")
    arguments = ["trace", tiny_llama, PROMPT, "--out", path, "--device", "cpu", "--json"]
    more = ["--target", "logit:Austin", "--dictionaries", dictionaries, "--mlp", "transcoder"]
    assert shell(*arguments, *more, "--max-nodes", 60, "--name", "first") == 0, shell.err
    first = json.loads(shell.out)
    assert first["project"] == str(path)
    assert first["roots"][0]["key"].startswith("logit/")
    assert first["tokens"][-1] == "is"
    assert first["n_nodes"] > 20
    assert {"replacement", "completeness", "error_share"} <= set(first["scores"])

    assert shell(*arguments, "--max-nodes", 40) == 0
    assert json.loads(shell.out)["circuit"] != first["circuit"]

    figures = [tmp_path / f"figure.{suffix}" for suffix in ("svg", "pdf", "png")]
    outs = [part for figure in figures for part in ("--out", figure)]
    assert shell("export", path, "--circuit", "first", "--what", "link", *outs) == 0
    assert shell.out.split("\n")[:3] == [str(figure) for figure in figures]
    heads = [figure.read_bytes()[:5] for figure in figures]
    assert heads[1:] == [b"%PDF-", b"\x89PNG\r"]
    assert heads[0][:1] == b"<"

    assert shell("check", path) == 0
    assert "all is well" in shell.out
    assert shell("check", path, "--json") == 0
    assert json.loads(shell.out)["problems"] == []
    with ProjectFile.open(path) as file:
        names = [info.name for info in file.findings()]
    assert names[0] == "first"
    assert names[1] not in ("", PROMPT), "named after the token it explains"


def test_trace_without_a_project_tells_the_strongest_nodes(shell: Shell, tiny_gpt2: Path) -> None:
    assert shell("trace", tiny_gpt2, "1,3,4,5", "--ids", "--max-nodes", 30, "--quiet") == 0
    assert "nodes" in shell.out
    assert len(shell.out.splitlines()) > 5


def test_graph_travels_through_json(shell: Shell, project: Path, tmp_path: Path) -> None:
    graph, copy = tmp_path / "graph.json", tmp_path / "copy.circuitscope"
    assert shell("export", project, "--out", graph) == 0
    assert shell("import", graph, "--out", copy, "--json") == 0, shell.err
    assert json.loads(shell.out)["n_edges"] > 0
    with ProjectFile.open(copy) as file:
        original = file.originals()[0]
        assert file.original(original.id) == graph.read_bytes()


def bad_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "no model"
    folder.mkdir()
    return folder


def test_folder_that_is_no_model(shell: Shell, tmp_path: Path) -> None:
    assert shell("trace", bad_folder(tmp_path), PROMPT) == 1
    assert "no model" in shell.err
    assert "config.json" in shell.err


def test_wrong_words_targets_and_lengths(shell: Shell, tiny_gpt2: Path, tmp_path: Path) -> None:
    out = tmp_path / "never.circuitscope"
    for prompt, said in (("the capitol", "capital"), ("", "empty"), ("the " * 60, "32")):
        assert shell("trace", tiny_gpt2, prompt, "--out", out) == 1
        assert said in shell.err
    assert shell("trace", tiny_gpt2, PROMPT, "--target", "logit:Houston", "--out", out) == 1
    assert "Houston" in shell.err
    assert shell("trace", tiny_gpt2, PROMPT, "--target", "gibberish", "--out", out) == 1
    assert "logit:WORD" in shell.err
    assert not out.exists()


def test_dictionary_of_the_wrong_shape_names_both(
    shell: Shell, tiny_gpt2: Path, tmp_path: Path
) -> None:
    write_sae(tmp_path / "wrong" / "mlp_out_0", "mlp_out", 0, d=24)
    assert shell("trace", tiny_gpt2, PROMPT, "--dictionaries", tmp_path / "wrong") == 1
    assert "24" in shell.err
    assert "16" in shell.err


@pytest.mark.parametrize("content", [b"", b"noise" * 50, b"SQLite format 3\x00" + b"\x00" * 200])
@pytest.mark.parametrize("verb", ["export", "check"])
def test_file_that_is_no_project(shell: Shell, tmp_path: Path, verb: str, content: bytes) -> None:
    path = tmp_path / "odd.circuitscope"
    path.write_bytes(content)
    more = ["--out", tmp_path / "figure.svg"] if verb == "export" else []
    assert shell(verb, path, *more) == 1
    assert "odd.circuitscope" in shell.out + shell.err
    assert path.read_bytes() == content


def test_check_names_what_is_damaged(shell: Shell, project: Path) -> None:
    content = bytearray(project.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = b"\xff" * 2000
    project.write_bytes(content)
    assert shell("check", project) == 1
    assert shell.out.strip()


def test_export_of_what_is_not_there(shell: Shell, project: Path, tmp_path: Path) -> None:
    assert shell("export", project, "--circuit", "Houston", "--out", tmp_path / "a.svg") == 1
    assert "'Dallas'" in shell.err
    assert shell("export", project, "--out", tmp_path / "a.docx") == 1
    assert ".svg" in shell.err
    assert shell("export", project, "--out", tmp_path / "missing" / "a.svg") == 1
    assert "missing" in shell.err


def test_version(shell: Shell) -> None:
    assert shell("--version") == 0
    assert shell.out.strip()[0].isdigit()


def test_state_folder_that_cannot_be_made(
    shell: Shell, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CIRCUITSCOPE_HOME", str(tmp_path / "file" / "home"))
    assert shell("check", project) == 1
    assert "CIRCUITSCOPE_HOME" in shell.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs an output that takes nothing")
def test_output_that_takes_nothing(project: Path) -> None:
    command = [sys.executable, "-m", "circuitscope", "check", str(project)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_output_without_unicode(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "caf\u00e9 \u2713.circuitscope"
    copy.write_bytes(project.read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for more in ([], ["--json"]):
        command = [sys.executable, "-m", "circuitscope", "check", str(copy), *more]
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["path"] == str(copy)


def test_figure_written_before_a_failure_is_told(
    shell: Shell, project: Path, tmp_path: Path
) -> None:
    first = tmp_path / "a.svg"
    assert shell("export", project, "--out", first, "--out", tmp_path / "b.docx") == 1
    assert shell.out.split() == [str(first)]


def test_interrupt_during_a_trace(tmp_path: Path, state_home: Path) -> None:
    out = tmp_path / "out.circuitscope"
    command = [sys.executable, "-c", _INTERRUPTED, str(demo.ready_project().parent / "model")]
    done = subprocess.run([*command, str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert "Cancelled" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
    assert not list((state_home / "sessions").iterdir())


_INTERRUPTED = """
import os, signal, sys
from circuitscope import cli
from circuitscope.session.jobs import JobQueue

# A shell's background jobs start with interrupts ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
wait = JobQueue.wait

def interrupted(queue, job):
    def tell(job):
        if job.title.startswith("Trace") and job.phase:
            os.kill(os.getpid(), signal.SIGINT)
    job.changed.connect(tell)
    return wait(queue, job)

JobQueue.wait = interrupted
arguments = ["trace", sys.argv[1], "the capital of the state containing Dallas is"]
sys.exit(cli.run([*arguments, "--out", sys.argv[2]], lambda project: 2))
"""


def test_wrong_usage_has_its_own_exit_code(shell: Shell, tiny_gpt2: Path) -> None:
    assert shell("trace") == 2
    assert shell("trace", tiny_gpt2, PROMPT, "--units", "feathers") == 2
    assert "feathers" in shell.err
    assert shell("trace", tiny_gpt2, "one,two", "--ids") == 2
    assert shell("no-such-verb") == 2


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="needs a folder that nobody can write to")
def test_folder_that_cannot_be_written_keeps_the_result(shell: Shell, tiny_gpt2: Path) -> None:
    code = shell("trace", tiny_gpt2, PROMPT, "--max-nodes", 20, "--out", "/sys/x.circuitscope")
    assert code == 1
    assert "x.circuitscope" in shell.err or "/sys" in shell.err
    assert "kept" in shell.err or "Nothing was computed" in shell.err


_ON_A_FULL_DISK = """
import errno, os, sys
from circuitscope import cli

def full(handle):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

os.fsync = full
sys.exit(cli.run(sys.argv[1:], lambda project: 2))
"""


def test_full_disk_keeps_the_result_for_recovery(
    shell: Shell, project: Path, tmp_path: Path
) -> None:
    from circuitscope.project import recovery

    graph, out = tmp_path / "graph.json", tmp_path / "full.circuitscope"
    assert shell("export", project, "--out", graph) == 0
    command = [sys.executable, "-c", _ON_A_FULL_DISK, "import", str(graph), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "recover" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
    left = recovery.recoverable()
    assert [entry.document for entry in left] == [out]
    with recovery.recover(left[0]) as recovered:
        assert len(recovered.findings()) == 1


@pytest.fixture
def atlas(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand a tiny model in for the bundled one: its vocabulary holds the demo's words."""
    folder = tmp_path / "projects" / "atlas"
    folder.mkdir(parents=True)
    (folder / "model").symlink_to(tiny_llama)
    write_set(folder / "dictionaries")
    monkeypatch.setattr(demo, "shipped_path", lambda *parts: tmp_path.joinpath(*parts))
    return folder


def test_demo_without_a_display_traces_saves_and_exports(
    shell: Shell, atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.doctors, "has_display", lambda: False)
    for _ in range(2):
        assert shell("demo", "--out", tmp_path / "out") == 0, shell.err
        paths = [Path(line) for line in shell.out.splitlines()]
        assert [path.suffix for path in paths] == [".circuitscope", ".svg", ".pdf", ".png", ".png"]
        assert "Tracing" in shell.err
        assert all(path.stat().st_size > 1000 for path in paths)
    assert shell("check", paths[0]) == 0


def test_demo_with_a_display_opens_the_ready_project(
    atlas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.doctors, "has_display", lambda: True)
    (atlas / demo.READY).write_bytes(b"")
    opened: list[Path | None] = []

    def window(path: Path | None) -> int:
        opened.append(path)
        return 3

    assert cli.run(["demo"], window) == 3
    assert opened == [atlas / demo.READY]


def test_demo_takes_over_the_drawing_of_the_ready_project(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.doctors, "has_display", lambda: False)
    assert shell("demo", "--out", tmp_path) == 0, shell.err
    assert "bring Texas to" in (tmp_path / "dallas.svg").read_text("utf-8")
    with (
        ProjectFile.open(demo.ready_project(), read_only=True) as ready,
        ProjectFile.open(tmp_path / "dallas.circuitscope") as traced,
    ):
        assert traced.undo_text("Dallas")
        for kind in ("group", "member", "pin", "place", "view"):
            theirs = ready.drawing("Dallas").of_kind(kind)
            assert traced.drawing("Dallas").of_kind(kind) == theirs
        nodes = traced.circuits()["Dallas"].nodes
        keys = {str(nodes.key(index)) for index in range(len(nodes))}
        assert set(traced.drawing("Dallas").of_kind("member")) <= keys


def test_demo_folder_that_cannot_be_made(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.doctors, "has_display", lambda: False)
    (tmp_path / "file").write_bytes(b"")
    assert shell("demo", "--out", tmp_path / "file" / "out") == 1
    assert "cannot be made" in shell.err


def test_demo_without_the_example_says_how_to_make_it(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "shipped_path", lambda *parts: tmp_path.joinpath(*parts))
    assert shell("demo") == 1
    assert "missing" in shell.err


def test_doctor_tells_what_there_is(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from circuitscope.session import doctor

    monkeypatch.setattr(doctor, "graphics_card", lambda: "NVIDIA A100")
    shell("doctor", "--json")
    facts = {fact["name"]: fact for fact in json.loads(shell.out)}
    assert facts["CircuitScope"]["value"]
    assert facts["Qt"]["value"] == "starts"
    assert "GB" in facts["Memory"]["value"]
    assert "direct" in facts["Methods"]["value"]
    import torch

    if torch.version.cuda is None:
        card = facts["Graphics card"]
        assert card["state"] == "advice"
        assert "CPU only" in card["value"]
        base = torch.__version__.partition("+")[0]
        assert card["fix"].startswith(f"pip install --force-reinstall torch=={base}")


def test_doctor_prints_lines_that_can_be_copied(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    from circuitscope.session import doctor

    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(doctor, "_ENGINE", ("no-such-package",))
    assert shell("doctor") == 0
    lines = [line.strip() for line in shell.out.splitlines()]
    assert 'pip install "circuitscope[engine]"' in lines


def test_trace_without_torch_names_the_line_to_type(
    shell: Shell, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert shell("trace", tiny_gpt2, PROMPT) == 1
    assert 'pip install "circuitscope[engine]"' in shell.err


def test_window_without_a_display_says_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    monkeypatch.setattr(cli.doctors, "has_display", lambda: False)
    assert cli.open_project([str(project)], no_window) == 2
    assert "no display" in capsys.readouterr().err
    assert cli.open_project([str(project) + "x"], no_window) == 2
    assert "There is no file" in capsys.readouterr().err


def test_window_opens_on_the_project(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    monkeypatch.setattr(cli.doctors, "has_display", lambda: True)
    opened: list[Path | None] = []

    def window(path: Path | None) -> int:
        opened.append(path)
        return 0

    assert cli.open_project([str(project)], window) == 0
    assert cli.open_project([], window) == 0
    assert opened == [project, None]


def test_interrupt_ends_with_130(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.Session, "export", interrupt)
    assert shell("export", project, "--out", "a.svg") == 130


def test_mistake_of_ours_is_told_without_traceback(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, project: Path, state_home: Path
) -> None:
    def blunder(*arguments: object, **options: object) -> None:
        raise TypeError("a blunder")

    monkeypatch.setattr(cli.Session, "export", blunder)
    assert shell("export", project, "--out", "a.svg") == 1
    assert "a blunder" in shell.err
    assert "Traceback" in (state_home / "logs" / "circuitscope.log").read_text("utf-8")


def test_module_runs_as_a_program(project: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "circuitscope", "check", str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "all is well" in done.stdout


def test_the_lens_and_a_change_from_the_command_line(shell: Shell, tiny_llama: Path) -> None:
    prompt = "the capital of the state containing Dallas is"
    assert shell("lens", tiny_llama, prompt, "--top", 2, "--json", "--quiet") == 0
    cells = json.loads(shell.out)
    assert len(cells) == 3 * 9
    assert [len(cell["promotes"]) for cell in cells] == [2] * 27
    assert shell("logits", tiny_llama, prompt, "difference:Austin,Texas", "--json", "--quiet") == 0
    found = json.loads(shell.out)
    cells = sum(sum(row) for row in found["values"])
    assert cells == pytest.approx(found["scores"]["whole"], abs=1e-4)
    assert shell("logits", tiny_llama, prompt, "logit:Austin", "--component", "sources") == 0
    assert "add up to" in shell.out
    nodes = ("head/head_z/1/8/2", "neuron/mlp_hidden/0/3/4")
    options = ("--mode", "scale", "--value", "-3", "--tokens", 2, "--quiet", "--json")
    assert shell("ablate", tiny_llama, prompt, *nodes, *options) == 0
    found = json.loads(shell.out)
    assert len(found["before"]) <= 2
    assert any(shift["before"] != shift["after"] for shift in found["shifts"])
    assert shell("ablate", tiny_llama, prompt, "logit/logits/2/8/4") == 2
    assert "cannot be changed" in shell.err
    entries = ("--attention", "1.2:-1<-4 x 0", "--tokens", "1", "--json")
    assert shell("ablate", tiny_llama, prompt, *entries) == 0
    shifts = json.loads(shell.out)["shifts"]
    assert any(shift["before"] != shift["after"] for shift in shifts)
    assert shell("ablate", tiny_llama, prompt) == 2
    assert "Name a node" in shell.err
    assert shell("ablate", tiny_llama, prompt, "--attention", "1.2:7") == 2
    assert "names no entry" in shell.err


def test_doctor_checks_dictionaries_on_a_model(
    shell: Shell, tiny_llama: Path, tmp_path: Path
) -> None:
    write_sae(tmp_path / "set" / "one", "mlp_out", 1)
    asked = ("doctor", "--model", tiny_llama, "--dictionaries", tmp_path / "set")
    assert shell(*asked, "--prompt", PROMPT, "--json") == 0
    (found,) = json.loads(shell.out)
    assert (found["name"], found["layer"], found["read_site"]) == ("one", 1, "mlp_out")
    assert shell(*asked, "--prompt", PROMPT) == 0
    assert "one, layer 1" in shell.out
    assert "spliced" in shell.out
    assert shell("doctor", "--dictionaries", "x") == 2


def test_a_model_without_tokenizer_is_used_by_ids(shell: Shell, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "my-opt", "OPTForCausalLM", OPT)
    assert shell("lens", folder, "3,1,7", "--ids", "--json", "--quiet") == 0
    assert len(json.loads(shell.out)) == 4 * 3
    words = ("3 1 7", "head/head_z/1/2/0", "--ids", "--tokens", 2, "--quiet")
    assert shell("ablate", folder, *words) == 0
    assert "before:" in shell.out
    assert shell("lens", folder, "the capital", "--ids") == 2

"""The set-up script: what it decides, and what it says when something is missing."""

import errno
import importlib.util
import itertools
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "packaging/bootstrap.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bootstrap = load_script()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a project small enough to set up in a moment, without a .venv."""
    (tmp_path / "packaging").mkdir()
    (tmp_path / "packaging/bootstrap.py").write_bytes(Path(bootstrap.__file__).read_bytes())
    (tmp_path / "constraints.txt").write_text("numpy==2.4.6\n")
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "circuitscope"\nversion = "0"\n'
        "[project.optional-dependencies]\nengine = []\ndev = []\n"
    )
    return tmp_path


def make_environment(root: Path) -> Path:
    """Make `.venv` without downloads: pip comes from the environment of the tests."""
    venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt").create(root / ".venv")
    variables = {"base": str(root / ".venv"), "platbase": str(root / ".venv")}
    site = Path(sysconfig.get_path("purelib", "venv", vars=variables))
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return root / ".venv"


def run_script(root: Path, verb: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "packaging/bootstrap.py", verb],
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_stamp_decides_whether_there_is_work(checkout: Path) -> None:
    assert not bootstrap.is_ready(checkout)
    environment = make_environment(checkout)
    (environment / "stamp").write_text(bootstrap.stamp_of(checkout))
    assert bootstrap.is_ready(checkout)
    (checkout / "constraints.txt").write_text("numpy==2.4.5\n")
    assert not bootstrap.is_ready(checkout)
    assert bootstrap.is_usable(checkout)


def test_second_run_calls_nothing(checkout: Path) -> None:
    environment = make_environment(checkout)
    (environment / "stamp").write_text(bootstrap.stamp_of(checkout))
    done = run_script(checkout, "setup", PATH="")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Installing the packages" not in done.stdout


def test_environment_of_another_folder_is_made_again(checkout: Path) -> None:
    environment = make_environment(checkout)
    (environment / "stamp").write_text("/somewhere/else\n0123\n")
    assert not bootstrap.is_ready(checkout)
    assert not bootstrap.is_usable(checkout)


def test_interrupted_installation_is_made_again(checkout: Path) -> None:
    environment = make_environment(checkout)
    (environment / "unfinished").write_text("999999999")
    assert not bootstrap.is_usable(checkout)
    bootstrap.refuse_second_run(environment)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot ask for a process without ending it")
def test_two_set_ups_do_not_work_on_one_environment(checkout: Path) -> None:
    environment = make_environment(checkout)
    (environment / "unfinished").write_text(str(os.getppid()))
    with pytest.raises(bootstrap.SetupError, match=f"process {os.getppid()}"):
        bootstrap.refuse_second_run(environment)


def test_offline_says_so_without_a_traceback(checkout: Path) -> None:
    environment = make_environment(checkout)
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull}
    others = {"PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "", "PIP_RETRIES": "1"}
    done = run_script(checkout, "setup", **unreachable, **others)
    assert done.returncode == 1
    assert "The package index cannot be reached" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not bootstrap.is_ready(checkout)
    assert not (environment / "unfinished").exists()


def test_other_failures_of_pip_keep_its_own_words(tmp_path: Path) -> None:
    output = "Collecting x\nERROR: Cannot install a and b because these conflict.\n"
    text = bootstrap.explain_pip(output, tmp_path, tmp_path / "log")
    assert "Cannot install a and b because these conflict." in text
    nothing = "ERROR: No version satisfies the requirement torch==2 (from versions: none)"
    assert "gave nothing for torch==2" in bootstrap.explain_pip(nothing, tmp_path, tmp_path / "log")
    full = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    assert "The disk is too full" in bootstrap.explain_pip(full, tmp_path, tmp_path / "log")


def test_full_disk_is_told_before_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "DISK_NEEDED", 10**18)
    with pytest.raises(bootstrap.SetupError, match=r"The disk is too full: .* GB free"):
        bootstrap.refuse_full_disk(tmp_path)


def test_missing_libraries_become_one_line_to_type() -> None:
    missing = bootstrap.missing_libraries({"libcircuit-none.so.9": "libcircuit9"})
    assert missing == {"libcircuit-none.so.9": "libcircuit9"}
    text = bootstrap.library_message(missing, debian=True)
    assert "cannot open a window" in text
    assert text.endswith("sudo apt-get install -y libcircuit9")
    needed = bootstrap.library_message({"libGL.so.1": "libgl1"}, debian=False)
    assert "cannot draw" in needed
    assert "apt-get" not in needed


def test_old_python_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        bootstrap.SetupError, match=r"needs Python 3\.11 to 3\.14; this is Python 3"
    ):
        bootstrap.find_python((3, 9))


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for the other Python")
def test_other_python_on_the_path_is_taken_when_it_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for version, answer in (("3.14", "exit 127"), ("3.12", "echo 3 12")):
        script = tmp_path / f"python{version}"
        script.write_text(f"#!/bin/sh\n{answer}\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bootstrap.find_python((3, 9)) == ["python3.12"]


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for the other Python")
def test_python_without_venv_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    script = checkout / "python3.12"
    script.write_text('#!/bin/sh\n[ "$1" = -c ] && echo 3 12 || { echo No ensurepip; exit 1; }\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(checkout))
    monkeypatch.setattr(bootstrap, "find_python", lambda: [str(script)])
    with pytest.raises(bootstrap.SetupError, match=r"apt-get install -y python3\.12-venv"):
        bootstrap.make_venv(checkout)
    assert not (checkout / ".venv").exists()


def test_file_system_errors_become_words(tmp_path: Path) -> None:
    full = bootstrap.explain_os_error(OSError(errno.ENOSPC, "No space"), tmp_path)
    assert full.startswith("The disk is too full")
    readonly = bootstrap.explain_os_error(OSError(errno.EROFS, "Read-only", "/x"), tmp_path)
    assert readonly.startswith("/x cannot be written.")


def test_chosen_benchmarks_reach_the_bench() -> None:
    (step,) = bootstrap.commands("bench", [], {"ONLY": "canvas,trace"})
    assert step.arguments == ["-m", "tests.bench", "canvas,trace"]
    (step,) = bootstrap.commands("bench", [], {})
    assert step.arguments == ["-m", "tests.bench"]


def test_every_verb_has_a_help_line_and_a_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for verb in bootstrap.VERBS:
        assert isinstance(bootstrap.commands(verb, [], {}), list)
        assert f" {verb}" in makefile
        assert verb in bootstrap.usage()


def test_steps_all_run_and_the_first_failure_counts(
    checkout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_environment(checkout)
    steps = [
        bootstrap.Step(["-c", "raise SystemExit(3)"]),
        bootstrap.Step(["-c", "raise SystemExit(5)"], (0, 5)),
        bootstrap.Step(["-c", "import sys; sys.stdout.write('reached')"]),
    ]
    assert bootstrap.run_steps(checkout, steps) == 3
    assert "reached" in capfd.readouterr().out


def test_constraints_pin_every_requirement() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in pins}
    assert "+" not in "".join(versions.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = itertools.chain.from_iterable(project["optional-dependencies"].values())
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement

"""Set up CircuitScope and run it, with nothing but Python: `python packaging/bootstrap.py demo`.

The first run makes `.venv` from constraints.txt; a stamp over pyproject.toml and constraints.txt
lets every later run start at once. The Makefile calls this file, so each command is written once,
in `commands`. Only the standard library is used, and no syntax newer than Python 3.7, so that an
old Python can say what is missing.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUPPORTED = ((3, 11), (3, 12), (3, 13), (3, 14))
DISK_NEEDED = 3_000_000_000
WINDOWS = os.name == "nt"
OFFSCREEN = {"QT_QPA_PLATFORM": "offscreen"}

VERBS = {
    "demo": "open the example circuit; without a display, trace it and export figures",
    "run": "open CircuitScope",
    "test": "lint, architecture rules, spelling and the quick tests",
    "test-slow": "types and the slow tests",
    "bench": "measure speed and memory, into build/bench.json (ONLY=name,name for some)",
    "othello": "train the Othello example, resuming where it was; hours without a GPU",
    "torture": "the long fault tests: killed processes, full disks, damaged files",
    "lint": "format the code and check it",
    "setup": "only make or repair .venv",
}

# What Qt loads when it starts, and the Debian package of each. The second table is needed for
# a window (X11, Wayland), not for exports and tests.
QT_LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libfontconfig.so.1": "libfontconfig1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libX11.so.6": "libx11-6",
}
WINDOW_LIBRARIES = {
    "libX11-xcb.so.1": "libx11-xcb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libwayland-cursor.so.0": "libwayland-cursor0",
    "libwayland-egl.so.1": "libwayland-egl1",
}

OFFLINE_SIGNS = (
    "failed to establish a new connection",
    "newconnectionerror",
    "name resolution",
    "max retries exceeded",
    "connection refused",
    "network is unreachable",
    "connecttimeout",
    "readtimeout",
    "proxyerror",
    "connection broken",
)
DISK_SIGNS = ("no space left on device", "errno 28", "disk quota exceeded")


class SetupError(Exception):
    """A reason why the set-up cannot go on, in words for the user."""


# One command: arguments after Python, exit codes that pass, extra environment.
Step = namedtuple("Step", "arguments accepted environment", defaults=((0,), None))


def say(text: str) -> None:
    """Print one line at once."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - kept open


def python_version(command: list[str]) -> tuple[int, int] | None:
    """Return the version of the Python behind a command; None when it is none that works."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([*command, "-c", code], capture_output=True, text=True, timeout=30)
        major, minor = done.stdout.split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def find_python(current: tuple[int, int] = sys.version_info[:2]) -> list[str]:
    """Return the command of a supported Python, this one when it will do.

    Raises:
        SetupError: There is none.
    """
    # Inside .venv the base interpreter is wanted: .venv may have to be made again.
    if current in SUPPORTED:
        return [getattr(sys, "_base_executable", None) or sys.executable]
    for major, minor in reversed(SUPPORTED):
        candidates = [[f"python{major}.{minor}"]]
        if WINDOWS:
            candidates.insert(0, ["py", f"-{major}.{minor}"])
        for command in candidates:
            if shutil.which(command[0]) and python_version(command) == (major, minor):
                return command
    oldest, newest = (".".join(map(str, SUPPORTED[i])) for i in (0, -1))
    raise SetupError(
        f"CircuitScope needs Python {oldest} to {newest}; this is Python {current[0]}.{current[1]} "
        f"and no other was found.\nInstall Python {oldest} or newer, then try again. On Debian "
        f"and Ubuntu: sudo apt-get install python3 python3-venv"
    )


def venv_python(venv: Path) -> Path:
    """Return the path of Python in a virtual environment."""
    return venv / "Scripts" / "python.exe" if WINDOWS else venv / "bin" / "python"


def loads(library: str) -> bool:
    """Tell whether the system has a shared library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def missing_libraries(table: dict[str, str]) -> dict[str, str]:
    """Return the libraries of a table that the system lacks, with their packages."""
    return {name: package for name, package in table.items() if not loads(name)}


def library_message(missing: dict[str, str], debian: bool) -> str:
    """Say which libraries are missing and what to type."""
    names = ", ".join(sorted(missing))
    needs = "draw" if any(name in QT_LIBRARIES for name in missing) else "open a window"
    text = f"CircuitScope cannot {needs} yet: this system lacks {names}.\n"
    if debian:
        packages = " ".join(sorted(set(missing.values())))
        return f"{text}Type this once: sudo apt-get install -y {packages}"
    return f"{text}Install the packages of your distribution that hold these files."


def install_debian(packages: list[str]) -> bool:
    """Install Debian packages as root; tell whether that worked."""
    say(f"Installing {len(packages)} system packages: {' '.join(packages)}")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    for command in (["apt-get", "update", "-q"], install):
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True
        )
    return done.returncode == 0


def ensure_libraries() -> None:
    """Install the libraries that Qt needs, or say which ones are missing."""
    if not sys.platform.startswith("linux"):
        return
    table = dict(QT_LIBRARIES, **WINDOW_LIBRARIES)
    missing = missing_libraries(table)
    if not missing:
        return
    debian = shutil.which("apt-get") is not None
    if debian and os.geteuid() == 0 and install_debian(sorted(set(missing.values()))):
        missing = missing_libraries(table)
    if missing:
        say(library_message(missing, debian))


def stamp_of(root: Path) -> str:
    """Return what the stamp must say: the folder, and a digest of what decides the packages."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((root / name).read_bytes() + b"\0")
    return f"{root}\n{digest.hexdigest()}\n"


def read_text(path: Path) -> str:
    """Return the text of a file, empty when there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def is_ready(root: Path) -> bool:
    """Tell whether `.venv` was made for these files, in this folder, and is still there."""
    venv = root / ".venv"
    return venv_python(venv).exists() and read_text(venv / "stamp") == stamp_of(root)


def is_usable(root: Path) -> bool:
    """Tell whether packages can be installed into the `.venv` that is there."""
    venv = root / ".venv"
    if (venv / "unfinished").exists() or not venv_python(venv).exists():
        return False
    made_in = read_text(venv / "stamp").partition("\n")[0]
    if made_in not in ("", str(root)):
        return False
    python = [str(venv_python(venv))]
    if python_version(python) not in SUPPORTED:
        return False
    return subprocess.run([*python, "-m", "pip", "--version"], capture_output=True).returncode == 0


def refuse_second_run(venv: Path) -> None:
    """Stop when another set-up works on the same `.venv`."""
    owner = read_text(venv / "unfinished").strip()
    if WINDOWS or not owner.isdigit() or int(owner) == os.getpid():
        return
    try:
        os.kill(int(owner), 0)
    except OSError:
        return
    raise SetupError(f"Another set-up runs in this folder (process {owner}). Wait until it ends.")


def refuse_full_disk(root: Path) -> None:
    """Stop before the first download when the packages cannot fit."""
    free = shutil.disk_usage(str(root)).free
    if free < DISK_NEEDED:
        raise SetupError(full_disk_message(root, free))


def full_disk_message(root: Path, free: int) -> str:
    """Say how much room there is and how much is needed."""
    return (
        f"The disk is too full: {free / 1e9:.1f} GB free in {root}, {DISK_NEEDED / 1e9:.0f} GB "
        f"needed (8 GB with PyTorch's CUDA build; packaging/README.md tells how to choose).\n"
        f"Free some space, then run the same command again."
    )


def make_venv(root: Path) -> None:
    """Make `.venv` from nothing, with pip in it."""
    venv = root / ".venv"
    python = find_python()
    version = python_version(python) or (3, 0)
    say(f"Making .venv with Python {version[0]}.{version[1]} ...")
    if venv.is_symlink():
        venv.unlink()
    elif venv.exists():
        shutil.rmtree(str(venv))
    command = [*python, "-m", "venv", str(venv)]
    done = subprocess.run(command, capture_output=True, text=True)
    package = f"python{version[0]}.{version[1]}-venv"
    lacks_venv = "ensurepip" in done.stdout + done.stderr or "No module named" in done.stderr
    if done.returncode and lacks_venv and shutil.which("apt-get") and os.geteuid() == 0:
        install_debian([package])
        done = subprocess.run([*command, "--clear"], capture_output=True, text=True)
    if done.returncode == 0:
        return
    shutil.rmtree(str(venv), ignore_errors=True)
    if any(sign in (done.stdout + done.stderr).lower() for sign in DISK_SIGNS):
        raise SetupError(full_disk_message(root, shutil.disk_usage(str(root)).free))
    if lacks_venv:
        raise SetupError(
            f"This Python cannot make virtual environments. Type this once, then try again:\n"
            f"sudo apt-get install -y {package}"
        )
    lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
    raise SetupError(f"Python could not make {venv}: {lines[-1]}")


def progress_line(line: str) -> str | None:
    """Turn a line of pip into a line worth reading; None for the rest."""
    line = line.strip()
    words = line.split()
    if words[:1] == ["Downloading"] and words[-1].endswith("B)") and "MB" in line:
        size = line.rpartition("(")[2].rstrip(")")
        if float(size.split()[0]) >= 10:
            return f"  downloading {words[1].rpartition('/')[2].split('-')[0]}, {size}"
    if words[:1] == ["Installing"] and "collected" in words:
        count = line.count(",") + 1
        return f"  installing {count} package{'s' if count > 1 else ''}"
    return None


def explain_pip(output: str, root: Path, log: Path) -> str:
    """Turn a failure of pip into words."""
    low = output.lower()
    if any(sign in low for sign in DISK_SIGNS):
        return full_disk_message(root, shutil.disk_usage(str(root)).free)
    if any(sign in low for sign in OFFLINE_SIGNS):
        return (
            "The package index cannot be reached, so CircuitScope could not be installed.\n"
            "Connect to the internet (or set pip's proxy or index), then run the same command "
            f"again.\nThe whole story is in {log}."
        )
    if "from versions: none" in low:
        wanted = low.partition("satisfies the requirement ")[2].split(" ")[0] or "a package"
        return (
            f"The package index gave nothing for {wanted}: it cannot be reached, or it has no "
            f"build for this system and Python.\nThe whole story is in {log}."
        )
    errors = [line.strip() for line in output.splitlines() if line.startswith("ERROR")]
    return (
        f"pip could not install the packages: {(errors or ['it gave no reason'])[0][:300]}\n"
        f"The whole story is in {log}."
    )


def run_pip(root: Path) -> tuple[int, str]:
    """Run pip once, telling of large downloads; return its exit code and all it said."""
    command = [str(venv_python(root / ".venv")), "-m", "pip", "install", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off"]
    command += ["-c", "constraints.txt", "-e", ".[engine,dev]"]
    unwanted = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PYTHONHOME", "PYTHONPATH")
    lines = []
    with subprocess.Popen(
        command,
        cwd=str(root),
        env={key: value for key, value in os.environ.items() if key not in unwanted},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as pip:
        for line in pip.stdout:
            lines.append(line)
            worth = progress_line(line)
            if worth:
                say(worth)
    return pip.returncode, "".join(lines)


def install(root: Path) -> None:
    """Install CircuitScope and what it needs into `.venv`.

    Raises:
        SetupError: pip failed; the message says why.
    """
    venv = root / ".venv"
    unfinished = venv / "unfinished"
    unfinished.write_text(str(os.getpid()), encoding="utf-8")
    say("Installing the packages, a few minutes the first time ...")
    code, output = run_pip(root)
    log = root / "build" / "bootstrap.log"
    if code:
        # pip leaves packages half-copied only when it is killed or the disk is full.
        if code > 0 and not any(sign in output.lower() for sign in DISK_SIGNS):
            log.parent.mkdir(exist_ok=True)
            log.write_text(output, encoding="utf-8")
            unfinished.unlink()
        raise SetupError(explain_pip(output, root, log))
    (venv / "stamp").write_text(stamp_of(root), encoding="utf-8")
    unfinished.unlink()


def prepare(root: Path) -> None:
    """Make or repair `.venv`; at once when the stamp says that it is up to date."""
    ensure_libraries()
    if is_ready(root):
        return
    refuse_second_run(root / ".venv")
    if not is_usable(root):
        refuse_full_disk(root)
        make_venv(root)
    install(root)
    say("CircuitScope is ready.")


def pytest_step(*arguments: str, accepted: tuple[int, ...] = (0,)) -> Step:
    """Return a run of pytest, without windows and with one thread in each worker."""
    return Step(["-m", "pytest", *arguments], accepted, dict(OFFSCREEN, OMP_NUM_THREADS="1"))


def commands(verb: str, rest: list[str], environment: dict[str, str]) -> list[Step]:
    """Return what a verb runs, each as arguments of Python in `.venv`.

    Args:
        verb: A key of VERBS.
        rest: Further words of the user, for the last command.
        environment: Where ONLY chooses benchmarks.
    """
    imports = ["-c", "from importlinter.cli import lint_imports_command as run; run()"]
    spelling = Step(["-m", "codespell_lib"])
    parallel = ("-n", "2", "--dist", "loadfile")
    only = environment.get("ONLY", "")
    table = {
        "setup": [],
        "demo": [Step(["-m", "circuitscope", "demo", *rest])],
        "run": [Step(["-m", "circuitscope", *rest])],
        "test": [
            Step(["-m", "ruff", "check", "."]),
            Step(["-m", "ruff", "format", "--check", "."]),
            Step(imports),
            spelling,
            pytest_step("-q", *parallel, *rest),
        ],
        "test-slow": [
            Step(["-m", "mypy"]),
            # Exit code 5 of pytest: there is no slow test.
            pytest_step(
                "-q", *parallel, "-m", "slow and not gpu and not torture", *rest, accepted=(0, 5)
            ),
        ],
        "bench": [
            Step(["-m", "tests.bench", *([only] if only else []), *rest], (0,), OFFSCREEN),
        ],
        "othello": [Step(["-m", "circuitscope.examples.othello_training", "--all", *rest])],
        "torture": [pytest_step("-q", "-m", "torture", *rest, accepted=(0, 5))],
        "lint": [
            Step(["-m", "ruff", "format", "."]),
            Step(["-m", "ruff", "check", "--fix", "."]),
            Step(imports),
            spelling,
        ],
    }
    return table[verb]


def name_of(step: Step) -> str:
    """Return a short name of a command for messages."""
    arguments = step.arguments
    return "lint-imports" if arguments[0] == "-c" else " ".join(arguments[1:3]).split(" -")[0]


def run_steps(root: Path, steps: list[Step]) -> int:
    """Run commands one after the other, all of them, and say which failed."""
    failed = []
    code = 0
    for step in steps:
        if len(steps) > 1:
            say(f"== {name_of(step)}")
        environment = dict(os.environ, **(step.environment or {}))
        command = [str(venv_python(root / ".venv")), *step.arguments]
        result = subprocess.run(command, cwd=str(root), env=environment).returncode
        if result not in step.accepted:
            failed.append(name_of(step))
            code = result if 0 < result < 128 else 1
    if failed and len(steps) > 1:
        say(f"Failed: {', '.join(failed)}")
    return code


def usage() -> str:
    """Return the help text."""
    lines = ["python packaging/bootstrap.py VERB", ""]
    lines += [f"  {verb:<10} {text}" for verb, text in VERBS.items()]
    return "\n".join(lines)


def explain_os_error(error: OSError, root: Path) -> str:
    """Turn an error of the file system into words."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        return full_disk_message(root, shutil.disk_usage(str(root)).free)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        where = error.filename or root
        return (
            f"{where} cannot be written.\nCopy this folder to a place of your own, then try again."
        )
    return f"The system said: {error.strerror or error} ({error.filename or root})."


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Prepare `.venv` and run one verb; return the exit code."""
    sys.stdout.reconfigure(errors="replace")
    verb, rest = (arguments or ["help"])[0], arguments[1:]
    if verb not in VERBS:
        say(usage())
        return 0 if verb in ("help", "-h", "--help") else 2
    try:
        prepare(root)
        return run_steps(root, commands(verb, rest, dict(os.environ)))
    except SetupError as error:
        message = str(error)
    except KeyboardInterrupt:
        say("\nStopped. The same command goes on from here.")
        return 130
    except OSError as error:
        message = explain_os_error(error, root)
    except Exception as error:  # noqa: BLE001 - a user never sees a traceback
        message = f"The set-up has a fault of its own: {type(error).__name__}: {error}"
    say(message)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

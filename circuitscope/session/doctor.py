"""What is installed and what it can use, with the line to type where something is missing."""

import os
import platform
import shlex
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from circuitscope.core.dictionary_check import DictionaryCheck
from circuitscope.core.places import state_home
from circuitscope.core.registry import Registry

GROUPS = ("families", "dictionary_formats", "methods", "file_formats", "example_panels")
_PACKAGES = ("numpy", "networkx", "sqlite-utils", "PySide6-Essentials", "pyqtgraph")
_ENGINE = ("torch", "transformers", "safetensors", "psutil")
_ENGINE_FIX = 'pip install "circuitscope[engine]"'
_QT_PROBE = "from PySide6.QtGui import QGuiApplication; QGuiApplication([])"
_GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the report.

    Attributes:
        name: What it is about.
        value: What was found.
        state: "good", "advice" where something could be better, "bad" where something is broken.
        fix: The line to type, or what to do; "" where nothing is to be done.
    """

    name: str
    value: str
    state: Literal["good", "advice", "bad"] = "good"
    fix: str = ""


def examine() -> list[Fact]:
    """Return the whole report; takes a few seconds where torch is installed."""
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    return [
        Fact("CircuitScope", version("circuitscope")),
        Fact("Python", f"{platform.python_version()} ({sys.executable})"),
        Fact("System", system),
        Fact("SQLite", sqlite3.sqlite_version),
        *(_package(name) for name in _PACKAGES),
        _qt(),
        _display(),
        *(_package(name, engine=True) for name in _ENGINE),
        *_devices(),
        _memory(),
        *(_plugins(group) for group in GROUPS),
        _folder(),
    ]


def fact_of(check: DictionaryCheck) -> Fact:
    """Return what was measured of one layer of a dictionary as a line of the report."""
    state: Literal["good", "advice"] = "advice" if check.advice else "good"
    use = f" Use that with --read-at {shlex.quote(check.read_at)}" if check.read_at else ""
    return Fact(f"{check.name}, layer {check.layer}", check.text, state, f"{check.advice}{use}")


def has_display() -> bool:
    """Say whether a window can be opened here."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def graphics_card() -> str:
    """Return the name of an NVIDIA card that the system knows, "" where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        try:
            said = subprocess.run(
                [tool, "--query-gpu=name", "--format=csv,noheader"],
                capture_output=True, text=True, timeout=10, check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return "an NVIDIA card whose driver does not answer" if _device_file() else ""
        return ", ".join(said.stdout.split("\n")).strip(", ")
    return "an NVIDIA card" if _device_file() else ""


def _device_file() -> bool:
    return Path("/dev/nvidia0").exists()


def _package(name: str, *, engine: bool = False) -> Fact:
    try:
        return Fact(name, version(name))
    except PackageNotFoundError:
        pass
    if engine:
        said = "not installed; projects open, but nothing is traced"
        return Fact(name, said, "advice", _ENGINE_FIX)
    return Fact(name, "not installed", "bad", "pip install --force-reinstall circuitscope")


def _qt() -> Fact:
    """Start Qt in a process of its own: what it lacks would end this one."""
    if getattr(sys, "frozen", False):
        return Fact("Qt", "bundled")
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _QT_PROBE],
            capture_output=True, text=True, timeout=60, check=False, env=environment,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return Fact("Qt", f"could not be tried: {error}", "bad")
    if not tried.returncode:
        return Fact("Qt", "starts")
    said = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
    fix = "sudo apt install libgl1 libegl1 libxkbcommon0 libfontconfig1 libdbus-1-3"
    return Fact("Qt", said, "bad", fix if sys.platform.startswith("linux") else "")


def _display() -> Fact:
    if has_display():
        return Fact("Display", "yes")
    return Fact("Display", "none; the command line works, the window does not", "advice")


def _devices() -> list[Fact]:
    card = graphics_card()
    try:
        import torch
    except ImportError:
        return [Fact("Graphics card", card)] if card else []
    facts = [Fact("CPU", f"{_cores()} physical cores, {torch.get_num_threads()} threads in torch")]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            room = f"{free / _GIGABYTE:.1f} of {total / _GIGABYTE:.1f} GB free"
            facts.append(Fact(f"cuda:{index}", f"{name}, {room}"))
    elif card:
        facts.append(_unused_card(card, torch))
    else:
        facts.append(Fact("Graphics card", "none found; models run on the CPU"))
    if torch.backends.mps.is_available():
        facts.append(Fact("mps", "Apple graphics"))
    return facts


def _unused_card(card: str, torch: Any) -> Fact:
    if torch.version.cuda is None:
        from circuitscope.models.devices import cuda_torch_line

        return Fact(
            "Graphics card",
            f"{card}, but torch {torch.__version__} was built for the CPU only",
            "advice",
            cuda_torch_line(),
        )
    return Fact(
        "Graphics card",
        f"{card}, but torch (CUDA {torch.version.cuda}) cannot use it",
        "advice",
        "Update the card's driver; nvidia-smi says which version it has.",
    )


def _cores() -> int:
    try:
        import psutil
    except ImportError:
        return os.cpu_count() or 1
    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


def _memory() -> Fact:
    try:
        import psutil
    except ImportError:
        return Fact("Memory", "unknown without psutil")
    memory = psutil.virtual_memory()
    room = f"{memory.available / _GIGABYTE:.1f} of {memory.total / _GIGABYTE:.1f} GB free"
    return Fact("Memory", room)


def _plugins(group: str) -> Fact:
    registry: Registry[Any] = Registry(f"circuitscope.{group}")
    found = ", ".join(registry.all())
    title = group.replace("_", " ").capitalize()
    if not registry.broken:
        return Fact(title, found)
    broken = ", ".join(plugin.name for plugin in registry.broken)
    if all(_lacks_engine(plugin.report) for plugin in registry.broken):
        said = f"{found or 'none'}; not usable without the engine: {broken}"
        return Fact(title, said, "advice", _ENGINE_FIX)
    reasons = "; ".join(plugin.report.strip().splitlines()[-1] for plugin in registry.broken)
    return Fact(title, f"{found or 'none'}; not usable: {broken} ({reasons})", "bad")


def _lacks_engine(report: str) -> bool:
    return any(f"No module named '{name}" in report for name in _ENGINE)


def _folder() -> Fact:
    home = state_home()
    if os.access(home, os.W_OK):
        free = shutil.disk_usage(home).free / _GIGABYTE
        return Fact("State folder", f"{home}, {free:.1f} GB free")
    return Fact("State folder", f"{home} cannot be written to", "bad", "Set CIRCUITSCOPE_HOME.")

"""Where a model can be held: the devices of this machine and their free memory."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import psutil
import torch

from circuitscope.core.errors import ModelError
from circuitscope.models.headers import KEPT

_CUDA_INDEX = " --index-url https://download.pytorch.org/whl/cu130"


@dataclass(frozen=True, slots=True)
class Device:
    """One device.

    Attributes:
        name: What `load_model` takes, such as "cuda:0".
        title: What people call it.
        free: Bytes free; total: bytes in all.
    """

    name: str
    title: str
    free: int
    total: int


def list_devices() -> tuple[Device, ...]:
    """Return the devices that models can be loaded to, the one "auto" chooses first."""
    found = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            title = torch.cuda.get_device_name(index)
            found.append(Device(f"cuda:{index}", title, int(free), int(total)))
    memory = psutil.virtual_memory()
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple graphics", memory.available, memory.total))
    found.append(Device("cpu", "CPU", memory.available, memory.total))
    return tuple(found)


def choose_device(device: str) -> torch.device:
    """Return the device a name stands for.

    Raises:
        ModelError: This machine has no such device.
    """
    if device == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available()
            else "mps" if torch.backends.mps.is_available() else "cpu"
        )  # fmt: skip
    try:
        found = torch.device(device)
        usable = {
            "cpu": True,
            "cuda": torch.cuda.is_available() and (found.index or 0) < torch.cuda.device_count(),
            "mps": torch.backends.mps.is_available(),
        }.get(found.type, False)
    except RuntimeError:
        usable = False
    if not usable:
        raise _no_such(device)
    return found


def _no_such(device: str) -> ModelError:
    """Say why a device cannot be used: the installed torch, the machine, or the name."""
    offered = ", ".join(item.name for item in list_devices())
    choose = f'Choose "auto" or one of: {offered}.'
    if device.partition(":")[0] == "cuda" and torch.version.cuda is None:
        return ModelError(
            f"{device!r} cannot be used: the installed torch {torch.__version__} was built for the "
            "CPU only.",
            kept=KEPT,
            hint=f"{choose} With an NVIDIA card, install the torch that can use it:\n"
            f"{cuda_torch_line()}",
        )
    if device == "cuda":
        return ModelError(
            f"{device!r} cannot be used: torch (CUDA {torch.version.cuda}) finds no NVIDIA card.",
            kept=KEPT,
            hint=f"{choose} `circuitscope doctor` says more.",
        )
    return ModelError(f"This machine offers no device {device!r}.", kept=KEPT, hint=choose)


def cuda_torch_line() -> str:
    """Return the line to type that installs this torch with CUDA."""
    where = "" if sys.platform.startswith("linux") else _CUDA_INDEX
    return f"pip install --force-reinstall torch=={torch.__version__.partition('+')[0]}{where}"


_share = 1.0


def limit_memory(share: float) -> None:
    """Take at most this share of the free memory, 0 to 1, from now on in this process."""
    global _share
    _share = min(1.0, max(0.0, share))


def available_memory(device: torch.device) -> int:
    """Return how much of the free memory of a device may be taken, in bytes."""
    if device.type == "cuda":
        return int(_share * torch.cuda.mem_get_info(device)[0])
    return int(_share * psutil.virtual_memory().available)

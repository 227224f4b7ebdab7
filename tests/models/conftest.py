"""Loaded tiny models, and a check that no test leaves a hook on them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from circuitscope.models.loading import LoadedModel, load_model


@pytest.fixture(scope="session")
def gpt2(tiny_gpt2: Path) -> LoadedModel:
    return load_model(tiny_gpt2, "cpu")


@pytest.fixture(scope="session")
def llama(tiny_llama: Path) -> LoadedModel:
    return load_model(tiny_llama, "cpu")


@pytest.fixture
def llama_copy(tiny_llama: Path, tmp_path: Path) -> Path:
    """Return a private copy of the folder, to be damaged."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "my-llama"))


@pytest.fixture(scope="session")
def hook_count() -> Callable[[torch.nn.Module], int]:
    def count(module: torch.nn.Module) -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())

    return count


@pytest.fixture(autouse=True)
def no_hook_stays(
    gpt2: LoadedModel, llama: LoadedModel, hook_count: Callable[[torch.nn.Module], int]
) -> Iterator[None]:
    yield
    assert hook_count(gpt2.module) == hook_count(llama.module) == 0

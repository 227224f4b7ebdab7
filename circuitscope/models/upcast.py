"""Compute in float32 with weights held in half precision, upcast a module at a time.

1. Before a submodule that owns half-precision weights runs, it gets float32 copies of them.
2. Afterwards it gets its own back; nothing else was changed, and the copies are gone.
3. Of an embedding only the rows that the prompt names are copied.

So activations are float32 throughout, every number is a float32 function of the weights as held,
and no more memory is needed than for the largest submodule.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from circuitscope.models.family import HfModule, Part, part_module
from circuitscope.models.guessed import is_guessed

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

HALVES = (torch.bfloat16, torch.float16)


def in_float32(model: LoadedModel) -> LoadedModel:
    """Return the model as it is read: itself, or the same weights computing in float32."""
    if model.dtype not in HALVES:
        return model
    return replace(model, dtype=torch.float32, upcasts=True)


@contextmanager
def upcasting(model: LoadedModel) -> Iterator[None]:
    """Let a model that upcasts compute in float32 inside; nothing is done for others.

    In classes that are only guessed a module may read the weights of its parts past them, so those
    of a block are lent while the whole block runs, and those outside during the whole pass.
    """
    handles: list[RemovableHandle] = []
    module: HfModule = model.module
    try:
        inside: set[int] = set()
        for block in _blocks(model):
            for part in block.modules():
                inside.add(id(part))
                handles += _Lent(part).hooks(block)
        for part in module.modules() if model.upcasts else ():
            if id(part) in inside:
                continue
            if isinstance(part, nn.Embedding) and part.weight.dtype in HALVES:
                handles += _Rows(part).hooks(part)
            elif _halves(part):
                handles += _Lent(part).hooks(module if inside else part)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _blocks(model: LoadedModel) -> list[HfModule]:
    if not model.upcasts or not is_guessed(model.family):
        return []
    layers = range(model.anatomy.n_layers)
    return [part_module(model.family, model.module, Part.BLOCK, layer) for layer in layers]


def _halves(part: HfModule) -> dict[str, Tensor]:
    """Return the half-precision parameters and buffers that a submodule itself owns."""
    own = {**part._parameters, **part._buffers}  # noqa: SLF001 - the only way to lend a copy
    return {name: t for name, t in own.items() if t is not None and t.dtype in HALVES}


class _Lent:
    """Lend a submodule float32 copies of its weights while it runs."""

    def __init__(self, part: HfModule) -> None:
        self._part = part
        self._own: dict[str, Tensor] = {}

    def hooks(self, over: HfModule) -> list[RemovableHandle]:
        """Register lending and giving back around a module; the second also after an error."""
        return [
            over.register_forward_pre_hook(self.lend, with_kwargs=True),
            over.register_forward_hook(self.give_back, always_call=True),
        ]

    def lend(self, _: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Put copies in place of the weights."""
        self._own = _halves(self._part)
        for name, tensor in self._own.items():
            self._put(name, tensor.detach().float())

    def give_back(self, *_: Any) -> None:
        """Put the weights back."""
        for name, tensor in self._own.items():
            self._put(name, tensor)
        self._own = {}

    def _put(self, name: str, tensor: Tensor) -> None:
        part = self._part
        if name in part._parameters:  # noqa: SLF001 - as above
            is_own = isinstance(tensor, nn.Parameter)
            part._parameters[name] = (  # noqa: SLF001 - as above
                tensor if is_own else nn.Parameter(tensor, requires_grad=False)
            )
        else:
            part._buffers[name] = tensor  # noqa: SLF001 - as above


class _Rows(_Lent):
    """Lend an embedding the rows that are looked up, under new numbers."""

    def __init__(self, part: HfModule) -> None:
        super().__init__(part)
        self._padding: int | None = None

    def lend(self, _: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Put the rows in place of the table, and their numbers in place of the ids."""
        part, self._padding = self._part, self._part.padding_idx
        if len(args) != 1 or named or not isinstance(args[0], Tensor):
            super().lend(_, args, named)
            return args, named
        self._own = _halves(part)
        ids, numbers = torch.unique(args[0], return_inverse=True)
        self._put("weight", part.weight.detach()[ids].float())
        for name in self._own.keys() - {"weight"}:
            # Gemma keeps the exact factor beside the one rounded to the weights' precision.
            known = getattr(part, f"scalar_{name}", None)
            exact = self._own[name].float()
            self._put(name, exact if known is None else torch.full_like(exact, known))
        part.padding_idx = None  # only training asks for it, and it is no longer among the rows
        return (numbers,), named

    def give_back(self, *_: Any) -> None:
        """Put the table back."""
        super().give_back()
        self._part.padding_idx = self._padding

"""Hooks on the parts of a Hugging Face module, all removed when the block ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from circuitscope.core.anatomy import Site
from circuitscope.models.family import HfModule, Part, Side, part_module, site_place
from circuitscope.models.upcast import upcasting

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

Reader = Callable[[Tensor], None]
Editor = Callable[[Tensor], Tensor]


def _first(value: Any) -> Tensor:
    """Return the hidden states of a module's output, which may be a tuple."""
    first: Tensor = value[0] if isinstance(value, tuple) else value
    return first


def _with_first(value: Any, first: Tensor) -> Any:
    return (first, *value[1:]) if isinstance(value, tuple) else first


class _SoftmaxEdit(TorchFunctionMode):
    """Hand the result of a softmax over attention scores to an editor."""

    def __init__(self, editor: Editor) -> None:
        super().__init__()
        self._editor = editor

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        is_pattern = func in _SOFTMAXES and result.ndim == 4
        return self._editor(result) if is_pattern else result


_SOFTMAXES = (torch.nn.functional.softmax, torch.softmax, Tensor.softmax)


class Hooks:
    """Register readers and editors, run the module, and leave no hook behind.

    Hooks on one place run in the order they were registered: register editors before the readers
    that should see the edited tensor. Tensors are [batch, pos, ...] in the model's dtype.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @property
    def head_shape(self) -> tuple[int, int]:
        """Return how head_z's last axis splits: heads, width of a head."""
        return self._model.anatomy.n_heads, self._model.anatomy.d_head

    def has(self, part: Part) -> bool:
        """Return whether the model has a part."""
        return part in self._model.family.parts

    def read(self, part: Part, side: Side, layer: int, reader: Reader) -> None:
        """Show the tensor at a part to a reader; nothing happens where the model lacks the part."""

        def look(tensor: Tensor) -> Tensor:
            reader(tensor)
            return tensor

        if self.has(part):
            self.edit(part, side, layer, look)

    def edit(self, part: Part, side: Side, layer: int, editor: Editor) -> None:
        """Replace the tensor at a part by what an editor returns.

        An editor at the output of a fused projection sees the part's own numbers alone.
        """
        family, module = self._model.family, self._model.module

        def of_part(whole: Tensor) -> Tensor:
            seen = family.view(module, part, whole)
            new = editor(seen)
            if new is seen or seen is whole:
                return whole if new is seen else new
            changed = whole.clone()
            family.view(module, part, changed).copy_(new)
            return changed

        self.edit_module(self._part(part, layer), side, editor if side == "input" else of_part)

    def edit_module(self, module: HfModule, side: Side, editor: Editor) -> None:
        """Replace what goes into or comes out of a submodule by what an editor returns."""

        def before(_: Any, args: tuple, named: dict[str, Any]) -> Any:
            if args:
                return (editor(args[0]), *args[1:]), named
            return args, {**named, "hidden_states": editor(named["hidden_states"])}

        def after(_: Any, args: tuple, output: Any) -> Any:
            return _with_first(output, editor(_first(output)))

        if side == "input":
            self._handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        else:
            self._handles.append(module.register_forward_hook(after))

    def edit_site(self, site: Site, layer: int, editor: Editor) -> None:
        """Replace the tensor that passes a site.

        resid_mid is read by the MLP or its norm and by the skip around it: it is written in place.
        """

        def in_place(tensor: Tensor) -> Tensor:
            return tensor.copy_(editor(tensor))

        place = site_place(self._model.family, site)
        assert place is not None, f"the model has no {site.text}"
        part, side = place
        self.edit(part, side, layer, in_place if site is Site.RESID_MID else editor)

    def replace(self, part: Part, layer: int, compute: Callable[[Tensor], Tensor]) -> None:
        """Replace a part's output by a function of its input."""

        def after(_: Any, args: tuple, output: Any) -> Any:
            return compute(args[0])

        self._handles.append(self._part(part, layer).register_forward_hook(after))

    def read_pattern(self, layer: int, reader: Reader) -> None:
        """Show attention probabilities [batch, head, query, key] to a reader."""

        def after(_: Any, args: tuple, output: Any) -> None:
            reader(output[1])

        self._handles.append(self._part(Part.ATTENTION, layer).register_forward_hook(after))

    def edit_pattern(self, layer: int, editor: Editor) -> None:
        """Replace attention probabilities [batch, head, query, key] before they mix the values.

        They are no submodule's output, so the softmax is caught while the attention block runs.
        """
        module, modes = self._part(Part.ATTENTION, layer), []

        def enter(_: Any, args: tuple) -> None:
            modes.append(_SoftmaxEdit(editor))
            modes[-1].__enter__()  # type: ignore[no-untyped-call]  # torch has no types

        def leave(_: Any, args: tuple, output: Any) -> None:
            modes.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]  # as above

        self._handles.append(module.register_forward_pre_hook(enter))
        # Also after an error, so that the softmax is never caught anywhere else.
        self._handles.append(module.register_forward_hook(leave, always_call=True))

    def _part(self, part: Part, layer: int) -> HfModule:
        return part_module(self._model.family, self._model.module, part, layer)

    def forward(self, ids: Sequence[Sequence[int]] | Tensor, past: Any = None) -> Tensor:
        """Run the module; no graph is built unless an editor brings in a tensor that asks for one.

        Args:
            ids: Prompts of equal length, [batch, pos].
            past: A transformers cache to read and extend, or None.

        Returns:
            Logits, [batch, pos, d_vocab], or of classes, [batch, label].
        """
        batch = torch.as_tensor(ids, device=self._model.device)
        remembered: dict[str, Any] = {"use_cache": past is not None}
        if past is not None:
            remembered["past_key_values"] = past
        if not self._model.anatomy.causal:
            remembered = {}
        with upcasting(self._model):
            output = self._model.module(input_ids=batch, **remembered)
        logits: Tensor = output.logits
        return logits

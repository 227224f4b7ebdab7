"""The verbs that run a model without tracing it: `lens` and `ablate`."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from circuitscope.core.attention_text import EXAMPLE, FORM, attention_changes
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.intervention import FREEZES, MODES, Freeze, Intervention
from circuitscope.core.keys import NodeKey
from circuitscope.core.target_text import parse_target
from circuitscope.session.evidence import inspect_logits
from circuitscope.session.trials import CHANGEABLE, change_of, unique_changes
from circuitscope.verb_options import AsJson, Asked, Device, Quiet, read_ids

_MODEL = typer.Argument(help="Folder of the model.")
_PROMPT = typer.Argument(help="The text.")
_IDS = typer.Option("--ids", help="PROMPT is token ids, such as 1,17,4.")


def add_verbs(app: typer.Typer, asked: Asked, print_json: Callable[[Any], None]) -> None:
    """Add the verbs to the command line."""
    _add_logits(app, asked, print_json)

    @app.command(epilog='Example: circuitscope lens ./model "the capital of Texas is" --top 3')
    def lens(  # noqa: PLR0913 - one argument for each option
        model: Annotated[Path, _MODEL],
        prompt: Annotated[str, _PROMPT],
        top: Annotated[int, typer.Option(min=1, max=50, help="Tokens of each state.")] = 1,
        ids: Annotated[bool, _IDS] = False,
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Say which tokens each layer's state promotes, at each position."""
        read = read_ids(prompt) if ids else prompt
        grid = asked(model, device, quiet, lambda session: session.lens(read, top)).result
        n_layers, n_pos, k = grid.values.shape
        cells = [
            {
                "layer": grid.ticks[0][layer], "position": at, "token": grid.ticks[1][at],
                "promotes": [
                    (grid.texts[(layer * n_pos + at) * k + rank],
                     float(grid.values[layer, at, rank])) for rank in range(k)
                ],
            }
            for layer in range(n_layers) for at in range(n_pos)
        ]  # fmt: skip
        if as_json:
            print_json(cells)
            return
        for cell in reversed(cells):
            said = ", ".join(f"{text.strip()} {100 * p:.1f} %" for text, p in cell["promotes"])
            typer.echo(f"{cell['layer']:>5}  {cell['position']:3} {cell['token']:<14} {said}")

    @app.command(
        epilog='Example: circuitscope ablate ./model "the capital of Texas is" '
        "feature/mlp_out/2/5/57 --dictionaries ./dictionaries"
    )
    def ablate(  # noqa: PLR0913 - one argument for each option
        model: Annotated[Path, _MODEL],
        prompt: Annotated[str, _PROMPT],
        nodes: Annotated[
            list[str] | None, typer.Argument(help="Names such as head/head_z/3/7/5.")
        ] = None,
        attention: Annotated[
            str,
            typer.Option(help=f"Entries of patterns to multiply: {FORM}, such as {EXAMPLE}."),
        ] = "",
        mode: Annotated[str, typer.Option(help=f"One of: {', '.join(MODES)}.")] = "zero",
        value: Annotated[str, typer.Option(help="A number; for swap another prompt.")] = "",
        dictionaries: Annotated[
            list[Path] | None, typer.Option(help="Folder of dictionaries; may be given again.")
        ] = None,
        everywhere: Annotated[
            bool, typer.Option("--everywhere", help="At all positions, new tokens included.")
        ] = False,
        freeze: Annotated[
            list[str] | None, typer.Option(help=f"Keep as it was: {', '.join(FREEZES)}.")
        ] = None,
        tokens: Annotated[int, typer.Option(min=0, help="New tokens.")] = 20,
        temperature: Annotated[float, typer.Option(min=0, help="0: the likeliest token.")] = 0.0,
        seed: Annotated[int, typer.Option(help="Seeds sampling.")] = 0,
        ids: Annotated[bool, _IDS] = False,
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Switch nodes off, or change them, and compare what the model says."""
        read, wish = read_ids(prompt) if ids else prompt, _value(mode, value)
        changes = unique_changes(
            change_of(_node(name), _mode(mode), wish, everywhere=everywhere) for name in nodes or ()
        ) + _attention(attention)
        if not changes:
            raise typer.BadParameter("Name a node, or entries of patterns with --attention.")
        folders = tuple(str(path.expanduser().absolute()) for path in dictionaries or [])
        found = asked(
            model, device, quiet,
            lambda session: session.try_changes(
                read, changes, dictionaries=folders, n_tokens=tokens, seed=seed,
                temperature=temperature, freeze=tuple(_freeze(name) for name in freeze or []),
            ),
        ).result  # fmt: skip
        if as_json:
            print_json(asdict(found))
            return
        for shift in found.shifts:
            before, after = 100 * shift.before, 100 * shift.after
            typer.echo(f"{before:6.2f} % -> {after:6.2f} %  {shift.text.strip()}")
        typer.echo(f"before: {' '.join(token.strip() for token in found.before)}")
        typer.echo(f"after:  {' '.join(token.strip() for token in found.after)}")


def _add_logits(app: typer.Typer, asked: Asked, print_json: Callable[[Any], None]) -> None:
    @app.command(
        epilog='Example: circuitscope logits ./model "the capital of Texas is" '
        "difference:Austin,Dallas --component sources"
    )
    def logits(  # noqa: PLR0913 - one argument for each option
        model: Annotated[Path, _MODEL],
        prompt: Annotated[str, _PROMPT],
        metric: Annotated[str, typer.Argument(help="logit:WORD or difference:WORD,OTHER.")],
        component: Annotated[
            str, typer.Option(help="parts, sources, resid_post, attn_out or mlp_out.")
        ] = "parts",
        ids: Annotated[bool, _IDS] = False,
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Say what each head, MLP, word or state adds to a logit or difference of logits."""
        read, wanted = read_ids(prompt) if ids else prompt, parse_target(metric)
        grid = asked(
            model, device, quiet,
            lambda session: inspect_logits(session, read, wanted, component, keep=False),
        ).result  # fmt: skip
        scores = grid.provenance.scores
        if as_json:
            print_json(
                {"axes": grid.axes, "ticks": grid.ticks, "values": grid.values.tolist(),
                 "scores": scores}
            )  # fmt: skip
            return
        typer.echo(" " * 6 + " ".join(f"{tick[:7]:>7}" for tick in grid.ticks[1]))
        for name, row in zip(reversed(grid.ticks[0]), grid.values[::-1], strict=True):
            typer.echo(f"{name:>5} " + " ".join(f"{value:7.2f}" for value in row))
        whole, total = scores["whole"], scores["sum"]
        typer.echo(f"The model says {whole:.4f}; the parts add up to {total:.4f}.")


def _node(name: str) -> NodeKey:
    try:
        key = NodeKey.parse(name)
    except CircuitScopeError as error:
        raise typer.BadParameter(f"{error.message} {error.hint}") from None
    if key.kind not in CHANGEABLE:
        kinds = ", ".join(kind.text for kind in CHANGEABLE)
        raise typer.BadParameter(f"{name} cannot be changed; kinds that can: {kinds}.")
    return key


def _attention(text: str) -> tuple[Intervention, ...]:
    try:
        return attention_changes(text)
    except CircuitScopeError as error:
        raise typer.BadParameter(f"{error.message} {error.hint}") from None


def _mode(mode: str) -> Any:
    if mode not in MODES:
        raise typer.BadParameter(f"--mode is one of {', '.join(MODES)}, not {mode!r}.")
    return mode


def _freeze(name: str) -> Freeze:
    if name not in get_args(Freeze):
        raise typer.BadParameter(f"--freeze is one of {', '.join(FREEZES)}, not {name!r}.")
    kept: Freeze = "patterns" if name == "patterns" else "norms"
    return kept


def _value(mode: str, value: str) -> Any:
    if mode in ("zero", "mean") and not value:
        return None
    if mode == "swap":
        return value or None
    try:
        return float(value)
    except ValueError:
        raise typer.BadParameter(f"--value must be a number, not {value!r}.") from None

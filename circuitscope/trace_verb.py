"""The verb `trace`: every setting of a trace as an option, described as the window describes it."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from circuitscope.core.registry import Registry
from circuitscope.core.settings import TraceSettings
from circuitscope.core.sources import MeanActivations
from circuitscope.core.target_text import FORMS, parse_target
from circuitscope.dictionaries.hub_cache import as_written
from circuitscope.engine.requests import Chat
from circuitscope.session.decomposing import measure_means, read_means
from circuitscope.session.prompt_file import read_prompts
from circuitscope.session.session import Session
from circuitscope.verb_options import AsJson, Device, Done, Opened, Quiet, read_ids

DICTIONARIES = "Folder or repository of dictionaries; may be given again."
_METHODS = Registry[Any]("circuitscope.methods").names()
_SETTINGS = {item.name: item for item in fields(TraceSettings)}


def setting_option(name: str, more: str = "", **bounds: Any) -> Any:
    """Return an option whose name and help are those of a setting."""
    hints = _SETTINGS[name].metadata
    choices = f" One of: {', '.join(hints['choices'])}." if "choices" in hints else ""
    return typer.Option(
        f"--{name.replace('_', '-')}", help=hints["help"] + choices + more, **bounds
    )


def _default(name: str) -> Any:
    return _SETTINGS[name].default


def add_trace(
    app: typer.Typer,
    session_of: Opened,
    done: Done,
    project: tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]],
) -> None:
    """Add `trace` to the command line.

    Args:
        app: The command line.
        session_of: Opens a session as a context manager.
        done: Waits for a job of a session; `quiet` shows no progress.
        project: Opens the project that results go to, saves it, and reports what was found.
    """
    project_for, saved_by, report = project

    @app.command(
        epilog='Example: circuitscope trace ./model "the capital of the state containing Dallas '
        'is" --target logit:Austin --dictionaries ./dictionaries --out dallas.circuitscope'
    )
    def trace(  # noqa: PLR0913 - one argument for each option
        model: Annotated[Path, typer.Argument(help="Folder of the model.")],
        prompt: Annotated[str, typer.Argument(help="The text to explain the continuation of.")],
        target: Annotated[
            list[str] | None,
            typer.Option(
                help=f"{_SETTINGS['targets'].metadata['help']} May be given again: "
                f"{', '.join(FORMS)}; words and features may end in @POSITION."
            ),
        ] = None,
        dictionaries: Annotated[list[str] | None, typer.Option(help=DICTIONARIES)] = None,
        read_at: Annotated[
            list[str] | None, setting_option("read_at", more=" doctor --model finds out which.")
        ] = None,
        method: Annotated[
            str,
            setting_option("method", more=f" One of: {', '.join(_METHODS)}."),
        ] = _default("method"),
        units: Annotated[str, setting_option("units")] = _default("units"),
        mlp: Annotated[str, setting_option("mlp")] = _default("mlp"),
        gated: Annotated[str, setting_option("gated")] = _default("gated"),
        max_nodes: Annotated[int, setting_option("max_nodes", more=" 0 keeps all.")] = _default(
            "max_nodes"
        ),
        conventions: Annotated[str, setting_option("conventions")] = _default("conventions"),
        weights: Annotated[str, setting_option("weights")] = _default("weights"),
        means: Annotated[
            Path | None,
            setting_option("means", more=" Measured over this file of prompts, one a line."),
        ] = None,
        least_share: Annotated[float, setting_option("least_share", min=0.0, max=0.5)] = _default(
            "least_share"
        ),
        logit_mass: Annotated[float, setting_option("logit_mass", min=0.05, max=1.0)] = _default(
            "logit_mass"
        ),
        max_logits: Annotated[int, setting_option("max_logits", min=1)] = _default("max_logits"),
        batch_size: Annotated[int | None, setting_option("batch_size")] = None,
        update_interval: Annotated[int, setting_option("update_interval")] = _default(
            "update_interval"
        ),
        corrupted: Annotated[str, setting_option("corrupted")] = "",
        dtype: Annotated[str, setting_option("dtype")] = _default("dtype"),
        seed: Annotated[int, setting_option("seed")] = _default("seed"),
        held_in: Annotated[
            str, typer.Option(help="How weights are held, such as bfloat16; else as --dtype says.")
        ] = "",
        device: Device = "auto",
        ids: Annotated[
            bool, typer.Option("--ids", help="PROMPT is token ids, such as 1,17,4.")
        ] = False,
        chat: Annotated[
            bool,
            typer.Option("--chat", help="PROMPT is a message, written by the model's template."),
        ] = False,
        prompts: Annotated[
            Path | None,
            typer.Option(help="File of further prompts, one a line; keeps what they share."),
        ] = None,
        share: Annotated[
            float,
            typer.Option(min=0.0, max=1.0, help="With --prompts: least part a node appears in."),
        ] = 0.8,
        name: Annotated[str, typer.Option(help="Name in the project; else the prompt.")] = "",
        out: Annotated[
            Path | None, typer.Option(help="Project file to add it to; made where missing.")
        ] = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Compute the circuit behind what a model says next."""
        chosen: Any = {
            "method": method, "max_nodes": max_nodes or None, "batch_size": batch_size,
            "update_interval": update_interval, "dtype": dtype, "seed": seed,
            "units": units, "mlp": mlp, "gated": gated, "weights": weights,
            "conventions": conventions, "least_share": least_share, "logit_mass": logit_mass,
            "max_logits": max_logits,
        }  # fmt: skip
        for key, value in chosen.items():
            _check_choice(key, value)
        if chat and ids:
            raise typer.BadParameter("A prompt is either ids or a message.", param_hint="--chat")
        read: Callable[[str], Any] = read_ids if ids else str
        further = [read(line) for line in (read_prompts(prompts) if prompts else ())]
        settings = TraceSettings(
            prompt=read(prompt),
            targets=tuple(parse_target(text) for text in target or ["logit:top"]),
            dictionaries=tuple(as_written(text) for text in dictionaries or []),
            read_at=tuple(read_at or ()),
            corrupted=read(corrupted) if corrupted else "",
            **chosen,
        )
        with session_of() as session:
            project_for(session, out)
            held = held_in or dtype
            done(session, session.load_model(model, device=device, dtype=held), quiet=quiet)
            if session.model.check is not None and not quiet:
                typer.echo(f"Self-check: {session.model.check.words}.", err=True)
            if chat:
                ids_of = _written_out(session, done, [prompt, *further], quiet)
                settings, further = replace(settings, prompt=ids_of[0]), ids_of[1:]
                if corrupted:
                    (other,) = _written_out(session, done, [corrupted], quiet)
                    settings = replace(settings, corrupted=other)
            if means is not None:
                settings = replace(settings, means=_measured(session, done, means, weights, quiet))
            more = [settings.prompt, *further] if further else []
            job = done(session, session.trace(settings, name, more, share), quiet=quiet)
            circuit = session.circuit
            assert circuit is not None
            saved = saved_by(session, out)
        report(job, circuit, saved, as_json=as_json)


def _check_choice(name: str, value: Any) -> None:
    choices = _SETTINGS[name].metadata.get("choices", (value,))
    if value not in choices:
        raise typer.BadParameter(
            f"--{name.replace('_', '-')} is one of {', '.join(choices)}, not {value!r}."
        )


def _written_out(
    session: Session, done: Done, messages: list[str], quiet: bool
) -> list[tuple[int, ...]]:
    """Return the tokens of messages of the user as the model's template writes them."""
    chats = [Chat((("user", text),)) for text in messages]
    return [done(session, session.preview(one), quiet=quiet).result.ids for one in chats]


def _measured(
    session: Session, done: Done, file: Path, weights: str, quiet: bool
) -> MeanActivations:
    """Measure means over the prompts of a file; the project keeps them."""
    job = done(session, measure_means(session, read_prompts(file), file.stem, weights), quiet=quiet)
    assert session.project is not None
    return read_means(session, session.project.finding(job.result_id))

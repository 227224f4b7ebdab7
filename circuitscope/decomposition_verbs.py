"""The verbs of contextual decomposition: `words`, `agree` and `discover`."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from circuitscope.core.importance import from_ranking
from circuitscope.engine.decomposing import Compared
from circuitscope.session.decomposing import (
    compare_heads,
    contextual_circuits,
    discover_heads,
    weigh_words,
)
from circuitscope.session.metric_cases import read_metric_cases
from circuitscope.verb_options import AsJson, Asked, Device, Done, Opened, Quiet, opened_project


def add_verbs(
    app: typer.Typer,
    asked: Asked,
    session_of: Opened,
    done: Done,
    print_json: Callable[[Any], None],
) -> None:
    """Add the verbs to the command line.

    Args:
        app: The command line.
        asked: Loads a model, asks it and returns the finished job.
        session_of: Opens a session as a context manager.
        done: Waits for a job of a session; `quiet` shows no progress.
        print_json: Writes a result.
    """

    @app.command(epilog='Example: circuitscope words projects/sentiment/model "not bad at all"')
    def words(  # noqa: PLR0913 - one argument for each option
        model: Annotated[Path, typer.Argument(help="Folder of a classifier.")],
        text: Annotated[str, typer.Argument(help="The sentence.")],
        label: Annotated[str, typer.Option(help="Explained; else the decision.")] = "",
        contrast: Annotated[str, typer.Option(help="Told from; else the likeliest other.")] = "",
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Weigh the words and phrases that a classifier's decision rests on."""
        job = asked(
            model, device, quiet, lambda session: weigh_words(session, text, label, contrast)
        )
        found = from_ranking(job.result)
        if as_json:
            print_json(asdict(found))
            return
        typer.echo(f"{found.label} against {found.contrast}: {found.whole:+.3f}")
        for phrase in found.words:
            typer.echo(f"  {phrase.score:+.3f}  {phrase.text}")
        typer.echo(f"  {found.sum_of_words:+.3f}  sum of the words, which is not the whole")
        for phrase in found.interactions[:5]:
            typer.echo(
                f"  {phrase.score:+.3f}  {phrase.text}: {phrase.interaction:+.3f} only together"
            )

    @app.command(
        epilog="Example: circuitscope agree capitals.circuitscope --model projects/atlas/model "
        "--circuit Dallas"
    )
    def agree(  # noqa: PLR0913 - one argument for each option
        project: Annotated[Path, typer.Argument(help="Project file.")],
        model: Annotated[Path, typer.Option(help="Folder of the model.")],
        circuit: Annotated[str, typer.Option(help="Name or id; else the first.")] = "",
        against: Annotated[
            str, typer.Option("--with", help="A circuit of heads there; else one is traced.")
        ] = "",
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Compare a dictionary circuit with one of contextual decomposition, head by head."""
        with opened_project(session_of, project, circuit) as session:
            done(session, session.load_model(model, device=device, dtype="float32"), quiet=quiet)
            other = session.project.finding(against) if against else None
            if not against:
                other = next(iter(contextual_circuits(session)), None)
            job = done(session, compare_heads(session, other), quiet=quiet)
            result = job.result
        assert isinstance(result, Compared)
        found = result.agreement
        if as_json:
            print_json({**asdict(found), "only_dictionary": _names(found.only_dictionary),
                        "only_contextual": _names(found.only_contextual)})  # fmt: skip
            return
        typer.echo(f"Spearman {found.spearman:+.3f} over {len(found.heads)} heads")
        typer.echo(f"ROC AUC {found.auc:.3f} for {found.n_discovered} heads discovered")
        typer.echo(f"{100 * found.projected:.0f} % of attention's influence belongs to heads")
        for words, rows in (
            ("only the dictionary circuit", found.only_dictionary),
            ("only contextual decomposition", found.only_contextual),
        ):
            typer.echo(f"{words}: {', '.join(_names(rows)) or 'none'}")


def add_discovery(
    app: typer.Typer,
    session_of: Opened,
    done: Done,
    project: tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]],
) -> None:
    """Add `discover` to the command line.

    Args:
        app: The command line.
        session_of: Opens a session as a context manager.
        done: Waits for a job of a session; `quiet` shows no progress.
        project: Opens the project that results go to, saves it, and reports what was found.
    """
    project_for, saved_by, report = project

    @app.command(
        epilog="Example: circuitscope discover projects/atlas/model capitals.jsonl --heads 8 "
        "--out heads.circuitscope"
    )
    def discover(  # noqa: PLR0913 - one argument for each option
        model: Annotated[Path, typer.Argument(help="Folder of the model.")],
        prompts: Annotated[
            Path, typer.Argument(help='JSON lines: {"prompt": …, "answer": …, "against": …}.')
        ],
        evaluate: Annotated[
            Path | None, typer.Option(help="Prompts to measure on; else those searched.")
        ] = None,
        heads: Annotated[int, typer.Option(help="Most heads taken.")] = 10,
        positions: Annotated[
            bool, typer.Option("--positions", help="Heads at positions; prompts of equal length.")
        ] = False,
        mlps: Annotated[bool, typer.Option("--mlps", help="Search MLPs too.")] = False,
        ablation: Annotated[str, typer.Option(help="What others hold: mean or zero.")] = "mean",
        weights: Annotated[str, typer.Option(help="raw, centred or folded.")] = "raw",
        name: Annotated[str, typer.Option(help="Name in the project.")] = "",
        out: Annotated[Path | None, typer.Option(help="Project file to add it to.")] = None,
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Find the heads behind a metric over many prompts, and measure them."""
        if ablation not in ("mean", "zero"):
            raise typer.BadParameter(f"There is no {ablation}.", param_hint="--ablation")
        cases = read_metric_cases(prompts)
        others = read_metric_cases(evaluate) if evaluate else ()
        with session_of() as session:
            project_for(session, out)
            done(session, session.load_model(model, device=device, dtype="float32"), quiet=quiet)
            found = discover_heads(
                session, cases, others, name, n_heads=heads, mlps=mlps, ablation=ablation,
                weights=weights, granularity="head-position" if positions else "head",
            )  # fmt: skip
            job = done(session, found, quiet=quiet)
            circuit = session.circuit
            saved = saved_by(session, out)
        report(job, circuit, saved, as_json=as_json)
        if not as_json:
            faithful = circuit.provenance.scores["faithfulness"]
            where = "other prompts" if others else "the prompts searched"
            typer.echo(f"Faithfulness {faithful:.3f} on {where}")


def _names(rows: Any) -> list[str]:
    return [f"{row.layer}.{row.head}" for row in rows]

"""The verbs that test, measure and compare circuits; `cli` adds them to its own."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from circuitscope.core.badges import Outcome, adjusted, badge_of
from circuitscope.core.finding import Curves, Grid
from circuitscope.core.target_text import parse_target
from circuitscope.core.transfer import Chosen
from circuitscope.exchange.comparison import ComparisonReport, headline, metadata_of, noise
from circuitscope.exchange.measurement_page import numbers_of
from circuitscope.session import comparing, evidence, measuring, mib
from circuitscope.session.prompt_pairs import read_pairs
from circuitscope.verb_options import AsJson, Device, Done, Opened, Quiet, opened_project

_MODEL = typer.Argument(help="Folder of the model.")
_PROJECT = typer.Argument(help="A project file.")
_CIRCUIT = typer.Option(help="Name of the circuit; the first where left out.")


def add_verbs(
    app: typer.Typer, opened: Opened, done: Done, print_json: Callable[[Any], None]
) -> None:
    """Add the verbs to the command line."""
    _add_measure(app, opened, done, print_json)
    _add_compare(app, opened, done, print_json)
    _add_bench_mib(app, opened, done, print_json)

    @app.command(
        epilog="Example: circuitscope test dallas.circuitscope ./model "
        '--counterfactual "the capital of the state containing Oakland is"'
    )
    def test(  # noqa: PLR0913 - one argument for each option
        project: Annotated[Path, _PROJECT],
        model: Annotated[Path, _MODEL],
        nodes: Annotated[
            list[str] | None, typer.Argument(help="Node names; else the 20 strongest.")
        ] = None,
        circuit: Annotated[str, _CIRCUIT] = "",
        together: Annotated[
            bool, typer.Option("--together", help="Change all nodes at once.")
        ] = False,
        counterfactual: Annotated[str, typer.Option(help="A prompt of as many tokens.")] = "",
        ablation: Annotated[str, typer.Option(help="auto, zero, mean or resample.")] = "auto",
        draws: Annotated[int, typer.Option(min=100, help="Matched controls of each test.")] = 200,
        dictionaries: Annotated[
            list[Path] | None, typer.Option(help="Folder of dictionaries.")
        ] = None,
        save: Annotated[
            bool, typer.Option("--save", help="Keep the tests in the project.")
        ] = False,
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Test nodes of a circuit on the unfrozen model, and say which are supported."""
        with opened_project(opened, project, circuit, read_only=not save) as session:
            done(session, session.load_model(model, device=device, dtype="float32"), quiet=quiet)
            options: dict[str, Any] = {
                "counterfactual": counterfactual,
                "ablation": ablation,
                "draws": draws,
            }
            if dictionaries:
                folders = (str(path.expanduser().absolute()) for path in dictionaries)
                options["dictionaries"] = tuple(folders)
            alone = () if together else tuple(nodes or ())
            groups = [tuple(nodes)] if together and nodes else []
            asked = evidence.start_tests(session, alone, groups=groups, keep=save, **options)
            job = done(session, asked, quiet=quiet)
            if save:
                session.save()
        _tell(job.result.tests, print_json if as_json else None)

    @app.command(
        epilog='Example: circuitscope patch ./model "the capital of the state containing Dallas is"'
        ' "the capital of the state containing Oakland is" difference:Austin,Sacramento'
    )
    def patch(  # noqa: PLR0913 - one argument for each option
        model: Annotated[Path, _MODEL],
        clean: Annotated[str, typer.Argument(help="The prompt whose values are put in.")],
        corrupted: Annotated[str, typer.Argument(help="The prompt that is run.")],
        metric: Annotated[str, typer.Argument(help="logit:WORD or difference:WORD,OTHER.")],
        component: Annotated[
            str, typer.Option(help="resid_pre, attn_out, mlp_out or head_z.")
        ] = "resid_pre",
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Say where the clean prompt's values bring its answer back: a sweep of patching."""
        with opened() as session:
            done(session, session.load_model(model, device=device, dtype="float32"), quiet=quiet)
            asked = evidence.sweep(session, clean, corrupted, parse_target(metric), component)
            grid = done(session, asked, quiet=quiet).result
        _tell_grid(grid, print_json if as_json else None)

    @app.command(
        epilog='Example: circuitscope attend ./model "the capital of the state containing Dallas '
        'is" difference:Austin,Sacramento 7'
    )
    def attend(  # noqa: PLR0913 - one argument for each option
        model: Annotated[Path, _MODEL],
        prompt: Annotated[str, typer.Argument(help="The text.")],
        metric: Annotated[str, typer.Argument(help="logit:WORD or difference:WORD,OTHER.")],
        key: Annotated[int, typer.Argument(help="Position looked at.")],
        query: Annotated[str, typer.Option(help="Position that looks, or all.")] = "-1",
        factor: Annotated[float, typer.Option(help="0 takes the look away.")] = 0.0,
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Say how the answer changes as each head's look at a word is multiplied."""
        options = {"key": key, "query": _query(query), "factor": factor}
        with opened() as session:
            done(session, session.load_model(model, device=device, dtype="float32"), quiet=quiet)
            asked = evidence.sweep(session, prompt, "", parse_target(metric), "pattern", **options)
            grid = done(session, asked, quiet=quiet).result
        _tell_grid(grid, print_json if as_json else None)


def _add_compare(
    app: typer.Typer, opened: Opened, done: Done, print_json: Callable[[Any], None]
) -> None:
    @app.command(
        epilog="Example: circuitscope compare capitals.circuitscope Dallas Oakland "
        "--model projects/atlas/model --out dallas-oakland.svg"
    )
    def compare(  # noqa: PLR0913 - one argument for each option
        project: Annotated[Path, _PROJECT],
        a: Annotated[str, typer.Argument(help="Name of one circuit.")],
        b: Annotated[str, typer.Argument(help="Name of the other.")],
        model: Annotated[
            Path | None, typer.Option(help="Run each circuit on the other's prompt in this model.")
        ] = None,
        floor: Annotated[
            str, typer.Option(help="A circuit that should be as the first: the noise floor.")
        ] = "",
        align: Annotated[str, typer.Option(help="Pair tokens by edit (distance) or end.")] = "edit",
        threshold: Annotated[float, typer.Option(min=0, max=1, help="Influence kept.")] = 0.8,
        top: Annotated[int, typer.Option(min=1, help="Lines of each kind.")] = 10,
        out: Annotated[
            list[Path] | None,
            typer.Option(help="Write a figure (svg, pdf, png, html, tex) or table (csv, md)."),
        ] = None,
        preset: Annotated[str, typer.Option(help="Size of the figure.")] = "screen",
        dictionaries: Annotated[
            list[Path] | None, typer.Option(help="Folder of dictionaries.")
        ] = None,
        save: Annotated[
            bool, typer.Option("--save", help="Keep the comparison in the project.")
        ] = False,
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Say what two circuits share, what differs, and whether one does the other's work."""
        with opened() as session:
            held = session.open_project(project, read_only=not save)
            ids = [held.finding(name).id if name else "" for name in (a, b, floor)]
            chosen = Chosen(ids[0], ids[1], ids[2], align, threshold)
            found = comparing.report_of(held, chosen)
            if model is not None:
                done(session, session.load_model(model, device=device, dtype="float32"),
                     quiet=quiet)  # fmt: skip
                folders = tuple(str(path.expanduser().absolute()) for path in dictionaries or ())
                job = comparing.start_cross_test(session, chosen, folders)
                found = replace(found, transfer=done(session, job, quiet=quiet).result)
            for path in out or ():
                comparing.export_comparison(found, path, preset)
            if save:
                comparing.keep(held, chosen, found)
                session.save()
        _tell_comparison(found, top, print_json if as_json else None)


def _query(text: str) -> int | None:
    if text == "all":
        return None
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"--query is a position or all, not {text!r}.") from None


def _tell_grid(grid: Grid, print_json: Callable[[Any], None] | None) -> None:
    if print_json is not None:
        print_json({"axes": grid.axes, "ticks": grid.ticks, "values": grid.values.tolist()})
        return
    typer.echo(" " * 6 + " ".join(f"{tick[:7]:>7}" for tick in grid.ticks[1]))
    for name, row in zip(reversed(grid.ticks[0]), grid.values[::-1], strict=True):
        typer.echo(f"{name:>5} " + " ".join(f"{value:7.2f}" for value in row))


def _add_measure(
    app: typer.Typer, opened: Opened, done: Done, print_json: Callable[[Any], None]
) -> None:
    @app.command(
        epilog="Example: circuitscope measure capitals.circuitscope projects/atlas/model "
        "--level node --report dallas.html"
    )
    def measure(  # noqa: PLR0913 - one argument for each option
        project: Annotated[Path, _PROJECT],
        model: Annotated[Path, _MODEL],
        circuit: Annotated[str, _CIRCUIT] = "",
        prompts: Annotated[
            Path | None,
            typer.Option(help="CSV or JSON lines of clean and corrupted prompts; else its own."),
        ] = None,
        level: Annotated[str, typer.Option(help="edge or node.")] = "edge",
        ablation: Annotated[str, typer.Option(help="auto, zero, mean or resample.")] = "auto",
        points: Annotated[int, typer.Option(min=2, help="Sizes of the circuit.")] = 20,
        seed: Annotated[int, typer.Option(help="Seeds random parts and circuits.")] = 0,
        dictionaries: Annotated[
            list[Path] | None, typer.Option(help="Folder of dictionaries.")
        ] = None,
        report: Annotated[Path | None, typer.Option(help="HTML file to write.")] = None,
        save: Annotated[
            bool, typer.Option("--save", help="Keep the report in the project.")
        ] = False,
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Measure whether a circuit is faithful, complete and minimal."""
        pairs = read_pairs(prompts) if prompts is not None else []
        with opened_project(opened, project, circuit, read_only=not save) as session:
            done(session, session.load_model(model, device=device, dtype="float32"), quiet=quiet)
            options: dict[str, Any] = {
                "level": level, "ablation": ablation, "points": points, "seed": seed,
            }  # fmt: skip
            if dictionaries:
                folders = (str(path.expanduser().absolute()) for path in dictionaries)
                options["dictionaries"] = tuple(folders)
            asked = measuring.start_measuring(session, pairs, keep=save, **options)
            found = done(session, asked, quiet=quiet).result
            if save:
                session.save()
        if report is not None:
            measuring.save_report(found, report, report.stem)
        _tell_measurement(found, print_json if as_json else None)


def _add_bench_mib(
    app: typer.Typer, opened: Opened, done: Done, print_json: Callable[[Any], None]
) -> None:
    @app.command(
        "bench-mib",
        epilog="Example: circuitscope bench-mib ./gpt2 ioi_train.jsonl --test ioi_test.jsonl "
        "--out ioi",
    )
    def bench_mib(  # noqa: PLR0913 - one argument for each option
        model: Annotated[Path, _MODEL],
        train: Annotated[Path, typer.Argument(help="Pairs that edges are scored on.")],
        test: Annotated[
            Path | None, typer.Option(help="Pairs that circuits are measured on; else the same.")
        ] = None,
        method: Annotated[
            list[str] | None, typer.Option(help=f"May be given again: {', '.join(mib.METHODS)}.")
        ] = None,
        counterfactual: Annotated[
            str, typer.Option(help="Key of the counterfactual in rows of MIB; else the first.")
        ] = "",
        most: Annotated[int, typer.Option(min=0, help="Pairs of each file; 0 takes all.")] = 0,
        seed: Annotated[int, typer.Option(help="Seeds the random ranking.")] = 0,
        out: Annotated[
            Path | None, typer.Option(help="Writes OUT.json and the table OUT.md.")
        ] = None,
        device: Device = "auto",
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        """Run the MIB benchmark's circuit protocol at the level of edges: CPR and CMD."""
        scored, measured = (
            read_pairs(path, counterfactual)[: most or None] if path is not None else []
            for path in (train, test)
        )
        with opened() as session:
            done(session, session.load_model(model, device=device, dtype="float32"), quiet=quiet)
            asked = mib.start_bench(session, scored, measured, method or mib.METHODS, seed)
            found = done(session, asked, quiet=quiet).result
        if out is not None:
            mib.save_bench(found, out)
        if as_json:
            print_json(mib.as_json(found))
        else:
            typer.echo(mib.table(found))


def _tell_measurement(found: Curves, print_json: Callable[[Any], None] | None) -> None:
    record = found.provenance
    if print_json is not None:
        curves = {name: values.tolist() for name, values in found.curves.items()}
        print_json(
            {
                "scores": record.scores, found.x_name: found.x.tolist(), "curves": curves,
                "measured": record.settings["measured"], "remarks": record.remarks,
            }
        )  # fmt: skip
        return
    for title, value, words in numbers_of(found):
        typer.echo(f"{value:>8}  {title}: {words}")
    for remark in record.remarks:
        typer.echo(remark)


def _tell_comparison(
    report: ComparisonReport, top: int, print_json: Callable[[Any], None] | None
) -> None:
    found, names = report.found, report.names
    lists = {
        "both": found.nodes_in("both"), f"only {names[0]}": found.nodes_in("a"),
        f"only {names[1]}": found.nodes_in("b"),
    }  # fmt: skip
    if print_json is not None:
        nodes = {
            where: [{"node": str(pair.key), "influence": pair.influence} for pair in pairs]
            for where, pairs in lists.items()
        }
        edges = [
            {"source": str(e.source), "target": str(e.target), "weights": e.weights}
            for e in found.edges
        ]
        similar = report.transfer.similar if report.transfer is not None else ()
        told = {"similar": [asdict(one) for one in similar], "nodes": nodes, "edges": edges}
        print_json({**metadata_of(report), **told})
        return
    for line in (*headline(report), *noise(report)):
        typer.echo(line)
    for where, pairs in lists.items():
        typer.echo(f"{where}: {len(pairs)} nodes")
        for pair in pairs[:top]:
            left, right = pair.influence
            typer.echo(f"  {left:5.2f} {right:5.2f}  {pair.key}")
    flipped = found.edges_in("flipped")
    typer.echo(f"sign flipped: {len(flipped)} edges")
    for edge in flipped[:top]:
        typer.echo(
            f"  {edge.weights[0]:+.3f} {edge.weights[1]:+.3f}  {edge.source} → {edge.target}"
        )


def _tell(tests: tuple[Outcome, ...], print_json: Callable[[Any], None] | None) -> None:
    q = adjusted([tested.p for tested in tests])
    found = [
        {"badge": str(badge_of(tested, float(one))), "q": float(one), **tested.as_json()}
        for tested, one in zip(tests, q, strict=True)
    ]
    if print_json is not None:
        print_json(found)
        return
    for one in found:
        name = " + ".join(one["subject"][:2]) + (" …" if len(one["subject"]) > 2 else "")
        typer.echo(
            f"{one['badge']:12} {one['effect']:+8.3f}  predicted {one['predicted']:+8.3f}  "
            f"controls ±{one['band']:.3f}  q {one['q']:.3f}  {name}  ({one['ablation']})"
        )

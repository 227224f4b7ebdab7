"""The verbs about files that are there already: `export`, `check`, `log` and `compact`."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from circuitscope.exchange.format import files_of, formats
from circuitscope.exchange.theme import PRESETS
from circuitscope.project.check import check_project
from circuitscope.project.journal import Event, read_log
from circuitscope.project.rescue import Rescued, rescue_project
from circuitscope.session.work import file_name
from circuitscope.verb_options import AsJson, Opened

_PROJECT = typer.Argument(help="Project file.")


def add_verbs(app: typer.Typer, opened: Opened, print_json: Callable[[Any], None]) -> None:
    """Add the verbs to the command line."""
    _add_export(app, opened, print_json)
    _add_check(app, print_json)
    _add_log(app, print_json)
    _add_compact(app, opened, print_json)


def _add_export(app: typer.Typer, opened: Opened, print_json: Callable[[Any], None]) -> None:
    @app.command(
        epilog="Example: circuitscope export dallas.circuitscope --circuit Dallas "
        "--out figure.svg; of all circuits: circuitscope export dallas.circuitscope --all "
        "--format pdf --preset column --out figures"
    )
    def export(  # noqa: PLR0913 - one argument for each option
        project: Annotated[Path, _PROJECT],
        out: Annotated[
            list[Path] | None,
            typer.Option(help="File to write, whose suffix says the format; or a folder."),
        ] = None,
        format: Annotated[
            list[str] | None,
            typer.Option("--format", help="Suffix of files named after their circuits: pdf, svg."),
        ] = None,
        circuit: Annotated[str, typer.Option(help="Name or id; else the first.")] = "",
        every: Annotated[bool, typer.Option("--all", help="Every circuit of the project.")] = False,
        what: Annotated[str, typer.Option(help="link, circuit or auto.")] = "auto",
        preset: Annotated[
            str, typer.Option(help=f"Size of the figure: {', '.join(PRESETS)}; or column, columns.")
        ] = "screen",
        dpi: Annotated[int, typer.Option(min=72, max=600, help="Dots per inch of PNG.")] = 300,
        transparent: Annotated[bool, typer.Option("--transparent", help="No white page.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """Write circuits as figures or as graph files."""
        if not out and not format:
            raise typer.BadParameter("Say where to with --out, or which format with --format.")
        written: list[dict[str, Any]] = []
        with opened() as session:
            opened_project = session.open_project(project, read_only=True)
            infos = [info for info in opened_project.findings() if info.kind == "circuit"]
            chosen = [info.name for info in infos] if every else [circuit]
            for name in chosen:
                title = name or (infos[0].name if infos else "circuit")
                for path in _targets(project, title, out or [], format or [], several=every):
                    warnings = session.export(
                        path, name, what, preset=preset, dpi=dpi, transparent=transparent
                    )
                    files = [str(file) for file in files_of(path)]
                    written += [{"path": file, "warnings": list(warnings)} for file in files]
                    # At once: should the next one fail, this one is there.
                    if not as_json:
                        typer.echo("\n".join(files))
                        for warning in warnings:
                            typer.echo(warning, err=True)
        if as_json:
            print_json(written)


def _add_check(app: typer.Typer, print_json: Callable[[Any], None]) -> None:
    @app.command(
        epilog="Example: circuitscope check broken.circuitscope --rescue whole.circuitscope"
    )
    def check(
        project: Annotated[Path, _PROJECT],
        rescue: Annotated[
            Path | None, typer.Option(help="New file for whatever can be read of a damaged one.")
        ] = None,
        as_json: AsJson = False,
    ) -> None:
        """Verify a project file: pages, every digest, every row. Changes nothing."""
        problems = check_project(project)
        saved = None if rescue is None else rescue_project(project, rescue)
        if as_json:
            found = {"path": str(project), "problems": [asdict(problem) for problem in problems]}
            print_json(found if saved is None else {**found, "rescued": _rescued_json(saved)})
        else:
            for problem in problems:
                typer.echo(f"{problem.where}: {problem.what}")
            if not problems:
                typer.echo(f"{project}: all is well.")
            if saved is not None:
                _tell(saved)
        if problems:
            hint = (
                " Open a backup of it where you have one, or save what can be read with --rescue."
            )
            typer.echo("The file was not changed." + ("" if saved else hint), err=True)
        raise typer.Exit(1 if problems else 0)


def _add_log(app: typer.Typer, print_json: Callable[[Any], None]) -> None:
    @app.command(epilog="Example: circuitscope log dallas.circuitscope")
    def log(project: Annotated[Path, _PROJECT], as_json: AsJson = False) -> None:
        """Say who did what in a project, oldest first."""
        events = read_log(project)
        if as_json:
            print_json([asdict(event) for event in events])
            return
        for event in events:
            typer.echo(_line(event))


def _add_compact(app: typer.Typer, opened: Opened, print_json: Callable[[Any], None]) -> None:
    @app.command(epilog="Example: circuitscope compact dallas.circuitscope")
    def compact(project: Annotated[Path, _PROJECT], as_json: AsJson = False) -> None:
        """Remove for good what was deleted in a project, and save it."""
        before = project.stat().st_size if project.is_file() else 0
        with opened() as session:
            removed = session.open_project(project).compact()
            if removed:
                session.save()
        after = project.stat().st_size
        if as_json:
            print_json({"path": str(project), "removed": removed, "before": before, "after": after})
            return
        if not removed:
            typer.echo(f"{project}: nothing was deleted, so there is nothing to remove.")
            return
        results = "1 result" if removed == 1 else f"{removed} results"
        sizes = f"{before / 1e6:.2f} MB before, {after / 1e6:.2f} MB now"
        typer.echo(f"{project}: removed {results}; {sizes}.")


def _targets(
    project: Path, circuit: str, out: list[Path], suffixes: list[str], *, several: bool
) -> list[Path]:
    """Return the files to write for one circuit."""
    if not suffixes and not several:
        return list(out)
    folder = out[0] if out else project.parent
    if out and (len(out) > 1 or out[0].suffix.lower() in formats()):
        raise typer.BadParameter("With --all or --format, --out is one folder.")
    folder.mkdir(parents=True, exist_ok=True)
    if not suffixes:
        raise typer.BadParameter("With --all, say which format with --format.")
    name = file_name(f"{project.stem} {circuit}" if not out else circuit)
    return [folder / f"{name}.{suffix.lower().lstrip('.')}" for suffix in suffixes]


def _line(event: Event) -> str:
    where = f"{event.where}: " if event.where else ""
    undone = " (undone)" if event.undone else ""
    return f"{event.when[:19].replace('T', ' ')}  {event.who:<20}  {where}{event.what}{undone}"


def _tell(saved: Rescued) -> None:
    taken = ", ".join(f"{n} {what}" for what, n in saved.taken.items() if n)
    typer.echo(f"Saved to {saved.path}: {taken}.")
    for loss in saved.lost:
        typer.echo(loss)


def _rescued_json(saved: Rescued) -> dict[str, Any]:
    return {"path": str(saved.path), "taken": saved.taken, "lost": list(saved.lost)}

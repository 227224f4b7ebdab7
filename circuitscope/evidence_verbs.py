"""The verbs that test, measure and compare circuits; `cli` adds them to its own."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from circuitscope.core.badges import Outcome, adjusted, badge_of
from circuitscope.session import evidence
from circuitscope.session.jobs import Job
from circuitscope.session.session import Session

Opened = Callable[[], AbstractContextManager[Session]]
Done = Callable[..., Job]

_MODEL = typer.Argument(help="Folder of the model.")
_PROJECT = typer.Argument(help="A project file.")
_CIRCUIT = typer.Option(help="Name of the circuit; the first where left out.")
_DEVICE = typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")
_JSON = typer.Option("--json", help="Write the result as JSON.")
_QUIET = typer.Option("--quiet", help="Show no progress.")


def add_verbs(
    app: typer.Typer, opened: Opened, done: Done, print_json: Callable[[Any], None]
) -> None:
    """Add the verbs to the command line."""

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
        device: Annotated[str, _DEVICE] = "auto",
        as_json: Annotated[bool, _JSON] = False,
        quiet: Annotated[bool, _QUIET] = False,
    ) -> None:
        """Test nodes of a circuit on the unfrozen model, and say which are supported."""
        with opened() as session:
            session.open_project(project, read_only=not save)
            if circuit:
                session.activate(session.project.finding(circuit).id)
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

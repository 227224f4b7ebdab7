"""Dallas against Oakland, kept in the atlas project: what two drawings share is not what they do.

The noise floor is another city of Dallas's state. Its circuit shares half of its nodes with
Dallas's, and does the same work; Oakland's shares a third, and does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import circuitscope as cs
from circuitscope.core.transfer import Chosen
from circuitscope.examples import atlas
from circuitscope.session import comparing

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.exchange.comparison import ComparisonReport
    from circuitscope.models.loading import LoadedModel
    from circuitscope.session.work import Project

PROMPT = "the capital of the state containing {city} is"
FIRST, SECOND, FLOOR = "Dallas", "Oakland", "Houston"


def compare_cities(
    project: Project, model: LoadedModel, dictionaries: Sequence[Dictionary]
) -> ComparisonReport:
    """Keep the comparison in the project, with the noise floor, which is traced where missing.

    Args:
        project: Holds the circuits of both cities under their names.
        model: The atlas model.
        dictionaries: Those of the traces.

    Returns:
        What was found; `exchange.comparison.headline` and `noise` say it in words.
    """
    if FLOOR not in project.circuits():
        traced = cs.trace(
            model, PROMPT.format(city=FLOOR), dictionaries=dictionaries, mlp="transcoder",
            targets=[f"logit:{atlas.capital_of(atlas.state_of(FLOOR))}"],
        )  # fmt: skip
        # The file ships, so it names no folder of the machine that made it.
        project.add(replace(traced, provenance=traced.provenance.without_folders()), name=FLOOR)
    names = FIRST, SECOND, FLOOR
    a, b, floor = (project.circuits()[name] for name in names)
    crossed = cs.transfer(model, a, b, floor=floor, names=names, dictionaries=dictionaries)
    ids = [project.finding(name).id for name in names]
    chosen = Chosen(ids[0], ids[1], ids[2])
    report = comparing.report_of(project, chosen, crossed)
    comparing.keep(project, chosen, report)
    return report

"""Path patching, back from the answer: each edge is run with the corrupted prompt's value.

1. Start at the logits. For every writer before, run the clean prompt with that one edge carrying
   what the corrupted prompt writes; all other edges carry the clean prompt's, and what follows
   the read is computed. The score is what the metric loses: exact, nothing is estimated.
2. Take the writers whose edges do most, and do the same at what they read, until twelve readers
   have been measured.
3. Keep the strongest edges that lie on a path to the answer.

Wang et al. 2022 (arXiv 2211.00593), Goldowsky-Dill et al. 2023 (arXiv 2304.05969). Readers that
were never reached are not measured.
"""

import torch
from torch import Tensor

from circuitscope.core.progress import Progress
from circuitscope.tracing.edge_scores import Task, patched
from circuitscope.tracing.parts import INPUT
from circuitscope.tracing.parts_circuit import EdgeMethod

MOST_READERS = 12


class PathPatching(EdgeMethod):
    """Measure edges by patching, walking back from the answer."""

    name = "path_patching"
    title = "Path patching"

    def scores(self, task: Task, progress: Progress) -> Tensor:
        """Return the measured effect of each edge; a writer's stands at the first position."""
        parts = task.parts
        found = torch.zeros(parts.n_readers, *task.own.shape[:2], dtype=torch.float64)
        strength = torch.zeros(parts.n_readers, dtype=torch.float64)
        strength[parts.logits] = torch.inf
        open_readers = {parts.logits}
        progress.phase("Patching edges", MOST_READERS)
        for _ in range(MOST_READERS):
            if not open_readers:
                break
            reader = max(open_readers, key=lambda one: float(strength[one]))
            open_readers.remove(reader)
            strength[reader] = -1
            places = [(reader, INPUT, at) for at in range(len(task.ids))]
            places += [(reader, writer, -1) for writer in range(1, parts.n_before(reader))]
            effects = patched(task, places)
            for (_, writer, at), effect in zip(places, effects, strict=True):
                found[reader, writer, max(at, 0)] = effect
                if writer != INPUT and strength[writer - 1] >= 0 and effect:
                    strength[writer - 1] = max(float(strength[writer - 1]), abs(effect))
                    open_readers.add(writer - 1)
            progress.advance()
        return found

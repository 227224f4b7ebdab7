"""Attribution patching of edges (EAP): the first order of what patching each edge would do.

1. Run the clean prompt, the corrupted one, and the clean one once more for gradients.
2. An edge from a writer into a read scores (written clean - written corrupted) . (gradient of the
   metric at that read), summed over positions: what the metric loses, to first order, where the
   edge carries the corrupted prompt's value.
3. Keep the strongest edges that lie on a path to the answer.

Two runs and one gradient for all edges (Nanda 2023; Syed et al. 2023, arXiv 2310.10348). Ignored:
everything beyond the first order, so edges through saturated softmaxes score too little.
"""

from torch import Tensor

from circuitscope.core.progress import Progress
from circuitscope.tracing.edge_scores import Task, eap
from circuitscope.tracing.parts_circuit import EdgeMethod


class Eap(EdgeMethod):
    """Score edges by attribution patching."""

    name = "eap"
    title = "Attribution patching (EAP)"

    def scores(self, task: Task, progress: Progress) -> Tensor:
        """Return the score of each edge and position."""
        progress.phase("Gradients", 1)
        found = eap(task)
        progress.advance()
        return found

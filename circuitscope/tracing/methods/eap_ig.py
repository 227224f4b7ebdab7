"""Attribution patching with integrated gradients (EAP-IG): gradients on the way between prompts.

1. Run the clean prompt and the corrupted one.
2. Run five inputs between them, from near the corrupted one to the clean one, and take the mean of
   the gradients of the metric at every read.
3. An edge scores (written clean - written corrupted) . (mean gradient), summed over positions.
4. Keep the strongest edges that lie on a path to the answer.

Hanna et al. 2024 (arXiv 2403.17806): the mean sees past a flat spot at the clean prompt. What is
written is still that of the two ends alone.
"""

from torch import Tensor

from circuitscope.core.progress import Progress
from circuitscope.tracing.edge_scores import Task, eap_ig
from circuitscope.tracing.parts_circuit import EdgeMethod


class EapIg(EdgeMethod):
    """Score edges by attribution patching with integrated gradients."""

    name = "eap_ig"
    title = "Integrated attribution patching (EAP-IG)"

    def scores(self, task: Task, progress: Progress) -> Tensor:
        """Return the score of each edge and position."""
        progress.phase("Gradients", 1)
        found = eap_ig(task)
        progress.advance()
        return found

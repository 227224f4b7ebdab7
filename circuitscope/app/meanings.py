"""What every number in the window means: what it is, its range, its sign, and what it is not.

One table of plain texts. `explain` puts an entry on a widget: a tooltip, the answer to Shift+F1
and an entry of its context menu.
"""

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QWhatsThis, QWidget

from circuitscope.app.words import tr

MEANINGS: dict[str, str] = {
    "activation": "How strongly the feature is on here, in its dictionary's own unit; 0 or more. "
    "Activations of two features cannot be compared.",
    "share of max": "Activation here / the largest in the corpus its evidence was collected from; "
    "above 100 % where this prompt goes beyond it. Features that are rarely this weak may mean "
    "something else here than their label says.",
    "influence": "Share of the explanation that passes through the node, over all paths; 0 to 1. "
    "It has no sign and is not how much the answer would change without the node.",
    "logit": "The model's score of this token before softmax; any sign. Only differences of "
    "logits mean something.",
    "probability": "What the model gives this token here, 0 to 100 %.",
    "direct": "The weight of its edge into the explained node, through no other node; signed. "
    "Not the effect of switching it off.",
    "share of row": "This edge / sum of the sizes of all edges into the target; −100 to +100 %.",
    "share": "Signed part of what feeds the target: edge / sum of the sizes of all edges into it "
    "and of what was left out; −1 to +1. A row's sizes add up to 1. It is arithmetic with "
    "attention patterns and norms held fixed, not a measured effect.",
    "weight": "Signed contribution to the target's pre-activation, in its unit. It was computed "
    "with attention patterns and norms held fixed.",
    "raised": "Sum of all that raises the node: edges, constants and what was left out, where "
    "positive.",
    "lowered": "Sum of all that lowers the node: edges, constants and what was left out, where "
    "negative.",
    "net": "Raised less lowered: the pre-activation that the forward pass has, within rounding. "
    "Two large numbers that cancel make a small net; look at both.",
    "pattern": "Attention probability of the head from the target's position to that place, "
    "0 to 1. It says where the head looked, not what it brought from there.",
    "importance": "Share of the last state that goes through the node, over all routes kept; 0 to "
    "100 %. It says what the state consists of, not what the node does to the answer.",
    "followed": "Share of the last state that was followed back to words and positions; the rest "
    "is constants and parts under the threshold.",
    "relevance": "What of the metric follows from the node along all paths, averaged over the "
    "prompts; signed. Relevances do not add up to the whole.",
    "of the whole": "Relevance / metric; signed. Relevances do not add up to 100 %.",
    "metric": "What the circuit explains, of the model itself, averaged over the prompts.",
    "replacement": "Influence of tokens / (tokens + unexplained parts), 0 to 100 %; 100 % where "
    "nothing is missing.",
    "completeness": "Mean share of the rows that is explained, weighted by influence, 0 to 100 %.",
    "error share": "Influence that passes through what the dictionaries do not explain, "
    "0 to 100 %.",
    "nodes": "All nodes of the circuit, shown or hidden.",
    "faithfulness": "What the circuit's heads alone keep of the metric; 100 % is all of it, and "
    "more or less than that is possible.",
    "circuit alone": "The metric with all other heads replaced.",
    "whole": "The metric of the model itself.",
    "sum of parts": "Relevances added up; they need not give the whole.",
    "effect": "How much the answer's logit changed when the subject was changed in the unfrozen "
    "model, everything else following; signed. Compare it with the controls.",
    "predicted": "The change that the circuit predicts, patterns and norms held fixed; signed.",
    "controls": "The band within which changes of matched random nodes stay. An effect inside "
    "it is no evidence.",
    "q": "False discovery rate over all tests of this drawing, 0 to 1; small is strong. It is not "
    "the probability that the claim is false.",
    "answer": "The model's probability of the answer before and after the change.",
    "divergence": "Kullback–Leibler divergence of the model's next word from before to after the "
    "change, in nats; 0 or more. It counts every word, not only the answer.",
    "similarity": "Cosine, −1 to 1; 1 is the same direction.",
    "token weight": "By how much one unit of the feature moves this token's logit directly, "
    "through no other layer; signed.",
    "detection": "How well the label tells held-out texts where the feature is active from those "
    "where it is silent: the mean of both hit rates. 0.5 is chance, 1 is perfect. It does not say "
    "what the feature does.",
    "share of concept": "Share of the held-out examples that are this concept: those of its "
    "cluster, or those of which its rule is the first that holds. What is missing to 100 % belongs "
    "to no concept that has a name.",
    "output": "Share of all other tokens whose log-probability rises less than the named ones' "
    "when the feature is raised on held-out texts. 0.5 is chance, 1 is perfect. It does not say "
    "when the feature fires.",
    "F1": "Harmonic mean of how often the rule holds where the feature fires and how often the "
    "feature fires where the rule holds, on held-out games; 0 to 1.",
    "both scores": "Mean of the score of when it fires and the score of what it does; 0.5 is "
    "chance, 1 is perfect.",
    "shown": "Nodes and edges that thresholds, switches, filter and your own choice leave in view. "
    "The others are still in the circuit; “why?” counts them by reason.",
    "threshold": "How many are in view, of how many in the circuit. The slider sets which part of "
    "all influence, or of all edge scores, those in view hold together.",
    "job": "Steps done and steps in all of this phase; the time left assumes the speed so far. "
    "At the end, how long it took.",
    "cell": "What the title of the map says, for this row and column; signed: cells below nought "
    "have another colour and a stroke across. Colours are full at the largest size in the map.",
    "pair": "What both sources together bring to the attention score before softmax; signed. All "
    "pairs add up to the score.",
    "word weight": "Relevance of these words for the label against the contrast, decomposed as one "
    "span; signed. Weights of parts need not add up to that of the whole.",
    "words alone": "Sum of the weights of its words, each decomposed by itself; signed.",
    "only together": "Weight less the sum of its words: what they say only together; signed.",
    "position": "Place of the token in the prompt, counted from 0.",
    "layer": "Block of the model, counted from 0.",
    "change": "The second circuit's value less the first's; signed. Compare it with what changes "
    "between the first circuit and its noise floor.",
    "transfer": "The answer that the circuit alone keeps on a prompt, everything else of its kinds "
    "replaced in the unfrozen model: 0 % is everything replaced, 100 % the whole model. Less and "
    "more than that is possible; it is never clipped.",
    "shared": "Nodes, or edges, that both circuits have / those that either has; 0 to 100 %. It "
    "says what two drawings share, not what they do; read it beside the noise floor.",
}  # fmt: skip


def meaning(name: str) -> str:
    """Return the plain text of one entry."""
    return tr(MEANINGS[name])


def explain(widget: QWidget, name: str, more: str = "") -> None:
    """Let a widget say what its number means.

    Args:
        widget: Shows the number or its caption.
        name: An entry of `MEANINGS`.
        more: What to say of this very number.
    """
    explain_text(widget, "\n".join(part for part in (more, meaning(name)) if part))


def explain_all(widget: QWidget, *names: str) -> None:
    """Let a widget that shows several numbers say what each means, by its name."""
    explain_text(widget, "\n".join(f"{tr(name)}: {meaning(name)}" for name in names))


def explain_text(widget: QWidget, text: str) -> None:
    """Let a widget say a text: as a tooltip, on Shift+F1, and from its context menu."""
    widget.setToolTip(text)
    is_new = not widget.whatsThis()
    widget.setWhatsThis(text)
    if is_new:
        ask = QAction(tr("What does this number mean?"), widget)
        ask.triggered.connect(lambda: show_meaning(widget, widget.whatsThis()))
        widget.addAction(ask)
        widget.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)


def show_meaning(widget: QWidget, text: str) -> None:
    """Show a text beside a widget until the next click or key."""
    QWhatsThis.showText(widget.mapToGlobal(QPoint(8, widget.height())), text, widget)

"""The dialogs that ask: trace, try, test, compare, export and the rest."""

from dataclasses import replace

from screens.stage import PROMPT, Scene, Stage


def trace_dialog(stage: Stage) -> None:
    stage.open("capitals")
    stage.run("trace.new")
    dialog = stage.dialog()
    stage.take("trace", 1500)
    dialog.prompt.field.setPlainText(PROMPT)
    stage.settle(1500)
    dialog.prompt.generate()
    stage.take("trace-generated", 1500)
    dialog.prompt.field.setPlainText("the capital of Dalas")
    stage.take("trace-problem", 1500)
    stage.close_dialogs()


def try_it(stage: Stage) -> None:
    stage.open("capitals")
    stage.group("Texas")
    stage.run("trace.try")
    dialog = stage.dialog()
    stage.take("try", 1500)
    dialog.mode.setCurrentIndex(dialog.mode.findData("group"))
    dialog.run()
    stage.take("try-swapped", 1500)
    stage.close_dialogs()


def test_dialog(stage: Stage) -> None:
    stage.open("capitals")
    stage.group("Texas")
    stage.run("verify.test")
    stage.take("test", 1500)
    stage.close_dialogs()


def logits_dialog(stage: Stage) -> None:
    stage.open("capitals")
    stage.run("trace.logits")
    dialog = stage.dialog()
    dialog.answer.setText("Austin")
    dialog.against.setText("Sacramento")
    dialog.run()
    stage.take("logits", 2500)
    dialog.component.setCurrentIndex(1)
    dialog.run()
    stage.take("logits-sources", 2500)
    stage.close_dialogs()


def attention_trial(stage: Stage) -> None:
    stage.open("capitals")
    from circuitscope.app.dialogs.trial import TrialDialog

    dialog = TrialDialog(stage.window.desk, "2.3:8<-7 x 0; 2.5:8<-7 x 0")
    dialog.show()
    stage.centre(dialog)
    dialog.run()
    stage.take("try-attention", 2500)
    stage.close_dialogs()


def attention_sweep(stage: Stage) -> None:
    stage.open("capitals")
    stage.run("verify.sweep")
    dialog = stage.dialog()
    dialog.component.setCurrentIndex(dialog.component.findData("pattern"))
    dialog.answer.setText("Austin")
    dialog.against.setText("Sacramento")
    dialog.key.setValue(7)
    dialog.run()
    stage.take("sweep-attention", 2500)
    stage.close_dialogs()


def compare_overlay(stage: Stage) -> None:
    stage.open("capitals")
    stage.run("verify.compare")
    stage.take("compare-before", 1500)
    dialog, names = stage.dialog(), {c.name: c.id for c in stage.session.project.findings()}
    floor = next((names[name] for name in names if "rephrased" in name), "")
    dialog.choose(replace(dialog.chosen, floor=floor))
    dialog.run()
    stage.take("compare-overlay", 800)
    stage.dialog().classes.buttons["both"].setChecked(False)
    stage.dialog().tables.setCurrentIndex(1)
    stage.take("compare-filtered", 500)
    stage.close_dialogs()


def dialogs_of_actions(stage: Stage) -> None:
    stage.open("capitals")
    for action, name in (
        ("trace.model", "model"), ("trace.lens", "lens"), ("trace.words", "words"),
        ("trace.heads", "heads"), ("file.export", "export"), ("file.log", "log"),
        ("view.table", "tables"), ("graph.suggest", "suggestions"),
        ("verify.measure", "measure"), ("help.manual", "manual"),
        ("help.shortcuts", "shortcuts"), ("help.about", "about"),
    ):  # fmt: skip
        if stage.window.desk.actions[action].isEnabled():
            stage.run(action)
            stage.take(name, 1200)
            stage.close_dialogs()


def attention(stage: Stage) -> None:
    stage.open("capitals")
    stage.group("bring Texas to “is”")
    stage.session.select(stage.session.selection[:1])
    stage.run("trace.why")
    stage.take("why-there", 1500)
    stage.close_dialogs()


def collect(stage: Stage) -> None:
    stage.open("capitals")
    stage.load("atlas")
    stage.run("trace.collect")
    stage.take("collect", 1500)
    dialog = stage.dialog()
    texts = stage.copies / "texts.txt"
    texts.write_text("the capital of the state containing Dallas is Austin\n" * 4000)
    dialog.corpus.setText(str(texts))
    stage.take("collect-estimate", 2500)
    stage.close_dialogs()


def questions(stage: Stage) -> None:
    """Questions with one field."""
    stage.open("capitals")
    stage.group("Texas")
    for action, name in (
        ("view.filter", "filter"), ("project.note", "project-note"), ("diagram.note", "note"),
        ("project.new_drawing", "new-drawing"), ("diagram.frame", "frame"),
    ):  # fmt: skip
        stage.asked(action, f"question-{name}")


def name_dialog(stage: Stage) -> None:
    from circuitscope.app.dialogs.name import NameDialog

    NameDialog(stage.window.desk, "Group 3 nodes", "What they stand for.", "Texas", "Group").open()
    stage.take("name")
    stage.close_dialogs()


def edge(stage: Stage) -> None:
    from circuitscope.app.commands.files import why_edge

    stage.open("capitals")
    stage.group("bring Texas to “is”")
    node = stage.session.selection[0]
    stage.session.select([node])
    why_edge(stage.window.desk, stage.session.circuit.inputs(node)[0].index)
    stage.take("why-edge", 1500)
    stage.close_dialogs()


def exports(stage: Stage) -> None:
    stage.open("capitals")
    stage.run("file.export")
    dialog = stage.dialog()
    for suffix in ("pdf", "png", "json"):
        at = dialog.suffix.findData(f".{suffix}")
        if at >= 0:
            dialog.suffix.setCurrentIndex(at)
            stage.take(f"export-{suffix}", 800)
    stage.close_dialogs()


def kept_results(stage: Stage) -> None:
    """Results that the project holds: a measurement, and the words of a classifier's sentence."""
    from circuitscope.app.commands import contents

    for project, kinds in (("capitals", ("Dallas, measured",)), ("sentiment", ("not bad at all",))):
        stage.open(project)
        for name in kinds:
            dialog = contents.open_result(stage.window.desk, stage.session.project.finding(name).id)
            stage.centre(dialog)
            stage.take(f"kept-{project}", 800)
            stage.close_dialogs()


def trace_method(stage: Stage) -> None:
    """The lower half of the trace dialog: dictionaries, method and its settings."""
    from PySide6.QtWidgets import QScrollArea

    stage.open("capitals")
    stage.run("trace.again")
    stage.settle(1500)
    bar = stage.dialog().findChild(QScrollArea).verticalScrollBar()
    bar.setValue(bar.maximum())
    stage.take("trace-method", 800)
    stage.close_dialogs()


SCENES: tuple[Scene, ...] = (
    trace_dialog, trace_method, try_it, test_dialog, logits_dialog, attention_trial,
    attention_sweep, compare_overlay, dialogs_of_actions, kept_results, attention, collect,
    questions, name_dialog, edge, exports,
)  # fmt: skip

"""Jobs queue, say how far they are, are cancelled, keep a log, and end without a fuss."""

from collections.abc import Callable

from PySide6.QtWidgets import QApplication, QPlainTextEdit
from pytestqt.qtbot import QtBot

from circuitscope.app.main_window import MainWindow
from circuitscope.app.panels.jobs import JobRow, job_words
from circuitscope.engine.requests import Ping


def test_of_several_jobs_one_runs_the_rest_wait_and_can_be_cancelled(
    drawn: MainWindow, qtbot: QtBot, finish_jobs: Callable
) -> None:
    jobs = drawn.session.jobs
    first, second, third = (jobs.add(f"Count {n}", Ping(3)) for n in range(3))
    assert [job_words(job) for job in (first, second, third)] == ["waiting"] * 3
    rows = {row.job: row for row in drawn.findChildren(JobRow)}
    rows[second]._cancel.click()
    assert second.state == "cancelled"
    drawn.search.setFocus()
    before = QApplication.focusWidget()
    finish_jobs(drawn.session)
    assert (first.state, third.state) == ("done", "done")
    assert QApplication.focusWidget() is before, "the end of a job takes no focus"
    assert QApplication.activeModalWidget() is None
    assert drawn.statusBar().currentMessage().startswith("Count 2: done in")
    rows[third].log_button.click()
    (log,) = (w for w in drawn.findChildren(QPlainTextEdit) if w.accessibleName() == "Log")
    assert "Counting (3)" in log.toPlainText()
    third.log.append("one line more")
    third.changed.emit(third)
    assert log.toPlainText().endswith("one line more")
    log.window().accept()


def test_a_job_that_fails_says_so_below_its_title_and_in_the_status_line(
    drawn: MainWindow, tmp_path, finish_jobs: Callable
) -> None:
    drawn.session.import_file(tmp_path / "missing.json")
    finish_jobs(drawn.session)
    job = drawn.session.jobs.jobs[-1]
    assert job.state == "failed"
    assert job.error.message in drawn.statusBar().currentMessage()
    (row,) = (row for row in drawn.findChildren(JobRow) if row.job is job)
    assert job.error.message in row._error.text()

"""The manual inside the window."""

from circuitscope.app.dialogs.manual import PAGES, ManualDialog
from circuitscope.app.main_window import MainWindow


def test_every_page_opens_under_its_heading(drawn: MainWindow) -> None:
    drawn.desk.trigger("help.manual")
    dialog = drawn.findChild(ManualDialog)
    assert dialog.contents.count() == len(PAGES)
    for row in range(len(PAGES)):
        dialog.contents.setCurrentRow(row)
        assert dialog.text.toPlainText().startswith(dialog.contents.item(row).text())
    dialog.close()

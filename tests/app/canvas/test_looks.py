"""Zoom and place of every drawing come back with its project."""

import pytest
from PySide6.QtCore import QEvent

from circuitscope.app.whereabouts import window_settings

pytestmark = pytest.mark.qt


def test_zoom_and_place_come_back_when_the_project_is_opened_again(drawn, qapp) -> None:
    path = drawn.session.project.path
    drawn.link_graph.zoom(2.5)
    kept = drawn.link_graph.camera
    drawn.desk.trigger("file.close")
    drawn.open_path(path)
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    again = drawn.link_graph.camera
    for name in ("scale_x", "scale_y"):
        assert getattr(again, name) == pytest.approx(getattr(kept, name))
    drawn.link_graph.fit()
    fitted = drawn.link_graph.camera
    drawn.desk.trigger("file.close")
    drawn.open_path(path)
    assert drawn.link_graph.camera == fitted


def test_looks_that_another_version_wrote_show_the_whole_graph(drawn) -> None:
    path = drawn.session.project.path
    drawn.link_graph.zoom(2.5)
    drawn.desk.trigger("file.close")
    settings = window_settings()
    for key in settings.allKeys():
        if key.endswith("-looks"):
            settings.setValue(key, '{"link": [3]}')
    settings.sync()
    drawn.link_graph._looks.clear()
    drawn.open_path(path)
    assert drawn.link_graph._fitted

"""Drive the real window and take a picture of every panel, dialog, empty state, error and theme.

    .venv/bin/python packaging/screenshots.py build/screenshots
    .venv/bin/python packaging/screenshots.py build/screenshots search --look dark

The second word chooses scenes whose name holds it; `--look` one of the three themes, "large" (text
at 150 %) or "small" (a window of 1100 x 700). The window runs on a private X server (Xvfb), with
settings and copies of the bundled projects in a temporary folder. A picture is what that screen
shows; there is no window manager, so title bars are missing and a thin line stands for a dialog's
frame. Without Xvfb Qt draws offscreen, and windows are grabbed one by one.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from screens import dialogs, empty, problems, window
from screens.stage import LOOKS, ROOT, Scene, Stage, screen

SCENES: tuple[Scene, ...] = (
    window.start_page, *empty.SCENES, *window.SCENES, *dialogs.SCENES, *problems.SCENES,
    window.tour,
)  # fmt: skip


def play(stage: Stage, wanted: str, looks: list[str]) -> list[str]:
    """Play the scenes; return what went wrong, so that one fault does not hide the rest."""
    faults = []
    for name in looks:
        stage.look(name)
        for scene in SCENES:
            if wanted not in scene.__name__:
                continue
            try:
                scene(stage)
            except Exception as error:  # noqa: BLE001 - told at the end
                faults.append(f"{name}-{scene.__name__}: {type(error).__name__}: {error}")
            stage.close_dialogs()
    return faults


def main() -> int:
    """Take the pictures; return how many scenes failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "screenshots")
    parser.add_argument("scene", nargs="?", default="", help="part of the scenes' names")
    parser.add_argument("--look", choices=LOOKS, action="append", help="all where none is named")
    chosen = parser.parse_args()
    folder = chosen.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, screen() as whole:
        os.environ.update(CIRCUITSCOPE_HOME=str(Path(place) / "home"), HF_HUB_OFFLINE="1",
                          HF_HUB_CACHE=str(Path(place) / "cache"))  # fmt: skip
        stage = Stage(folder, whole=whole)
        faults = play(stage, chosen.scene, chosen.look or list(LOOKS))
        stage.close_dialogs()
        stage.started.finish()
    for fault in faults:
        sys.stdout.write(f"FAILED {fault}\n")
    return len(faults)


if __name__ == "__main__":
    sys.exit(main())

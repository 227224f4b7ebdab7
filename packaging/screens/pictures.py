"""The pictures of the README and the manual, made from screenshots.

ImageMagick writes them small: without dithering, in 200 colours.
"""

import shutil
import subprocess
from pathlib import Path

from screens.stage import ROOT, Stage

PICTURES: dict[str, tuple[str, str, bool | str]] = {
    "window": ("link_graph", "light-selected", False),
    "circuit": ("circuit_view", "light-circuit", False),
    "dark": ("link_graph", "dark-selected", False),
    "feature": ("feature_pages", "light-feature-othello-1", False),
    "split": ("split_view", "light-split-view", False),
    "start": ("start_page", "light-start", False),
    "search": ("search", "light-search", "780x470+660+30"),
    "palette": ("command_palette", "light-palette", True),
    "trace": ("trace_dialog", "light-trace-generated", True),
    "try": ("try_it", "light-try-swapped", True),
    "comparison": ("compare_overlay", "light-compare-overlay", True),
}
"""By name: the scene, its screenshot, and whether the dialog in front is cut out, or what else."""


def write_pictures(stage: Stage) -> None:
    """Write every picture whose screenshot was taken to resources/pictures."""
    program = shutil.which("magick") or shutil.which("convert")
    if program is None:
        raise SystemExit("ImageMagick writes the pictures; install it first.")
    for name, (_, shot, cut) in PICTURES.items():
        source: Path = stage.folder / f"{shot}.png"
        if not source.exists():
            continue
        if cut is True:
            area = stage.fronts[shot]
            cut = f"{area.width()}x{area.height()}+{area.x()}+{area.y()}"
        part = ["-crop", cut, "+repage"] if cut else []
        target = ROOT / "resources" / "pictures" / f"{name}.png"
        look = [*part, "-dither", "None", "-colors", "200", "-strip", f"png8:{target}"]
        subprocess.run([program, str(source), *look], check=True)

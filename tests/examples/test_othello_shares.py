"""The shares of well described features: counted from the files, and on the page as counted."""

from pathlib import Path

import numpy as np

from circuitscope.core.shipped import shipped_path
from circuitscope.examples import othello_boards
from circuitscope.examples.othello_shares import TITLE, Share, count_shares, renew, section

FOLDER = shipped_path("projects", "othello")
PAGE = shipped_path("resources") / "manual" / "othello-findings.md"


def test_the_page_tells_what_the_files_hold() -> None:
    shares = count_shares(FOLDER)
    assert section(shares) in PAGE.read_text("utf-8")
    boards = othello_boards.read(FOLDER / "boards.npz")
    assert sum(share.n_good for share in shares) == np.sum(
        (boards.rule_f1 >= 0.8) & (boards.rule != "")
    )
    assert all(share.n_good <= share.n_boards <= 1024 for share in shares)
    assert all(share.n_alive > 0 for share in shares)


def test_the_section_is_renewed_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{TITLE}\n\nformer words\n\n## Next\n\nend\n")
    renew(page, [Share("mlp_out_0", 3, 6, 12), Share("mlp_out_1", 0, 4, 8)])
    text = page.read_text()
    assert "former words" not in text
    assert text.startswith("# Page\n\n")
    assert text.endswith("\n\n## Next\n\nend\n")
    assert "| 0 | mlp_out_0 | 3 | 6 | 50.0% | 12 | 25.0% |" in text
    assert "| **all** | **all** | 3 | 10 | 30.0% | 20 | 15.0% |" in text

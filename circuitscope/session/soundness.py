"""Check project files and save what can be read of them, as jobs of the engine."""

from pathlib import Path

from circuitscope.engine.soundness import CheckFile
from circuitscope.session.jobs import Job
from circuitscope.session.session import Session


def check_file(session: Session, path: Path, out: Path | None = None) -> Job:
    """Verify a project file; the job's result is a `Checked`.

    Args:
        session: Whose engine works.
        path: The file; it is not changed.
        out: New file for what can be read of it; None only checks.
    """
    request = CheckFile(str(path.absolute()), "" if out is None else str(out))
    return session.jobs.add(f"Check {path.name}", request)

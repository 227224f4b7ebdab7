"""Find the folders that ship with the program: resources/ and projects/."""

from pathlib import Path


def shipped_path(*parts: str) -> Path:
    """Return a path below `resources` or `projects`, in a checkout and in a wheel alike.

    Args:
        parts: First "resources" or "projects", then names below it.

    Returns:
        The path, whether or not something lies there.
    """
    package = Path(__file__).resolve().parent.parent
    in_wheel = package / "_shipped"
    root = in_wheel if in_wheel.is_dir() else package.parent
    return root.joinpath(*parts)

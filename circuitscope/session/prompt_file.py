"""Files of prompts: text, one prompt a line."""

from pathlib import Path

from circuitscope.core.errors import CircuitScopeError


def read_prompts(file: Path) -> list[str]:
    """Return the lines of a text file that hold something.

    Raises:
        CircuitScopeError: It cannot be read, is no text, or holds no prompts.
    """
    kept = "Nothing has been changed."
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError as error:
        raise CircuitScopeError(
            f"{file} cannot be read ({error.strerror}).", kept=kept, hint="Check the path."
        ) from None
    except UnicodeDecodeError:
        raise CircuitScopeError(
            f"{file} cannot be read as text.", kept=kept, hint="Save it as UTF-8."
        ) from None
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise CircuitScopeError(
            f"{file} holds no prompts.", kept=kept, hint="Write one prompt a line."
        )
    return found

"""Words and numbers as the window shows them: translated text, a real minus, thin thousands.

Tokens, labels and file names are the user's and are never translated.
"""

import math

from PySide6.QtCore import QCoreApplication

from circuitscope.core.errors import CircuitScopeError

MINUS = "−"
THIN = "\N{NARROW NO-BREAK SPACE}"
DOT = " · "


def tr(text: str, n: int = -1) -> str:
    """Return visible text in the user's language; "%n" becomes `n` in its plural form."""
    found = QCoreApplication.translate("CircuitScope", text, "", n)
    return found.replace("%n", count(n)) if n >= 0 else found


def error_words(error: CircuitScopeError) -> str:
    """Write what happened and what to do, a line each."""
    return "\n".join(part for part in (error.message, error.hint) if part)


def count(number: int) -> str:
    """Write a whole number with thin spaces between thousands, such as 2 211."""
    return f"{number:,}".replace(",", THIN).replace("-", MINUS)


def plural(number: int, one: str, many: str) -> str:
    """Write a number with its noun: `plural(3, "node", "nodes")`."""
    return f"{count(number)} {tr(one) if number == 1 else tr(many)}"


def signed(number: float, digits: int = 2) -> str:
    """Write a number with its sign and a real minus; zero has none."""
    text = f"{abs(number):.{digits}f}"
    if not float(text):
        return text
    return (MINUS if number < 0 else "+") + text


def plain(number: float, digits: int = 2) -> str:
    """Write a number with a real minus; very large and very small ones in powers of ten."""
    if number and not 1e-3 <= abs(number) < 1e5:
        mantissa, _, power = f"{number:.1e}".replace(".0e", "e").partition("e")
        return f"{mantissa}e{int(power)}".replace("-", MINUS)
    return f"{number:.{digits}f}".replace("-", MINUS)


def significant(number: float, digits: int = 2) -> str:
    """Write a number so that a small one keeps its digits: 0.16, 0.0043, never 0.00."""
    if not number or abs(number) >= 0.1 or abs(number) < 1e-6:
        return plain(number, digits)
    places = digits - 1 - math.floor(math.log10(abs(number)))
    return f"{number:.{places}f}".replace("-", MINUS)


def percent(share: float, digits: int = 0) -> str:
    """Write a share as a percentage: 0.86 becomes 86 %."""
    return f"{100 * share:.{digits}f}{THIN}%".replace("-", MINUS)


def signed_percent(share: float) -> str:
    """Write a signed share as a percentage with two significant digits: +12 %, −0.034 %."""
    value = 100 * abs(share)
    digits = 0 if value >= 10 or not value else min(1 - math.floor(math.log10(value)), 6)
    return (MINUS if share < 0 else "+") + f"{value:.{digits}f}{THIN}%"


def probability(share: float) -> str:
    """Write a probability so that a small one is not shown as none: 99.6 %, 0.02 %, < 0.01 %."""
    if share >= 0.001 or share <= 0:
        return percent(share, 1)
    return percent(share, 2) if share >= 0.0001 else f"<{THIN}0.01{THIN}%"


def seconds(time: float) -> str:
    """Write a duration in the unit a person would use."""
    if time < 10:
        return f"{time:.1f}{THIN}s"
    if time < 90:
        return f"{time:.0f}{THIN}s"
    minutes, rest = divmod(round(time), 60)
    return f"{minutes}{THIN}min {rest:02d}{THIN}s"


def shown_token(token: str) -> str:
    """Return a token's text with its white space made visible where that is all there is."""
    if token.strip():
        return token.strip()
    return token.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣") or "∅"


def gigabytes(n_bytes: int) -> str:
    """Write a size as people read it: 4.97 GB, 12 MB, 3 kB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            number = n_bytes / size
            return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f}{THIN}{unit}"
    return f"{n_bytes / 1e3:.0f}{THIN}kB"


def large(number: int) -> str:
    """Write a large number in words: 1.24 billion, 124 million, 4 512."""
    for word, size in ((tr("billion"), 1e9), (tr("million"), 1e6)):
        if number >= size:
            share = number / size
            return f"{share:.{2 if share < 100 else 0}f} {word}"
    return count(number)

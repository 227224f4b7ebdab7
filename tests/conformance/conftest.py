"""Print the conformance table after the tests that fill it."""

import pytest

from tests.conformance import table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if table.WORST:
        terminalreporter.section("worst relative error by family and check")
        for line in table.lines():
            terminalreporter.write_line(line)

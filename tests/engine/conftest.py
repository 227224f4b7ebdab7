"""One engine process for a module's tests: importing torch in it costs seconds."""

from collections.abc import Iterator

import pytest

from circuitscope.engine.client import ProcessEngine


@pytest.fixture(scope="module")
def warm_engine() -> Iterator[ProcessEngine]:
    engine = ProcessEngine()
    engine.start()
    yield engine
    engine.close()

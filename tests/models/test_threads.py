"""Independent pieces of work run side by side, one thread each, and end together."""

import threading
import time

import pytest
import torch

from circuitscope.core.errors import Cancelled
from circuitscope.models.threads import side_by_side


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_piece_is_done_once_and_the_threads_are_given_back(threads, n):
    threads(n)
    found = dict(side_by_side(lambda item, _: item**2, range(7), lambda: None))
    assert found == {item: item**2 for item in range(7)}
    assert torch.get_num_threads() == n


def test_pieces_are_at_work_at_the_same_time(threads):
    threads(2)
    meeting = threading.Barrier(2, timeout=20)
    assert len(list(side_by_side(lambda *_: meeting.wait(), range(2), lambda: None))) == 2


def test_what_the_listener_raises_ends_the_work(threads):
    threads(2)
    ended = []

    def work(item, go_on):
        try:
            while True:
                go_on()
                time.sleep(0.001)
        finally:
            ended.append(item)

    def heard():
        raise Cancelled

    with pytest.raises(Cancelled):
        list(side_by_side(work, range(2), heard))
    assert sorted(ended) == [0, 1]
    assert torch.get_num_threads() == 2


def test_what_a_piece_raises_is_raised(threads):
    threads(2)

    def work(item, _):
        if item == 2:
            raise MemoryError("no room")
        return item

    with pytest.raises(MemoryError, match="no room"):
        list(side_by_side(work, range(3), lambda: None))

"""The engine takes no more threads and memory than it may."""

import torch

from circuitscope.engine.client import InProcessEngine
from circuitscope.engine.requests import Limits, ListDevices
from circuitscope.models.devices import available_memory


def ask(engine: InProcessEngine) -> None:
    engine.submit(ListDevices())
    engine.poll()


def test_threads_and_memory_follow_the_limits_of_each_request() -> None:
    engine, usual = InProcessEngine(), torch.get_num_threads()
    try:
        ask(engine)
        free, threads = available_memory(torch.device("cpu")), torch.get_num_threads()
        engine.limits = Limits(threads=threads + 1, memory_share=0.25)
        ask(engine)
        assert torch.get_num_threads() == threads + 1
        assert available_memory(torch.device("cpu")) < 0.5 * free
        engine.limits = Limits()
        ask(engine)
        assert torch.get_num_threads() == threads
        assert available_memory(torch.device("cpu")) > 0.5 * free
    finally:
        engine.close()
        torch.set_num_threads(usual)

"""Import of a graph of 200 MB and two million links; baselines are the promises."""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

N_LINKS = 2_000_000
LINKS_A_NODE = 130

READ = """
import json, resource, sys, time
from pathlib import Path
from circuitscope.core.progress import silent
from circuitscope.engine.reading import read_graph_file
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, start = peak(), time.perf_counter()
read = read_graph_file(Path(sys.argv[1]), silent())
seconds = time.perf_counter() - start
print(json.dumps([seconds, peak() - before, read.finding.summary["n_edges"], read.original.size]))
"""


def write_graph(path: Path, n_links: int) -> None:
    """Write a graph as circuit-tracer does, of random features of 26 layers and 40 tokens."""
    rng = random.Random(0)
    nodes: dict[str, dict[str, Any]] = {}
    while len(nodes) < max(100, n_links // LINKS_A_NODE):
        layer, unit, position = rng.randrange(26), rng.randrange(16384), rng.randrange(40)
        name = f"{layer}_{unit}_{position}"
        nodes[name] = {
            "node_id": name, "feature": (layer + unit) * (layer + unit + 1) // 2 + unit,
            "layer": str(layer), "ctx_idx": position, "feature_type": "cross layer transcoder",
            "jsNodeId": f"{layer}_{unit}-0", "clerp": "", "token_prob": 0.0, "run_idx": 0,
            "is_target_logit": False, "influence": rng.random(), "activation": 9 * rng.random(),
        }  # fmt: skip
    names = sorted(nodes, key=lambda name: int(name.split("_")[0]))
    n_nodes = len(names)
    logit = {
        "node_id": "27_1_39", "feature": 1, "layer": "27", "ctx_idx": 39, "jsNodeId": "L_1-39",
        "feature_type": "logit", "clerp": 'Output " a" (p=0.500)', "token_prob": 0.5,
    }  # fmt: skip
    head = {
        "metadata": {"slug": "large", "scan": "gemma-2-2b", "prompt_tokens": ["a"] * 40,
                     "prompt": "a" * 40, "schema_version": 1},
        "qParams": {"linkType": "both", "pinnedIds": [], "clickedId": "", "supernodes": [],
                    "sg_pos": ""},
        "nodes": [*nodes.values(), logit],
    }  # fmt: skip
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, indent=1)[:-2] + ',\n "links": [')
        for number in range(n_links):
            lower, upper = sorted((rng.randrange(n_nodes), rng.randrange(n_nodes)))
            target = "27_1_39" if number < 100 or lower == upper else names[upper]
            link = (
                f'{{"source": "{names[lower]}", "target": "{target}", "weight": {rng.gauss(0, 1)}}}'
            )
            file.write(f"{',' if number else ''}\n  {link}")
        file.write("\n ]\n}\n")


def measure(path: Path) -> tuple[float, float, int, int]:
    """Read a graph file in a process of its own.

    Returns:
        Seconds, bytes of memory over those of the program, edges, bytes of the file.
    """
    command = [sys.executable, "-c", READ, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout))


def run() -> list[dict[str, Any]]:
    """Measure reading and packing, as the engine process does it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.json"
        write_graph(path, N_LINKS)
        seconds, memory, n_edges, size = measure(path)
    return [
        {"name": f"import: {size / 1e6:.0f} MB, {n_edges} edges", "value": seconds, "unit": "s",
         "baseline": 60.0, "ratio": seconds / 60},
        {"name": "import: memory over the program's", "value": memory / 1e6, "unit": "MB",
         "baseline": 300.0, "ratio": memory / 3e8},
    ]  # fmt: skip

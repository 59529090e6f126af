"""Processor time that a program takes to declare a pool of 10, 100 and 1,000 nodes; the goal for 1,000 is 6 seconds.

`toolchain/with python benchmarks/pool.py`. No engine runs: the program talks to a monitor in its own process.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pulumi.runtime import mocks, stack

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from components import TmpnbNodePool, TmpnbNodePoolArgs

SIZES = (10, 100, 1000)
ROUNDS = 3
GOAL_SECONDS = 6.0
DIGEST = f"sha256:{'0' * 64}"


class Echo(mocks.Mocks):
    """Answers each registration with its own inputs."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """An id and the inputs."""
        return f"{args.name}-id", {**args.inputs, "result": "generated"}

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        """Nothing is asked."""
        return {**args.args}


def arguments(nodes: int) -> TmpnbNodePoolArgs:
    """A pool of nodes on engines of their own."""
    return {
        "domain": "tmp.example.org",
        "email": "owner@example.org",
        "nodeImage": f"registry.example.org/node@{DIGEST}",
        "notebookImage": f"registry.example.org/notebook@{DIGEST}",
        "redirectorImage": f"registry.example.org/redirector@{DIGEST}",
        "nodes": [
            {"name": f"tmp{number:04}", "engine": f"ssh://ops@tmp{number:04}.example.org", "capacity": 64}
            # Numbers that leave a place on their engine's range to the redirector.
            for number in range(1, 2 * nodes)
            if number % 32
        ][:nodes],
    }


def declare(nodes: int) -> float:
    """Seconds of processor time, user's and system's, that declaring the pool takes."""

    async def program() -> None:
        TmpnbNodePool("pool", arguments(nodes))
        await stack.wait_for_rpcs()

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    mocks.set_mocks(Echo(), preview=True)
    start = time.process_time()
    loop.run_until_complete(program())
    return time.process_time() - start


def main() -> None:
    """Print the figures, the best of several processes for each size."""
    for nodes in SIZES:
        command = [sys.executable, __file__, str(nodes)]
        seconds = min(float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(ROUNDS))
        goal = f" (goal {GOAL_SECONDS:.0f} s)" if nodes == SIZES[-1] else ""
        print(f"{nodes:5} nodes: {seconds:6.2f} s{goal}, {1000 * seconds / nodes:5.2f} ms a node", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(declare(int(sys.argv[1])))
    else:
        main()

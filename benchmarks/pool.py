"""Processor time that a program takes to declare a pool of 10 to 2,000 nodes; the goal for 1,000 is 6 seconds.

`toolchain/with python benchmarks/pool.py`. No engine runs: the program talks to a monitor in its own process. Beside it
stands what the SDK takes for as many components with a dynamic resource each, in which there is nothing.
"""

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import Resource, ResourceProvider
from pulumi.runtime import mocks, stack

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from components import TmpnbNodePool, TmpnbNodePoolArgs

SIZES = (10, 100, 1000, 2000)
ROUNDS = 3
GOAL_NODES, GOAL_SECONDS = 1000, 6.0
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


class Nothing(Resource, module="benchmark", name="Nothing"):
    """A resource without properties."""


def pool(nodes: int) -> None:
    """Declare the pool."""
    TmpnbNodePool("pool", arguments(nodes))


def bare(nodes: int) -> None:
    """Declare as many components and resources as the nodes of the pool are."""
    for number in range(nodes):
        component = pulumi.ComponentResource("benchmark:index:Node", f"node-{number}")
        Nothing(ResourceProvider(), f"node-{number}", {}, pulumi.ResourceOptions(parent=component))
        component.register_outputs({})


def declare(declared: Callable[[int], None], nodes: int) -> float:
    """Seconds of processor time, user's and system's, that declaring the nodes takes."""

    async def program() -> None:
        declared(nodes)
        await stack.wait_for_rpcs()

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    mocks.set_mocks(Echo(), preview=True)
    # As the project's program does.
    gc.disable()
    start = time.process_time()
    loop.run_until_complete(program())
    return time.process_time() - start


def least(program: str, nodes: int) -> float:
    """The same for a program of `PROGRAMS`, the best of several processes."""
    command = [sys.executable, __file__, program, str(nodes)]
    return min(float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(ROUNDS))


def main() -> None:
    """Print the figures."""
    for nodes in SIZES:
        seconds, without = least("pool", nodes), least("bare", nodes)
        goal = f" (goal {GOAL_SECONDS:.0f} s)" if nodes == GOAL_NODES else ""
        each = 1000 * seconds / nodes
        print(f"{nodes:5} nodes: {seconds:5.2f} s{goal}, {each:.2f} ms a node; bare: {without:5.2f} s", flush=True)


PROGRAMS = {"pool": pool, "bare": bare}

if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(declare(PROGRAMS[sys.argv[1]], int(sys.argv[2])))
    else:
        main()

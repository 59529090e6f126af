"""Processor time that a program takes for each resource when it declares 5, 50 and 500 hosts; it must stay the same.

`toolchain/with python benchmarks/hosts.py`. No engine runs: the program talks to a monitor in its own process.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import mocks, stack

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from components.aws.firewall import EVERYWHERE, HTTPS, Rule, let_in, security_group
from components.aws.hosts import host, launch_template
from components.aws.storage import data_disk

SIZES = (5, 50, 500)
ROUNDS = 3
RESOURCES_A_HOST = 5


class Echo(mocks.Mocks):
    """Answers each registration with its own inputs."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """An id and the inputs."""
        return f"{args.name}-id", dict(args.inputs)

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        """Nothing is asked."""
        return {**args.args}


class Hosts(pulumi.ComponentResource):
    """Hosts with a disk, a launch template, a security group and a rule each."""

    def __init__(self, name: str, hosts: int) -> None:
        """Declare them."""
        super().__init__("benchmark:index:Hosts", name, {})
        opts = pulumi.ResourceOptions(parent=self)
        for number in range(hosts):
            title = f"{name}-{number}"
            group = security_group(title, "vpc-1", "A host", opts)
            let_in(title, group, [Rule("everybody", "tcp", (HTTPS, HTTPS), cidr=EVERYWHERE)], opts)
            template = launch_template(
                title,
                image="ami-0123456789abcdef0",
                instance_type="t3.small",
                security_groups=[group.id],
                disk_gigabytes=16,
                opts=opts,
            )
            disk = data_disk(title, zone="us-east-1a", gigabytes=10, cluster=name, opts=opts)
            host(
                title,
                image="ami-0123456789abcdef0",
                instance_type="t3.small",
                subnet="subnet-1",
                security_groups=[group.id],
                profile="profile",
                user_data=pulumi.Output.concat(template.id, disk.id),
                disk_gigabytes=16,
                tags={},
                opts=opts,
            )
        self.register_outputs({})


def declare(hosts: int) -> float:
    """Seconds of processor time, user's and system's, that declaring the hosts takes."""

    async def program() -> None:
        Hosts("lab", hosts)
        await stack.wait_for_rpcs()

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    mocks.set_mocks(Echo())
    start = time.process_time()
    loop.run_until_complete(program())
    return time.process_time() - start


def main() -> None:
    """Print the figures, the best of several processes for each size."""
    best = {
        hosts: min(
            float(subprocess.run([sys.executable, __file__, str(hosts)], check=True, capture_output=True).stdout)
            for _ in range(ROUNDS)
        )
        for hosts in SIZES
    }
    least = best[SIZES[0]] / SIZES[0]
    for hosts, seconds in best.items():
        each = 1000 * seconds / hosts / RESOURCES_A_HOST
        print(
            f"{hosts:4} hosts: {seconds:6.2f} s, {each:5.2f} ms a resource, {seconds / hosts / least:4.2f} times the first"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(declare(int(sys.argv[1])))
    else:
        main()

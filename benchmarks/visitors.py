"""How soon a visitor's kernel is idle: a pool of temporary notebooks beside JupyterHub with DockerSpawner and TmpAuthenticator.

`toolchain/with python benchmarks/visitors.py [ROUNDS]`, a quarter of an hour: one visitor after the other, in turns at
either, each with the machine to themselves; the same notebook image and the same limits for both. `… visitors.py crowd
[SERVERS]`: 50 visitors at the same moment at a pool of 60 servers, three times. A visitor is a program that does what a
browser does from the first request until a notebook's kernel is idle, but for loading scripts and drawing pages;
connections are new for each, at the pool over TLS and by way of the redirector, at the hub without.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import docker
import urllib3
from yarl import URL

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peer_lab import peer_hub, visit_peer
from benchmarks.pool_lab import (
    BenchmarkError,
    Pool,
    browser,
    deployed,
    images,
    left_over,
    machine,
    node_document,
    pool_args,
    visit_pool,
)
from benchmarks.redirector import share
from runtime.tmpnb_node.settings import parse_settings

POOL_IMAGES = ("node", "redirector", "notebook")
STACK, PEER = "bench-visitors", "bench-peer"
POOL_PORT, PEER_PORT = 9700, 9710
NODE_NUMBER = 70
PEER_SUBNET = "10.233.250.0/24"

ROUNDS = 30
POOL_SERVERS = 3
GOAL_MILLISECONDS, GOAL_RATIO = 500, 10
REST_SECONDS = 1.0
"""Before each visit, so that what ended the last one is over."""

VISITORS, SERVERS, CROWDS = 50, 60, 3
CROWD_GOAL_SECONDS = 2.0


def told(waits: Sequence[float]) -> str:
    """Milliseconds in words."""
    ordered = sorted(waits)
    p50, p95, p99 = (share(ordered, part) for part in (0.5, 0.95, 0.99))
    return f"p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms, {ordered[0]:.0f} to {ordered[-1]:.0f}"


def beside_the_peer(client: docker.APIClient, rounds: int) -> None:
    """Print what visitors of a pool and of a hub wait, in turns."""
    built = images(client, "hub", *POOL_IMAGES)
    args = pool_args(port=POOL_PORT, number=NODE_NUMBER, capacity=POOL_SERVERS, memory="512M", home="64M", tmp="32M")
    settings = parse_settings({**node_document(STACK, args), "image": built["notebook"]}, {})
    pool_waits, peer_waits = list[float](), list[float]()
    with (
        deployed(client, STACK, args, built) as pool,
        peer_hub(client, PEER, built, settings, subnet=PEER_SUBNET, port=PEER_PORT) as peer,
    ):
        print(f"{machine()}; {rounds} rounds")
        for _ in range(rounds):
            pool.until_full()
            time.sleep(REST_SECONDS)
            wait, server = asyncio.run(visit_pool(pool))
            pool_waits.append(wait)
            pool.end(server)
            pool.until_full()
            time.sleep(REST_SECONDS)
            wait, user = asyncio.run(visit_peer(peer))
            peer_waits.append(wait)
            peer.end(user)
            print(f"  pool {pool_waits[-1]:5.0f} ms, hub {peer_waits[-1]:6.0f} ms", flush=True)
    ratio = share(sorted(peer_waits), 0.95) / share(sorted(pool_waits), 0.95)
    print(f"pool: {told(pool_waits)} (target for p95 {GOAL_MILLISECONDS})")
    print(f"hub:  {told(peer_waits)}")
    print(f"the hub's p95 is {ratio:.1f} times the pool's (target {GOAL_RATIO}); {machine()}")


async def come(pool: Pool, start: asyncio.Event) -> tuple[float, float, str]:
    """One of a crowd: milliseconds until they are sent to a server of their own, and until it answers; its id."""
    async with browser() as session:
        await start.wait()
        began = time.perf_counter()
        address = f"{pool.url}/"
        # To the node, and from there to a server: two redirects.
        for _ in range(2):
            async with session.get(address, allow_redirects=False) as answer:
                if answer.status != 302:
                    raise BenchmarkError(f"{answer.url} answers {answer.status}: {(await answer.text())[:200]}")
                address = str(answer.url.join(URL(answer.headers["Location"])))
        sent = 1000 * (time.perf_counter() - began)
        url = URL(address)
        server_id = url.parts[2]
        status = url.with_path(f"/user/{server_id}/api/status").with_query(url.query)
        async with session.get(status) as answer:
            if answer.status != 200:
                raise BenchmarkError(f"a server answers {answer.status}")
            await answer.read()
        return sent, 1000 * (time.perf_counter() - began), server_id


async def crowd(pool: Pool) -> list[tuple[float, float, str] | BaseException]:
    """What each of a crowd met."""
    start = asyncio.Event()
    tasks = [asyncio.create_task(come(pool, start)) for _ in range(VISITORS)]
    await asyncio.sleep(REST_SECONDS)
    start.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def all_at_once(client: docker.APIClient, servers: int) -> None:
    """Print what a crowd waits at a pool."""
    built = images(client, *POOL_IMAGES)
    args = pool_args(port=POOL_PORT, number=NODE_NUMBER, capacity=servers, memory="256M", home="32M", tmp="16M")
    answered, errors = list[float](), Counter[str]()
    with deployed(client, STACK, args, built) as pool:
        for _ in range(CROWDS):
            print(f"{servers} servers after {pool.until_full():.0f} s; {machine()}", flush=True)
            time.sleep(REST_SECONDS)
            met = asyncio.run(crowd(pool))
            served = [one for one in met if isinstance(one, tuple)]
            errors.update(repr(one)[:200] for one in met if not isinstance(one, tuple))
            twice = len(served) - len({server for _, _, server in served})
            errors.update({"a server was handed out twice": twice} if twice else {})
            answered += [ready for _, ready, _ in served]
            print(f"  {len(served)} of {VISITORS} served: sent on {told([sent for sent, _, _ in served])}")
            print(f"  the server answers {told([ready for _, ready, _ in served])}", flush=True)
            for _, _, server in served:
                pool.end(server)
        starts = sorted(pool.start_seconds())
    print(
        f"{CROWDS} crowds of {VISITORS}: the server answers {told(answered)} (target for p99 {CROWD_GOAL_SECONDS:.0f} s)"
    )
    print(f"a server was ready {share(starts, 0.5):.1f} s after its start began, median of {len(starts)}, two at once")
    print(f"errors: {dict(errors) or 'none'}; {machine()}")


def main(arguments: Sequence[str]) -> None:
    """Measure, and look that nothing is left."""
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    client = docker.APIClient(version="auto", timeout=300)
    if arguments[:1] == ["crowd"]:
        all_at_once(client, int(arguments[1]) if len(arguments) > 1 else SERVERS)
    else:
        beside_the_peer(client, int(arguments[0]) if arguments else ROUNDS)
    left = [*left_over(client, STACK), *left_over(client, PEER)]
    if left:
        raise SystemExit(f"left on the engine: {left}")


if __name__ == "__main__":
    main(sys.argv[1:])

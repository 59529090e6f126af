"""What the redirector counts, for Prometheus and for the fleet page."""

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from runtime.redirector.fleet import Fleet

SECONDS = 60
POLL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


class LastMinute:
    """Counts events of the last 60 seconds, in one slot for each second."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        """Count nothing yet; `timer` gives seconds that only grow."""
        self._timer = timer
        self._slots = [(0, 0)] * SECONDS

    def add(self) -> None:
        """Count an event now."""
        second = int(self._timer())
        then, count = self._slots[second % SECONDS]
        self._slots[second % SECONDS] = (second, count + 1 if then == second else 1)

    def count(self) -> int:
        """Events of the last 60 seconds."""
        oldest = int(self._timer()) - SECONDS + 1
        return sum(count for then, count in self._slots if then >= oldest)


class FleetCollector(Collector):
    """The fleet's own figures, read whenever they are asked for."""

    def __init__(self, fleet: Fleet) -> None:
        """Read `fleet`."""
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        """Nodes by state, and the servers of those that answer."""
        nodes = GaugeMetricFamily("redirector_nodes", "Nodes by state", labels=["state"])
        for state, count in self._fleet.states.items():
            nodes.add_metric([state.value], count)
        yield nodes
        totals = self._fleet.totals()
        servers = GaugeMetricFamily("redirector_servers", "Servers of the nodes that answer", labels=["kind"])
        servers.add_metric(["available"], totals.available)
        servers.add_metric(["used"], totals.used)
        servers.add_metric(["capacity"], totals.capacity)
        yield servers


class Metrics:
    """The redirector's figures, in a registry of its own."""

    def __init__(self, fleet: Fleet, timer: Callable[[], float] = time.monotonic) -> None:
        """Count what happens.

        Args:
            fleet: read for its own figures.
            timer: seconds that only grow.
        """
        self._registry = CollectorRegistry()
        self.last_minute = LastMinute(timer)
        """Redirects that took a server."""
        redirects = Counter("redirector_redirects", "Visitors sent to a node", ["by"], registry=self._registry)
        self.visits, self.looks, self.spawns = (redirects.labels(by) for by in ("visit", "look", "spawn"))
        refusals = Counter("redirector_refusals", "Visitors sent to no node", ["because"], registry=self._registry)
        self.no_room, self.limited, self.websockets = (refusals.labels(w) for w in ("no_room", "limited", "websocket"))
        polls = Counter("redirector_polls", "Questions to nodes", ["outcome"], registry=self._registry)
        self.answers, self.misses = polls.labels("answered"), polls.labels("missed")
        self.poll_seconds = Histogram(
            "redirector_poll_seconds",
            "How long nodes took to answer",
            buckets=POLL_BUCKETS,
            registry=self._registry,
        )
        reloads = Counter("redirector_reloads", "Changed settings", ["outcome"], registry=self._registry)
        self.reloads, self.refused_reloads = reloads.labels("applied"), reloads.labels("refused")
        self._registry.register(FleetCollector(fleet))

    def exposition(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)

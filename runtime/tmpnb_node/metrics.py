"""What Prometheus is told, in a registry of its own."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from runtime.tmpnb_node.pool import Counts

PREFIX = "hubstack_tmpnb"


class _Present(Collector):
    """What is counted when it is asked for."""

    def __init__(self, counts: Callable[[], Counts], troubles: Callable[[], Mapping[str, str]]) -> None:
        self._counts, self._troubles = counts, troubles

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges."""
        counts = self._counts()
        yield GaugeMetricFamily(f"{PREFIX}_capacity", "Servers that there may be", value=counts.capacity)
        servers = GaugeMetricFamily(f"{PREFIX}_servers", "Servers that there are", labels=["state"])
        for state in ("available", "used", "starting", "ending"):
            servers.add_metric([state], getattr(counts, state))
        yield servers
        troubles = GaugeMetricFamily(f"{PREFIX}_trouble", "1 for each part that does not work", labels=["part"])
        for part in self._troubles():
            troubles.add_metric([part], 1)
        yield troubles


class Metrics:
    """The node's metrics."""

    def __init__(self, counts: Callable[[], Counts], troubles: Callable[[], Mapping[str, str]]) -> None:
        """Register them.

        Args:
            counts: how many servers there are.
            troubles: what is wrong, by part.
        """
        self._registry = CollectorRegistry()
        self._registry.register(_Present(counts, troubles))
        self.hand_out_seconds = Histogram(
            f"{PREFIX}_hand_out_seconds",
            "From a visitor's request to the durable note that they got a server",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=self._registry,
        )
        self.refusals = Counter(f"{PREFIX}_refusals", "Visitors who got no server", ["reason"], registry=self._registry)
        self.start_seconds = Histogram(
            f"{PREFIX}_start_seconds",
            "From asking the engine for a server to its being ready",
            buckets=(0.5, 1, 2, 3, 5, 7.5, 10, 15, 30, 60),
            registry=self._registry,
        )
        self.failed_starts = Counter(f"{PREFIX}_failed_starts", "Servers that did not come up", registry=self._registry)
        self.ended = Counter(f"{PREFIX}_ended", "Servers that were ended", ["reason"], registry=self._registry)

    def started(self, seconds: float | None) -> None:
        """A start took so long; None if it failed."""
        if seconds is None:
            self.failed_starts.inc()
        else:
            self.start_seconds.observe(seconds)

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)

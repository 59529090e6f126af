"""A pool of temporary notebooks as discrete events: who comes, who finds no server, which nodes fail.

Visitors are sent to nodes by the redirector's own table (`runtime/redirector/fleet.py`), which learns of a node's free
servers when it polls it. A place on a node is unused and ready, used, or empty; what fills an empty one takes time, and
a node starts only a few at once. Time is in seconds throughout.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from runtime.redirector.fleet import Answer, Fleet
from runtime.redirector.polling import pause
from runtime.redirector.settings import Node
from runtime.redirector.web import RETRY_SECONDS
from runtime.tmpnb_node.pages import FULL

COMING_BACK_SECONDS = 60.0
"""In this time those whose node failed have opened the pool's address again."""

UNLUCKY_DEVIATIONS = 2.0
"""A run begins with so many standard deviations more servers in use than on average: what one run in 40 would meet."""


@dataclass(frozen=True)
class Demand:
    """Who comes."""

    users: float
    """People at work at the same time, on average."""
    work_seconds: float
    """How long they work on average; the times are exponentially distributed."""
    idle_seconds: float
    """How long a server is kept after its user stopped."""
    max_age_seconds: float
    """How long a server is kept at most."""
    class_share: float = 0.0
    """Part of the visitors, 0 to 1, who come as classes; classes begin independently of each other."""
    class_size: int = 1
    """People in a class."""
    class_seconds: float = 60.0
    """In this time a class comes."""
    crowd: int = 0
    """People who come together, once, beside all others."""
    tries: int = 1000
    """How often somebody who gets no server tries at most; the pages try by themselves."""

    @property
    def rate(self) -> float:
        """Visitors a second."""
        return self.users / self.work_seconds

    @property
    def held(self) -> float:
        """Servers in use on average, those that wait to be found idle included."""
        return self.users * (1 + self.idle_seconds / self.work_seconds)

    @property
    def deviation(self) -> float:
        """Standard deviation of the servers in use, if nobody is ever turned away.

        That of arrivals in groups that come at once and stays that are exponentially distributed.
        """
        grouped = self.class_share * (1 + self.class_size) / 2
        return (self.held * (1 - self.class_share + grouped)) ** 0.5

    @property
    def unlucky(self) -> int:
        """Servers in use at an unlucky moment, with which a run begins."""
        return round(self.held + UNLUCKY_DEVIATIONS * self.deviation)


@dataclass(frozen=True)
class Platform:
    """What serves them."""

    nodes: int
    capacity: int
    """Places of a node."""
    start_seconds: float
    """From an empty place to a server that is ready, the removal of the one before included."""
    starts_at_once: int
    """Places that a node fills at the same time."""
    failures: int = 0
    """Nodes that fail in the time that is counted, at random moments; each takes its users' servers along."""
    repair_seconds: float = 600.0
    """After this time a node that failed answers again, and begins to start servers."""
    redirectors: int = 1
    """Redirectors that share no state; visitors take them in turns."""
    poll_seconds: float = 3.0
    """How often each redirector asks each node."""
    travel_seconds: float = 0.3
    """From a redirect to the visitor's request at the node."""


@dataclass
class Outcome:
    """What visitors met at their first try."""

    visitors: int = 0
    """Who came; those whose node failed come again."""
    refused: int = 0
    """Found no node with room."""
    bounced: int = 0
    """Were sent to a node that had none left when they got there."""
    unreached: int = 0
    """Were sent to a node that had failed, and was not known to have."""

    @property
    def turned_away(self) -> float:
        """Part of the visitors who got no server at their first try."""
        return (self.refused + self.bounced + self.unreached) / self.visitors if self.visitors else 0.0


@dataclass
class _Host:
    """A node as it is."""

    capacity: int
    ready: int = 0
    used: int = 0
    starting: int = 0
    failures: int = 0
    """What was to happen on it before its last failure does not happen any more."""
    up: bool = True

    @property
    def empty(self) -> int:
        """Places that are neither used nor ready nor being filled."""
        return self.capacity - self.ready - self.used - self.starting


class Simulation:
    """One run: made once, run once."""

    def __init__(self, demand: Demand, platform: Platform, seed: int) -> None:
        """Begin with as many servers in use as an unlucky moment has.

        Args:
            demand: who comes.
            platform: what serves them.
            seed: where chance begins.
        """
        self._demand, self._platform = demand, platform
        self._rng = random.Random(seed)
        # What happens beside the everyday has chance of its own, so that the everyday is the same without it.
        self._mishaps = random.Random(f"mishaps {seed}")
        self._now = 0.0
        self._events: list[tuple[float, int, int, int]] = []
        self._handlers: list[Callable[[int, int], None]] = [
            self._visit,
            self._class,
            self._come,
            self._arrive,
            self._leave,
            self._ready,
            self._poll,
            self._fail,
            self._repair,
        ]
        self._codes = {handler.__name__: code for code, handler in enumerate(self._handlers)}
        self._hosts = [_Host(platform.capacity) for _ in range(platform.nodes)]
        # Names as short as they can be: they are the nodes' places.
        self._nodes = [Node(str(place), str(place), str(place)) for place in range(platform.nodes)]
        self._fleets = [
            Fleet(self._nodes, random.Random(self._rng.random()), lambda: self._now)
            for _ in range(platform.redirectors)
        ]
        self._answers = [
            Answer(free, 0, platform.capacity, "", "", draining=False) for free in range(platform.capacity + 1)
        ]
        self._turn = 0
        self._counts = False
        self.outcome = Outcome()
        """What was counted."""
        self._furnish()

    def run(self, seconds: float, warm_up_seconds: float = 0.0) -> Outcome:
        """Let time pass, and count what visitors meet.

        Args:
            seconds: how long is counted.
            warm_up_seconds: how long before that is not.
        """
        end = warm_up_seconds + seconds
        chance = self._mishaps.random
        for _ in range(self._platform.failures):
            self._at(warm_up_seconds + chance() * seconds, "_fail", int(chance() * len(self._hosts)))
        crowd_at = warm_up_seconds + seconds / 2
        for _ in range(self._demand.crowd):
            self._at(crowd_at + chance() * self._demand.class_seconds, "_come")
        events, handlers = self._events, self._handlers
        while events[0][0] < end:
            self._now, code, one, other = heapq.heappop(events)
            self._counts = self._now >= warm_up_seconds
            handlers[code](one, other)
        return self.outcome

    def _furnish(self) -> None:
        """Put users on nodes evenly, and have everything known and under way."""
        demand, platform, rng = self._demand, self._platform, self._rng
        places = platform.nodes * platform.capacity
        used = min(places, demand.unlucky)
        leave = self._codes["_leave"]
        for number in range(used):
            place = number % platform.nodes
            self._hosts[place].used += 1
            at_work = rng.random() * demand.held < demand.users
            left = self._hold() if at_work else rng.random() * demand.idle_seconds
            self._events.append((left, leave, place, 0))
        heapq.heapify(self._events)
        for place, host in enumerate(self._hosts):
            host.ready = host.capacity - host.used
            for redirector, fleet in enumerate(self._fleets):
                fleet.answered(self._nodes[place], self._answers[host.ready], 0)
                self._at(rng.random() * platform.poll_seconds, "_poll", place, redirector)
        self._visit_later()
        if demand.class_share:
            self._class_later()

    def _at(self, when: float, what: str, one: int = 0, other: int = 0) -> None:
        heapq.heappush(self._events, (when, self._codes[what], one, other))

    def _hold(self) -> float:
        """How long a visitor's server is theirs."""
        demand = self._demand
        return min(self._rng.expovariate(1 / demand.work_seconds) + demand.idle_seconds, demand.max_age_seconds)

    def _visit_later(self) -> None:
        rate = self._demand.rate * (1 - self._demand.class_share)
        if rate:
            self._at(self._now + self._rng.expovariate(rate), "_visit")

    def _class_later(self) -> None:
        rate = self._demand.rate * self._demand.class_share / self._demand.class_size
        self._at(self._now + self._rng.expovariate(rate), "_class")

    def _visit(self, _: int, __: int) -> None:
        """One comes who belongs to nobody."""
        self._visit_later()
        self._come(0, 0)

    def _class(self, _: int, __: int) -> None:
        """A class begins to come."""
        self._class_later()
        for _ in range(self._demand.class_size):
            self._at(self._now + self._rng.random() * self._demand.class_seconds, "_come")

    def _come(self, tried: int, _: int) -> None:
        """One is at a redirector, who tried so often before."""
        counted = not tried and self._counts
        if counted:
            self.outcome.visitors += 1
        self._turn = (self._turn + 1) % len(self._fleets)
        fleet = self._fleets[self._turn]
        if fleet.room:
            place = int(fleet.choose(takes=True).name)
            self._at(self._now + self._platform.travel_seconds, "_arrive", place, tried)
            return
        if counted:
            self.outcome.refused += 1
        self._come_again(tried)

    def _come_again(self, tried: int) -> None:
        if tried + 1 < self._demand.tries:
            self._at(self._now + self._rng.uniform(*RETRY_SECONDS), "_come", tried + 1)

    def _arrive(self, place: int, tried: int) -> None:
        """One is at a node."""
        host, counted = self._hosts[place], not tried and self._counts
        if not host.up:
            if counted:
                self.outcome.unreached += 1
            self._come_again(tried)
        elif host.ready:
            host.ready -= 1
            host.used += 1
            self._at(self._now + self._hold(), "_leave", place, host.failures)
        else:
            if counted:
                self.outcome.bounced += 1
            if tried + 1 < self._demand.tries:
                # The node's own page asks a redirector again.
                self._at(self._now + (FULL.retry_seconds or 0), "_come", tried + 1)

    def _leave(self, place: int, failures: int) -> None:
        """A server is ended."""
        host = self._hosts[place]
        if host.failures == failures:
            host.used -= 1
            self._fill(place, host)

    def _fill(self, place: int, host: _Host) -> None:
        while host.starting < self._platform.starts_at_once and host.empty:
            host.starting += 1
            self._at(self._now + self._platform.start_seconds, "_ready", place, host.failures)

    def _ready(self, place: int, failures: int) -> None:
        """A server is ready."""
        host = self._hosts[place]
        if host.failures == failures:
            host.starting -= 1
            host.ready += 1
            self._fill(place, host)

    def _poll(self, place: int, redirector: int) -> None:
        """A redirector asks a node."""
        host, fleet, node = self._hosts[place], self._fleets[redirector], self._nodes[place]
        if host.up:
            fleet.answered(node, self._answers[host.ready], fleet.taken(node))
        else:
            fleet.missed(node)
        # The second poll and all after it keep the interval; the first came at a moment of its own.
        wait = pause(2, self._platform.poll_seconds, self._rng.random())
        self._at(self._now + wait, "_poll", place, redirector)

    def _fail(self, place: int, _: int) -> None:
        """A node is gone with all that is on it; who worked there comes again."""
        host, demand = self._hosts[place], self._demand
        if not host.up:
            return
        for _ in range(host.used):
            if self._mishaps.random() * demand.held < demand.users:
                self._at(self._now + self._mishaps.random() * COMING_BACK_SECONDS, "_come")
        host.up = False
        host.ready = host.used = host.starting = 0
        host.failures += 1
        self._at(self._now + self._platform.repair_seconds, "_repair", place)

    def _repair(self, place: int, _: int) -> None:
        """A node is back, empty."""
        host = self._hosts[place]
        host.up = True
        self._fill(place, host)


def erlang_b(load: float, servers: int) -> float:
    """Part of the visitors who find no server, when each is free for anybody at once and who finds none goes away.

    Args:
        load: servers that would be in use on average if there were always one.
        servers: how many there are.
    """
    inverse = 1.0
    for number in range(1, servers + 1):
        inverse = 1 + inverse * number / load
    return 1 / inverse


def erlang_c(load: float, servers: int) -> float:
    """The same when who finds none waits for one: everybody, where there are no more servers than `load`."""
    return _waiting(erlang_b(load, servers), load, servers)


def _waiting(lost: float, load: float, servers: int) -> float:
    """Erlang's second formula from his first."""
    return lost / (1 - load / servers * (1 - lost)) if servers > load else 1.0


def erlang_servers(load: float, turned_away: float) -> int:
    """The fewest servers of which, by `erlang_c`, no more than this part of the visitors finds none."""
    lost, servers = 1.0, 0
    while _waiting(lost, load, servers) > turned_away:
        servers += 1
        lost = load * lost / (servers + load * lost)
    return servers


def least(enough: Callable[[int], bool], low: int, step: int) -> int:
    """The fewest in steps from `low` that are enough, where more than enough is enough, too.

    It looks at `low` first, then at twice as many steps more each time, then in between.

    Args:
        enough: whether so many are.
        low: the first candidate.
        step: 1 or more.
    """
    if enough(low):
        return low
    failed, reach = 0, 1
    while not enough(low + reach * step):
        failed, reach = reach, 2 * reach
    while reach - failed > 1:
        middle = (failed + reach) // 2
        if enough(low + middle * step):
            reach = middle
        else:
            failed = middle
    return low + reach * step

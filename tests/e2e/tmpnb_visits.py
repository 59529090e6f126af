"""What people do at a pool of temporary notebooks while something happens to it, and what becomes of them."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import requests
import websocket

from tests.e2e.tmpnb_pool import Pool, Visitor, new_session

TYPE_SECONDS = 5
"""Between two commands of somebody who types into a terminal."""

PAUSE_SECONDS = 0.02
"""Between two requests of somebody who asks all the time."""

COMERS = 4
"""Visitors who come at the same time."""


@contextmanager
def typing(visitor: Visitor) -> Iterator[None]:
    """Type into a terminal every few seconds meanwhile; that alone is what the visitor does."""
    name, ended = visitor.started("terminals"), threading.Event()

    def type_on() -> None:
        while not ended.is_set():
            try:
                with closing(visitor.channel(f"terminals/websocket/{name}")) as terminal:
                    while not ended.wait(TYPE_SECONDS):
                        terminal.send(json.dumps(["stdin", "date\r"]))
            except (OSError, websocket.WebSocketException):
                # The way there was restarted, or the server has ended.
                ended.wait(1)

    thread = threading.Thread(target=type_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclass
class Load:
    """People at a node while its service is killed, and what became of them."""

    pool: Pool
    users: list[Visitor]
    statuses: Counter[object] = field(default_factory=Counter[object])
    """What users got of their servers."""
    handed_out: list[str] = field(default_factory=list[str])
    """Servers that newcomers were sent to."""
    ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Users use their servers, and newcomers ask for one, without a pause."""
        jobs = [lambda user=user: self._use(user) for user in self.users] + [self._come] * COMERS
        with ThreadPoolExecutor(len(jobs)) as threads:
            running = [threads.submit(self._until_the_end, job) for job in jobs]
            try:
                yield
            finally:
                self.ended.set()
        for job in running:
            job.result()

    def _until_the_end(self, job: Callable[[], None]) -> None:
        while not self.ended.wait(PAUSE_SECONDS):
            job()

    def _use(self, user: Visitor) -> None:
        try:
            self.statuses[user.api("contents").status_code] += 1
        except requests.RequestException as error:
            self.statuses[type(error)] += 1

    def _come(self) -> None:
        try:
            answer = self.pool.get(f"{self.users[0].origin}/", allow_redirects=False)
        except requests.RequestException:
            # The node has a moment without its service.
            return
        if answer.status_code == 302:
            self.handed_out.append(answer.headers["Location"].split("/")[2])


@dataclass
class Removal:
    """What a visitor and the redirector see of a node that is taken away, each at a moment of `time.monotonic`."""

    pool: Pool
    visitor: Visitor
    kernel: str
    unlisted: float = 0
    """When the redirector had it no more."""
    draining: float = 0
    """When it said first that it takes nobody any more."""
    worked: float = 0
    """When a cell last ran."""
    sent: set[str] = field(default_factory=set[str])
    """Where newcomers were sent while it drained."""

    def watch(self, update: Future[str]) -> None:
        """Look at everything, and have the visitor work, until the update has ended."""
        while not update.done():
            try:
                draining = self.pool.node_stats(self.visitor.node)["draining"]
                listed = self.visitor.origin in self.pool.stats()["hosts"]
                if draining and not listed:
                    sent = new_session().head(self.pool.url, allow_redirects=False, timeout=30)
                    self.sent.add(sent.headers.get("Location", ""))
                assert self.visitor.execute(self.kernel, "print(6 * 7)") == "42\n"
            except (requests.RequestException, ValueError, OSError, websocket.WebSocketException):
                time.sleep(0.1)
                continue
            self.worked = time.monotonic()
            self.unlisted = self.unlisted or (0 if listed else self.worked)
            self.draining = self.draining or (self.worked if draining else 0)

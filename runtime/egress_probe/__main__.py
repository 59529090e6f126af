"""Try destinations from where user code runs, and say which answer.

One file on the standard library alone, so that it runs in any image with Python 3.9: `python3 -c SOURCE DOCUMENT`.
DOCUMENT is JSON: `{"forbidden": [destination, …], "required": [destination, …]}` with a destination
`{"kind": "tcp"|"udp"|"dns", "host": …, "port": …, "why": …}` and, for TCP, optionally `"refusal": true` where a refused
connection is no answer because the neighbour itself is one that may be reached.

Prints one JSON document `{"answered": [...], "missing": [...], "tried": N}`; exit code 1 if a forbidden destination
answered or a required one did not. A refused connection counts as an answer: the packet arrived.
"""

import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

TIMEOUT_SECONDS = 2.0
NEIGHBOUR_WAIT_SECONDS = 30.0

# A query for the root's name servers: the smallest that any resolver answers.
DNS_QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01"


def answers(destination):  # type: ignore[no-untyped-def]  (Python 3.9 in foreign images: plain code)
    """Whether the destination answers, refusals included, unless it says that they do not count."""
    kind = destination["kind"]
    if kind == "dns":
        return _resolves(destination["host"])
    family = socket.AF_INET6 if ":" in destination["host"] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as probe:
            probe.settimeout(TIMEOUT_SECONDS)
            probe.connect((destination["host"], destination["port"]))
            if kind == "udp":
                probe.send(DNS_QUERY)
                probe.recv(512)
            return True
    except ConnectionRefusedError:
        return not destination.get("refusal", False)
    except OSError:
        return False


def _resolves(name):  # type: ignore[no-untyped-def]
    try:
        return bool(socket.getaddrinfo(name, 443))
    except OSError:
        return False


def probe(document):  # type: ignore[no-untyped-def]
    """Try everything at once and return the report."""
    forbidden, required = document["forbidden"], document["required"]
    # First what must answer: neighbours join the network while this runs.
    deadline = time.monotonic() + NEIGHBOUR_WAIT_SECONDS
    missing = required
    while missing and time.monotonic() < deadline:
        missing = [destination for destination in missing if not answers(destination)]
        time.sleep(0.2 if missing else 0)
    with ThreadPoolExecutor(max_workers=32) as pool:
        reached = list(pool.map(answers, forbidden))
    return {
        "answered": [destination for destination, reachable in zip(forbidden, reached) if reachable],  # noqa: B905  (Python 3.9)
        "missing": missing,
        "tried": len(forbidden) + len(required),
    }


if __name__ == "__main__":
    report = probe(json.loads(sys.argv[1]))
    print(json.dumps(report), flush=True)
    sys.exit(1 if report["answered"] or report["missing"] else 0)

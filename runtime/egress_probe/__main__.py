"""Try destinations from where user code runs, and say which answer.

One file on the standard library alone, so that it runs in any image with Python 3.9: `python3 -c SOURCE DOCUMENT`.
DOCUMENT is JSON: `{"forbidden": [destination, …], "required": [destination, …], "control": destination}` with a
destination `{"kind": "tcp"|"udp"|"dns"|"proxy", "host": …, "port": …, "why": …}`. A host may name variables of the
environment (`$NODE_ADDRESS`). More keys of a destination:

- `"refusal": true` where a refused TCP connection is no answer because the neighbour itself is one that may be reached;
- `"target"` and `"status"` of a proxy: it answers if a CONNECT to the target gets this status.

`control`, which may be left out, is a forbidden destination that answers until the rules for this machine are in place:
the rest waits until it falls silent. `"rejects": true` in the document says that the engine refuses for the destination.

Prints one JSON document `{"answered": [...], "missing": [...], "tried": N}`, or with `"words": true` in DOCUMENT the
same in words; exit code 1 if a forbidden destination answered or a required one did not. A refused connection counts
as an answer, the packet arrived, unless the refusal came from a firewall on the way.
"""

import json
import os
import platform
import re
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

TIMEOUT_SECONDS = 2.0
NEIGHBOUR_WAIT_SECONDS = 30.0
CONTROL_WAIT_SECONDS = 20.0

# A single silence may be a machine that is not connected yet.
CONTROL_SILENCES = 2

# A query for the root's name servers: the smallest that any resolver answers.
DNS_QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01"

# From this release Linux keeps what became of a TCP connection attempt, and so tells a rejection on the way.
TELLING_LINUX = (5, 18)

# Of linux/in.h, linux/in6.h and linux/errqueue.h; Python has no names for them.
IP_RECVERR, IPV6_RECVERR = 11, 25
ORIGIN_BYTE, ICMP_ORIGINS = 4, (2, 3)
OFFENDER = {socket.AF_INET: slice(20, 24), socket.AF_INET6: slice(24, 40)}


def answers(destination, rejects=False):  # type: ignore[no-untyped-def]  # noqa: FBT002  (Python 3.9 in foreign images: plain code)
    """Whether the destination answers, refusals included, unless it says that they do not count."""
    kind, host = destination["kind"], os.path.expandvars(destination["host"])
    if kind == "dns":
        return _resolves(host)
    if kind == "proxy":
        return _proxy_status(host, destination) == destination["status"]
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        address = socket.getaddrinfo(host, destination["port"], family)[0][4]
        with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as probe:
            probe.settimeout(TIMEOUT_SECONDS)
            _keep_errors(probe)
            try:
                probe.connect(address)
                if kind == "udp":
                    probe.send(DNS_QUERY)
                    probe.recv(512)
            except ConnectionRefusedError:
                counts = not destination.get("refusal", False) and not _rejected(probe, kind, address[0])
                return counts and (_linux() >= TELLING_LINUX or not rejects)
            return True
    except OSError:
        return False


def _linux():  # type: ignore[no-untyped-def]
    """The kernel's release."""
    return tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])


def _keep_errors(probe):  # type: ignore[no-untyped-def]
    """Let the kernel keep who refused."""
    if probe.family == socket.AF_INET6:
        probe.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    else:
        probe.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)


def _rejected(probe, kind, address):  # type: ignore[no-untyped-def]
    """Whether a firewall refused: a machine itself resets a TCP connection, and says itself that a UDP port is closed."""
    probe.settimeout(0)
    try:
        _data, ancillary, _flags, _sender = probe.recvmsg(512, 512, socket.MSG_ERRQUEUE)
    except OSError:
        return False
    for _level, _type, error in ancillary:
        if error[ORIGIN_BYTE] in ICMP_ORIGINS:
            return kind == "tcp" or error[OFFENDER[probe.family]] != socket.inet_pton(probe.family, address)
    return False


def _resolves(name):  # type: ignore[no-untyped-def]
    try:
        return bool(socket.getaddrinfo(name, 443))
    except OSError:
        return False


def _proxy_status(host, destination):  # type: ignore[no-untyped-def]
    """The status of the proxy's answer to a CONNECT, or None."""
    target = destination["target"]
    try:
        with socket.create_connection((host, destination["port"]), timeout=TIMEOUT_SECONDS) as probe:
            probe.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            found = re.match(rb"HTTP/1\.[01] (\d{3})", probe.recv(512))
    except OSError:
        return None
    return int(found[1]) if found else None


def wait_for_silence(control, rejects=False):  # type: ignore[no-untyped-def]  # noqa: FBT002
    """Wait until the control answers no more; what comes after says so if it still does."""
    deadline = time.monotonic() + CONTROL_WAIT_SECONDS
    silences = 0
    while silences < CONTROL_SILENCES and time.monotonic() < deadline:
        silences = 0 if answers(control, rejects) else silences + 1
        time.sleep(0.2)


def probe(document):  # type: ignore[no-untyped-def]
    """Try everything at once and return the report."""
    forbidden, required, rejects = document["forbidden"], document["required"], document.get("rejects", False)
    if document.get("control"):
        wait_for_silence(document["control"], rejects)
    with ThreadPoolExecutor(max_workers=64) as pool:
        # First what must answer: neighbours join the network while this runs.
        deadline = time.monotonic() + NEIGHBOUR_WAIT_SECONDS
        missing = required
        while missing and time.monotonic() < deadline:
            found = list(pool.map(answers, missing))
            missing = [one for one, answered in zip(missing, found) if not answered]  # noqa: B905  (Python 3.9)
            time.sleep(0.2 if missing else 0)
        reached = list(pool.map(answers, forbidden, [rejects] * len(forbidden)))
    return {
        "answered": [one for one, answered in zip(forbidden, reached) if answered],  # noqa: B905
        "missing": missing,
        "tried": len(forbidden) + len(required),
    }


def explain(report):  # type: ignore[no-untyped-def]
    """The report in words, a line for each destination that behaved otherwise than it must."""
    lines = []
    for key, what in (("answered", "answered and must not"), ("missing", "did not answer and must")):
        for one in report[key]:
            target = f" for {one['target']}" if one.get("target") else ""
            host = os.path.expandvars(one["host"])
            lines.append(f"{one['kind']} {host} port {one['port']}{target} {what} ({one['why']})")
    return "\n".join(lines) or f"all {report['tried']} destinations behave as they must"


if __name__ == "__main__":
    document = json.loads(sys.argv[1])
    report = probe(document)
    print(explain(report) if document.get("words") else json.dumps(report), flush=True)
    sys.exit(1 if report["answered"] or report["missing"] else 0)

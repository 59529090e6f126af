"""The cluster's machine: processes in namespaces of their own, so that the host keeps nothing of it.

The mounts, the network, the packet filter's rules and every process are in namespaces that the kernel takes apart when
the machine's first process ends. On the host there are one interface, a folder of control groups and the cluster's folder.
"""

import fcntl
import hashlib
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from toolchain.kubernetes.configuration import NODE6, RESOLVER, WORLD, WORLD6, Addresses

LINKS = ipaddress.ip_network("10.212.0.0/16")
"""Where the link between this machine and a cluster's takes the first pair of addresses that nothing else uses."""

CHOOSING = Path("/run/hubstack-cluster.lock")
"""Held by the one cluster that chooses its addresses; only root starts clusters."""

STOP_SECONDS = 30

SCRIPT = Path(__file__).with_name("machine.sh")

RECORD = """
start=$(cut -d ' ' -f 22 "/proc/$$/stat")
echo "$$ $start" >"$1/process.unfinished" && mv "$1/process.unfinished" "$1/process"
shift
exec "$@"
"""
"""Writes down the process that holds the namespaces before it makes them; a process id alone could be another's later."""


class MachineError(Exception):
    """The machine could not be started or stopped; the message says why."""


@dataclass(frozen=True)
class Machine:
    """The machine whose cluster is kept in `folder`."""

    folder: Path

    @property
    def _mark(self) -> str:
        return hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:8]

    @property
    def interface(self) -> str:
        """The host's end of the link."""
        return f"hs-{self._mark}"

    @property
    def cgroup(self) -> str:
        """Parent of the pods' control groups, in each hierarchy."""
        return f"/hubstack-{self._mark}"

    def start(self, programs: Sequence[Path]) -> None:
        """Start the first process, which makes itself a root and waits for `connect`."""
        for folder in ("root", "var/lib", "var/log", "tmp", "volumes", "containerd"):
            (self.folder / folder).mkdir(parents=True)
        (self.folder / "tmp").chmod(0o1777)
        for hierarchy in _hierarchies():
            Path(hierarchy + self.cgroup).mkdir(exist_ok=True)
        namespaces = ("--mount", "--propagation", "slave", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
        with (self.folder / "log" / "machine").open("ab") as log:
            subprocess.Popen(
                [
                    *("sh", "-c", RECORD, "sh", str(self.folder)),
                    *("unshare", *namespaces, "sh", str(SCRIPT), str(self.folder), *map(str, programs)),
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env={"PATH": os.environ["PATH"]},
            )
        rooted = self.folder / "rooted"
        _until(rooted.exists, "the machine's first process did not get its root", self.folder)

    def connect(self, addresses: Addresses) -> None:
        """Join the machine's network with this one and with the world outside the cluster, which is a network too."""
        pid = str(self._first())
        _run("ip", "link", "add", self.interface, "type", "veth", "peer", "name", "host", "netns", pid)
        _run("ip", "address", "add", f"{addresses.host}/30", "dev", self.interface)
        _run("ip", "link", "set", self.interface, "up")
        (here, there), (here6, there6) = WORLD, WORLD6
        for command in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{addresses.node}/30", "dev", "host"),
            ("address", "add", f"{NODE6}/64", "dev", "host", "nodad"),
            ("link", "set", "host", "up"),
            ("netns", "add", "world"),
            ("link", "add", "world", "type", "veth", "peer", "name", "cluster", "netns", "world"),
            ("address", "add", f"{here}/24", "dev", "world"),
            ("address", "add", f"{here6}/64", "dev", "world", "nodad"),
            ("link", "set", "world", "up"),
            ("route", "add", "default", "via", there),
            ("-6", "route", "add", "default", "via", there6),
            ("-n", "world", "link", "set", "lo", "up"),
            ("-n", "world", "address", "add", f"{there}/24", "dev", "cluster"),
            ("-n", "world", "address", "add", f"{RESOLVER}/32", "dev", "cluster"),
            ("-n", "world", "address", "add", f"{there6}/64", "dev", "cluster", "nodad"),
            ("-n", "world", "link", "set", "cluster", "up"),
            ("-n", "world", "route", "add", "default", "via", here),
            ("-n", "world", "-6", "route", "add", "default", "via", here6),
        ):
            _run(*self.command("ip", *command))
        # Pods answer this host, but reach nothing that listens on it.
        rule = ("-t", "mangle", "-A", "POSTROUTING", "-d", addresses.host, "-m", "conntrack", "--ctstate", "NEW")
        _run(*self.command("iptables", "-w", *rule, "-j", "DROP"))
        (self.folder / "connected").touch()

    def command(self, *words: str) -> list[str]:
        """A command that runs on the machine: with its files and its network, its programs on the path."""
        pid = str(self._first())
        within = 'PATH=/usr/sbin:/usr/bin:/sbin:/bin; for p in /programs/*; do PATH=$p:$PATH; done; exec "$@"'
        return ["nsenter", "--target", pid, "--mount", "--net", "--pid", "--", "sh", "-c", within, "sh", *words]

    def world(self, *words: str) -> list[str]:
        """A command that runs in the network of the world outside the cluster, with this host's files."""
        return ["nsenter", f"--net=/proc/{self._first()}/root/run/netns/world", "--", *words]

    def network(self, *words: str) -> list[str]:
        """A command that runs in the machine's network, with this host's files."""
        return ["nsenter", "--target", str(self._first()), "--net", "--", *words]

    def first_process(self) -> int | None:
        """The first process as this host numbers it, or None if the machine does not run."""
        holder = self._holder()
        if holder is None:
            return None
        try:
            children = Path(f"/proc/{holder}/task/{holder}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def stop(self) -> None:
        """End every process of the machine and take away its interface and its control groups."""
        holder, first = self._holder(), self.first_process()
        for pid in (first, holder):
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for pid in (first, holder):
            if pid is not None:
                _until(lambda pid=pid: ended(pid), f"process {pid} does not end", self.folder)
        subprocess.run(["ip", "link", "delete", self.interface], check=False, capture_output=True)
        for hierarchy in _hierarchies():
            _remove_cgroup(Path(hierarchy + self.cgroup))

    def _holder(self) -> int | None:
        """The process that holds the namespaces, unless it ended; an id that another process has now is none."""
        try:
            pid, start = (self.folder / "process").read_text().split()
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (OSError, ValueError):
            return None
        state, *rest = stat.rsplit(")", 1)[1].split()
        return int(pid) if rest[18] == start and state != "Z" else None

    def _first(self) -> int:
        pid = self.first_process()
        if pid is None:
            raise MachineError(f"no cluster runs in {self.folder}")
        return pid


@contextmanager
def free_addresses() -> Iterator[Addresses]:
    """The first pair of `LINKS` that no interface and no route of this machine covers.

    Until the block ends, no other cluster of this machine takes any: by then an interface must have them.
    """
    with CHOOSING.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _first_free()


def _first_free() -> Addresses:
    told = json.loads(subprocess.run(["ip", "-4", "-j", "route"], check=True, capture_output=True, text=True).stdout)
    told += [
        {"dst": f"{address['local']}/{address['prefixlen']}"}
        for link in json.loads(
            subprocess.run(["ip", "-4", "-j", "address"], check=True, capture_output=True, text=True).stdout
        )
        for address in link.get("addr_info", [])
    ]
    return first_free(ipaddress.IPv4Network(route["dst"], strict=False) for route in told if route["dst"] != "default")


def first_free(used: Iterable[ipaddress.IPv4Network]) -> Addresses:
    """The first pair of `LINKS` that overlaps none of these networks.

    Raises:
        MachineError: there is none.
    """
    taken = [network for network in used if network.overlaps(LINKS)]
    address = LINKS.network_address
    while address in LINKS:
        link = ipaddress.IPv4Network((address, 30), strict=False)
        overlapping = [network for network in taken if network.overlaps(link)]
        if not overlapping:
            host, node = link.hosts()
            return Addresses(str(host), str(node))
        address = max(network.broadcast_address for network in [link, *overlapping]) + 1
    raise MachineError(f"every address of {LINKS} is in use on this machine")


def last_words(folder: Path, lines: int = 3) -> str:
    """What each part's log ends with, for an error's message."""
    logs = {log.name: log.read_text(errors="replace").strip() for log in sorted((folder / "log").glob("*"))}
    return "\n".join(
        f"{name}: " + "\n    ".join(text.splitlines()[-lines:])
        for name, text in logs.items()
        if name != "audit" and text
    )


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError(f"{' '.join(command)}: {done.stderr.strip()}")


def _until(holds: Callable[[], bool], otherwise: str, folder: Path) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise MachineError(f"{otherwise}\n{last_words(folder)}")
        time.sleep(0.05)


def ended(pid: int) -> bool:
    """Whether a process is gone, or has nothing left but its number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    if stat.rsplit(")", 1)[1].split()[0] == "Z":
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return True
    return False


def _hierarchies() -> list[str]:
    """Where control groups are mounted; the one of version 2 beside version 1's is nobody's."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    first = [mount[1] for mount in mounts if mount[2] == "cgroup"]
    second = [mount[1] for mount in mounts if mount[2] == "cgroup2"]
    if not first and second:
        # A controller that the root does not hand down, no group below it has.
        for controller in Path(second[0], "cgroup.controllers").read_text().split():
            with suppress(OSError):
                Path(second[0], "cgroup.subtree_control").write_text(f"+{controller}")
    return sorted({*first, *second})


def _remove_cgroup(folder: Path) -> None:
    """Remove a control group and all below it; one whose last process ended a moment ago is busy."""
    deadline = time.monotonic() + STOP_SECONDS
    while folder.is_dir():
        for path, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):
                Path(path).rmdir()
        if folder.is_dir():
            if time.monotonic() > deadline:
                raise MachineError(f"the control group {folder} is still in use")
            time.sleep(0.1)


def remove_folder(folder: Path) -> None:
    """Remove everything that the cluster wrote."""
    shutil.rmtree(folder)

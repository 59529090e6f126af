"""Instances of a simulated AWS that run for real: each is a container with systemd, made from Debian's packages.

moto keeps the account; `Region` looks at it several times a second and does what AWS would: it starts, stops and ends
hosts at their private addresses, gives them their user data once, closes what their security groups close, and puts the
volumes that are attached to them where Debian shows them.
"""

import base64
import hashlib
import ipaddress
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
from moto.moto_api._internal.models import moto_api_backend
from moto.server import ThreadedMotoServer

from components.docker.build_context import cache_folder, cached
from components.ec2_hub_cluster import DATA_DEVICE
from toolchain.aws_simulator import CREDENTIALS, REGION, client

PACKAGES = (
    *("ca-certificates", "cloud-guest-utils", "dbus", "e2fsprogs", "iproute2", "mount", "netbase", "python3"),
    *("systemd", "systemd-sysv", "udev", "util-linux"),
)
"""What Debian's machine image for EC2 has, as far as the boot scripts may count on it."""

ENGINE_PACKAGES = (
    *("amazon-ecr-credential-helper", "awscli", "curl", "docker.io", "iptables", "python3-boto3", "python3-docker"),
)
"""What the boot script of a pool's host installs; on a host that has it already, the test does not wait for it."""

NOT_STARTED = 'chroot "$1" systemctl disable docker.service docker.socket'
"""As on a host that has no engine yet: the boot script starts it, when it has told it how."""

METADATA = "169.254.169.254"
METADATA_SAYS = "the host's own user data"

ELASTIC_ADDRESS_AFTER_SECONDS = 5.0
"""How long the manager runs before it has a way out: AWS associates its address after its start."""

# As on a machine, systemd finds the control groups writable; a container has them read-only.
INIT = "for d in /sys/fs/cgroup /sys /sys/fs/cgroup/*; do mount -o remount,bind,rw $d; done; exec /sbin/init"

LIKE_A_MACHINE = (
    *("--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--security-opt=seccomp=unconfined"),
    *("--security-opt=apparmor=unconfined", "--security-opt=systempaths=unconfined", "--cgroupns=private"),
    *("--device-cgroup-rule=a *:* rwm", "--tmpfs=/run", "--tmpfs=/tmp:exec", "--stop-signal=SIGRTMIN+3"),
)
"""What systemd needs to be the first process of a container."""


def needs_hosts() -> None:
    """Skip the test, with the reason, where hosts cannot be made."""
    for program in ("mmdebstrap", "losetup", "nsenter", "iptables"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not on the path; `make test` installs it")
    if os.geteuid() != 0:
        pytest.skip("volumes are loop devices, which only root can make")
    try:
        docker.from_env().close()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")


def run(*command: str, check: bool = True, stdin: bytes | None = None) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(command, capture_output=True, check=False, input=stdin, timeout=300)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).decode().strip()[-2000:]}")
    return done.stdout.decode(errors="replace")


def machine_image(more: Sequence[str] = ()) -> str:
    """A Debian 12 with systemd, and more packages if they are named, on the engine; made once and kept."""
    packages = (*PACKAGES, *more)
    tag = f"hubstack-test/machine:{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:16]}"

    def bootstrap(target: Path) -> None:
        target.mkdir()
        options = ["--quiet", "--variant=minbase", f"--include={','.join(packages)}"]
        options += [f"--customize-hook={NOT_STARTED}"] if "docker.io" in more else []
        run("mmdebstrap", *options, "bookworm", str(target / "rootfs.tar"))

    if not run("docker", "image", "ls", "--quiet", tag).strip():
        archive = cached(cache_folder() / f"machine-{tag.rpartition(':')[2]}", bootstrap) / "rootfs.tar"
        run("docker", "import", str(archive), tag)
    return tag


@dataclass
class Machine:
    """A host."""

    instance: str
    container: str
    address: str
    manager: bool
    boot: subprocess.Popen[bytes] | None = None
    """Its user data, as it runs."""

    def run(self, *command: str, user: str = "root", check: bool = True) -> str:
        """Run a command on the host."""
        return run("docker", "exec", "--user", user, self.container, *command, check=check)

    def network(self, *command: str) -> None:
        """Run one of this machine's commands in the host's network."""
        pid = run("docker", "inspect", "--format={{.State.Pid}}", self.container).strip()
        run("nsenter", "--net", f"--target={pid}", *command)

    def log(self) -> str:
        """What its boot script and its services said, for the message of a failed test."""
        log = self.run("tail", "-n", "60", "/var/log/hubstack-boot.log", check=False)
        return log + self.run("journalctl", "--no-pager", "-n", "80", "-u", "hubstack-*", check=False)


@dataclass
class Region:
    """The account, its hosts and its disks."""

    endpoint: str
    network: str
    gateway: str
    folder: Path
    image: str
    """Machine image of its hosts."""
    options: Sequence[str] = ()
    """Of Docker's, for its hosts, beside those of every machine."""
    machines: dict[str, Machine] = field(default_factory=dict[str, Machine])
    disks: dict[str, str] = field(default_factory=dict[str, str])
    """Loop devices by volume."""
    failure: BaseException | None = None
    _ended: threading.Event = field(default_factory=threading.Event)
    _plugged: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])

    @property
    def ec2(self) -> Any:
        return client("ec2", self.endpoint)

    def look(self) -> None:
        """Do what AWS would, until the end."""
        while not self._ended.wait(0.3):
            try:
                self._look_once()
            except Exception as error:  # noqa: BLE001  (the test is told: this is another thread)
                self.failure = self.failure or error

    def wait_until(self, what: str, condition: Any, seconds: float = 300) -> None:
        """Wait for something that the hosts do; fail at once if a host's user data failed."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.failure:
                raise self.failure
            for machine in list(self.machines.values()):
                if machine.boot and machine.boot.poll():
                    raise AssertionError(f"user data of {machine.instance} failed:\n{machine.log()}")
            if time.monotonic() > deadline:
                logs = "\n".join(f"{m.container}:\n{m.log()}" for m in self.machines.values())
                raise AssertionError(f"{what}: it did not happen\n{logs}")
            time.sleep(0.5)

    def end(self) -> None:
        """Remove what was made, whatever happened."""
        self._ended.set()
        for machine in self.machines.values():
            run("docker", "rm", "--force", "--volumes", machine.container, check=False)
            if machine.boot:
                machine.boot.kill()
                machine.boot.wait()
        for device in self.disks.values():
            run("losetup", "--detach", device, check=False)

    def _look_once(self) -> None:
        instances = [i for r in self.ec2.describe_instances()["Reservations"] for i in r["Instances"]]
        known = len(self.machines)
        for instance in instances:
            self._follow(instance, instances)
        if len(self.machines) > known:
            for instance in instances:
                if machine := self.machines.get(instance["InstanceId"]):
                    self._let_out(machine, instance, instances)
        for volume in self.ec2.describe_volumes()["Volumes"]:
            attached = [a["InstanceId"] for a in volume["Attachments"] if a["Device"] == DATA_DEVICE]
            for machine in self.machines.values():
                self._plug(machine, volume, attached=machine.instance in attached)

    def _follow(self, instance: dict[str, Any], instances: Sequence[dict[str, Any]]) -> None:
        state, machine = instance["State"]["Name"], self.machines.get(instance["InstanceId"])
        if machine is None:
            if state == "running":
                self._start_new(instance, instances)
            return
        running = run("docker", "inspect", "--format={{.State.Running}}", machine.container, check=False).strip()
        if state == "terminated":
            run("docker", "rm", "--force", "--volumes", machine.container)
            del self.machines[machine.instance]
        elif state == "stopped" and running == "true":
            run("docker", "stop", "--time=60", machine.container)
        elif state == "running" and running == "false":
            self._restart(machine, instance, instances)

    def _restart(self, machine: Machine, instance: dict[str, Any], instances: Sequence[dict[str, Any]]) -> None:
        """Start a stopped host again: its user data does not run a second time."""
        run("docker", "start", machine.container)
        self._plugged = {known for known in self._plugged if known[0] != machine.instance}
        self._connect(machine, instance, instances)

    def _start_new(self, instance: dict[str, Any], instances: Sequence[dict[str, Any]]) -> None:
        made = Machine(
            instance["InstanceId"],
            f"{self.network}-{instance['InstanceId']}",
            instance["PrivateIpAddress"],
            manager="IamInstanceProfile" in instance,
        )
        self.machines[made.instance] = made
        addressed = (f"--network={self.network}", f"--ip={made.address}", f"--name={made.container}")
        entry = ("--entrypoint=/bin/sh", self.image, "-c", INIT)
        run("docker", "run", "--detach", *LIKE_A_MACHINE, *self.options, *addressed, *entry)
        self._connect(made, instance, instances)
        environment = self._furnish(made)
        made.run("systemctl", "is-system-running", "--wait", check=False)
        told = self.ec2.describe_instance_attribute(InstanceId=made.instance, Attribute="userData")
        script = self.folder / made.instance
        script.write_bytes(base64.b64decode(told["UserData"]["Value"]))
        run("docker", "cp", str(script), f"{made.container}:/var/lib/user-data")
        made.run("chmod", "700", "/var/lib/user-data")
        clean = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *environment]
        made.boot = subprocess.Popen(
            ["docker", "exec", made.container, *clean, "/var/lib/user-data"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _furnish(self, machine: Machine) -> list[str]:
        """Give the manager what its role and its region give it on AWS, and this machine's way to packages."""
        if not machine.manager:
            return []
        settings = {
            "AWS_ENDPOINT_URL": self.endpoint,
            **{name.upper(): value for name, value in CREDENTIALS.items()},
            "PIP_CERT": "/etc/ssl/test-certificates.crt",
        }
        sources = [path for path in Path("/etc/apt/sources.list.d").glob("*.sources") if path.is_file()]
        if sources:
            machine.run("rm", "-f", "/etc/apt/sources.list")
        for path in sources:
            run("docker", "cp", str(path), f"{machine.container}:{path}")
        options = run("apt-config", "dump").splitlines()
        wanted = [line for line in options if line.startswith(("Acquire::Check", "Acquire::http", "Acquire::https"))]
        self._write(machine, "/etc/apt/apt.conf.d/90test", "\n".join(wanted) + "\n")
        self._write(machine, settings["PIP_CERT"], Path("/etc/ssl/certs/ca-certificates.crt").read_text())
        configured = [f"{name}={value}" for name, value in settings.items()]
        self._write(
            machine, "/etc/systemd/system.conf.d/test.conf", f"[Manager]\nDefaultEnvironment={' '.join(configured)}\n"
        )
        machine.run("systemctl", "daemon-reexec")
        return configured

    def _write(self, machine: Machine, path: str, text: str) -> None:
        machine.run("mkdir", "-p", str(Path(path).parent))
        run("docker", "exec", "--interactive", machine.container, "tee", path, stdin=text.encode())

    def _connect(self, machine: Machine, instance: dict[str, Any], instances: Sequence[dict[str, Any]]) -> None:
        """Close what the host's security groups close, and put the metadata service where AWS has it."""
        machine.network("iptables", "-P", "OUTPUT", "DROP")
        self._let_out(machine, instance, instances)
        serve = (
            "import http.server\n"
            "class Answer(http.server.BaseHTTPRequestHandler):\n"
            f"    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b{METADATA_SAYS!r})\n"
            f"http.server.HTTPServer(('{METADATA}', 80), Answer).serve_forever()\n"
        )
        for command in (
            "ip netns add aws",
            "ip link add metadata type veth peer name host netns aws",
            f"ip -n aws address add {METADATA}/32 dev host",
            "ip -n aws link set host up",
            "ip link set metadata up",
            f"ip -n aws route add {machine.address} dev host",
            f"ip route add {METADATA} dev metadata",
        ):
            machine.run(*command.split())
        run("docker", "exec", "--detach", machine.container, "ip", "netns", "exec", "aws", "python3", "-c", serve)
        if machine.manager and machine.boot is None:
            machine.network("ip", "route", "del", "default")
            later = threading.Timer(
                ELASTIC_ADDRESS_AFTER_SECONDS,
                machine.network,
                ["ip", "route", "add", "default", "via", self.gateway],
            )
            later.daemon = True
            later.start()

    def _let_out(self, machine: Machine, instance: dict[str, Any], instances: Sequence[dict[str, Any]]) -> None:
        """Let the host reach what its security groups let it reach, among these `instances`."""
        # AWS filters neither its link-local services nor its resolver.
        accept = [["-o", "lo"], ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED"], ["-d", "169.254.0.0/16"]]
        accept.append(["-p", "udp", "--dport", "53"])
        if machine.manager:
            host, port = self.endpoint.removeprefix("http://").split(":")
            accept.append(["-p", "tcp", "-d", host, "--dport", port])
        for rule in [*accept, *self._allowed(instance, instances)]:
            command = ["iptables", "-C", "OUTPUT", *rule, "-j", "ACCEPT"]
            try:
                machine.network(*command)
            except RuntimeError:
                machine.network(*("-A" if part == "-C" else part for part in command))

    def _allowed(self, instance: dict[str, Any], instances: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
        groups = self.ec2.describe_security_groups(GroupIds=[g["GroupId"] for g in instance["SecurityGroups"]])
        for group in groups["SecurityGroups"]:
            for rule in group["IpPermissionsEgress"]:
                protocol = [] if rule["IpProtocol"] == "-1" else ["-p", rule["IpProtocol"]]
                ports = ["--dport", f"{rule['FromPort']}:{rule['ToPort']}"] if protocol else []
                for cidr in rule["IpRanges"]:
                    yield [*protocol, "-d", cidr["CidrIp"], *ports]
                named = {pair["GroupId"] for pair in rule["UserIdGroupPairs"]}
                for other in instances:
                    if other["State"]["Name"] == "running" and named & {g["GroupId"] for g in other["SecurityGroups"]}:
                        yield [*protocol, "-d", other["PrivateIpAddress"], *ports]

    def _plug(self, machine: Machine, volume: dict[str, Any], *, attached: bool) -> None:
        """Show the host a volume, or take it away."""
        name = volume["VolumeId"]
        node = f"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{name.replace('-', '')}"
        key = (machine.instance, name, node)
        if attached and key not in self._plugged:
            if run("docker", "inspect", "--format={{.State.Running}}", machine.container).strip() != "true":
                return
            machine.run("mkdir", "-p", "/dev/disk/by-id")
            machine.run("mknod", node, "b", *self.make_disk(name, volume["Size"]))
            self._plugged.add(key)
        elif not attached and key in self._plugged:
            machine.run("rm", "-f", node, check=False)
            self._plugged.remove(key)

    def make_disk(self, volume: str, gigabytes: int) -> tuple[str, str]:
        """Make a volume's disk unless it is there, and return its device's numbers."""
        if volume not in self.disks:
            file = self.folder / f"{volume}.img"
            with file.open("wb") as disk:
                disk.truncate(gigabytes * 2**30)
            self.disks[volume] = run("losetup", "--find", "--show", str(file)).strip()
        number = Path(self.disks[volume]).stat().st_rdev
        return str(os.major(number)), str(os.minor(number))


@contextmanager
def region(packages: Sequence[str] = (), options: Sequence[str] = ()) -> Iterator[Region]:
    """A region whose instances run for real.

    Args:
        packages: what their machine image has beside what Debian's has.
        options: of Docker's, for them.
    """
    image = machine_image(packages)
    name = f"hubstack-ec2-{secrets.token_hex(4)}"
    gateway = _make_network(name)
    # What an earlier simulator of this process held would be in this one as well, its hosts included.
    moto_api_backend.reset()
    server = ThreadedMotoServer(ip_address=gateway, port=0, verbose=False)
    try:
        server.start()
        host, port = server.get_host_and_port()
        with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
            made = Region(f"http://{host}:{port}", name, gateway, Path(folder), image, options)
            thread = threading.Thread(target=made.look, daemon=True)
            thread.start()
            try:
                yield made
            finally:
                made._ended.set()
                thread.join(timeout=120)
                made.end()
    finally:
        server.stop()
        run("docker", "network", "rm", name, check=False)


def _make_network(name: str) -> str:
    """Make a network in a range that is free, and return its gateway's address."""
    taken = [ipaddress.ip_network(r["dst"]) for r in json.loads(run("ip", "-json", "route")) if r["dst"] != "default"]
    candidates = (ipaddress.ip_network(f"10.{second}.0.0/16") for second in range(224, 255))
    for range_ in candidates:
        if any(range_.overlaps(other) for other in taken if other.version == 4):
            continue
        gateway = str(range_[1])
        try:
            run("docker", "network", "create", f"--subnet={range_}", f"--gateway={gateway}", name)
        except RuntimeError:
            continue
        return gateway
    raise RuntimeError("no range of 10.224.0.0/11 is free")


__all__ = ["METADATA", "METADATA_SAYS", "REGION", "Machine", "Region", "needs_hosts", "region", "run"]

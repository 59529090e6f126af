"""Namespaces of users, one for each egress profile, and everything that their pods must not reach, there to answer.

What is made in a namespace is what the components register: `objects` takes it from a program under mocks.
"""

import ipaddress
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pulumi_kubernetes as kubernetes

from components.egress import EgressProfile
from components.kubernetes.egress_proxy import PROXY_PODS, EgressProxy, EgressProxyArgs, room
from components.kubernetes.isolation import (
    EgressRules,
    allow_egress_to_policy,
    allow_ingress_policy,
    deny_all_policy,
    user_egress_policy,
)
from components.kubernetes.labels import ROLE_LABEL
from components.kubernetes.pods import restricted_container, restricted_pod
from components.kubernetes.probe import PROBE_ROOM, EgressProbe
from components.kubernetes.tenancy import Room, Tenancy, TenancyArgs, user_resources
from components.probe_destinations import destination
from components.quotas import UserQuota
from tests.engine.cluster import TOOLS, Cluster, run_command, until
from tests.engine.project_images import image, put_into
from tests.unit.recording import record
from toolchain.kubernetes.configuration import API_SERVICE, DNS_SERVICE, NODE6

Object = dict[str, Any]

USER = {"app": "jupyterhub", "component": "singleuser-server"}
HUB = {"app": "jupyterhub", "component": "hub"}

NO_POLICIES = "none"
"""The profile of a namespace that has no policies: there, every destination answers."""

PROFILES = (NO_POLICIES, "closed", "domains", "ports", "open")

USER_QUOTA: UserQuota = {"cpu": 0.4, "memory": "256M", "tmp": "16M", "home": "16M"}
USERS = 2
"""Servers in each namespace; its quota has room for no more."""

BANNER = "the world outside"

WORLD = """
import socket, sys, threading
def accept(listener):
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(sys.argv[1].encode())
def echo(listener):
    while True:
        data, sender = listener.recvfrom(512)
        listener.sendto(data, sender)
for place in sys.argv[2:]:
    kind, address, port = place.split()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, int(port)))
    if kind == "tcp":
        listener.listen(64)
    threading.Thread(target=accept if kind == "tcp" else echo, args=[listener]).start()
print("listening", flush=True)
"""
"""Answers on each `tcp|udp ADDRESS PORT` of the command line: with a banner, or with what came."""

ASK = """
import concurrent.futures, json, socket, sys, time
PLAN = json.loads(sys.argv[1])
QUERY = b"\\x12\\x34\\x01\\0\\0\\1\\0\\0\\0\\0\\0\\0\\0\\0\\2\\0\\1"
def tcp(host, port):
    with socket.create_connection((host, port), 2):
        return "yes"
def udp(host, port):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(2)
        asking.connect((host, port))
        asking.send(QUERY)
        return "yes" if asking.recv(512) else "no"
def name(host, port):
    return "yes" if socket.getaddrinfo(host + ".", port) else "no"
def tunnel(host, port):
    with socket.create_connection((PLAN["proxy"], 3128), 2) as asking:
        asking.settimeout(5)
        asking.sendall(f"CONNECT {host}:{port} HTTP/1.1\\r\\nHost: {host}:{port}\\r\\n\\r\\n".encode())
        said = asking.makefile("rb")
        status = said.readline().split()[1].decode()
        while status == "200" and said.readline().strip():
            pass
        return status if status != "200" or said.read().decode() == PLAN["banner"] else "200 of a stranger"
def once(kind, host, port):
    try:
        return {"tcp": tcp, "udp": udp, "name": name, "tunnel": tunnel}[kind](host, port)
    except (OSError, IndexError):
        return "no"
def settled(kind, host, port):
    end = time.monotonic() + PLAN["seconds"]
    while True:
        found = once(kind, host, port)
        if found not in ("no", "503") or time.monotonic() > end:
            return found
        time.sleep(0.3)
def silent(control):
    return [once(*control), time.sleep(0.2), once(*control)] == ["no", None, "no"]
end = time.monotonic() + 60
def begins():
    return all(once(*one) == "yes" for one in PLAN["first"]) and PLAN["isolated"] == silent(PLAN["control"])
while not begins() and time.monotonic() < end:
    time.sleep(0.2)
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    print(json.dumps(list(pool.map(lambda one: settled(*one), PLAN["asked"]))), flush=True)
"""
"""Says of each destination whether it answered at any time within some seconds, once the policies hold."""

ASKED_SECONDS = 5

DOORS = {"neighbour": 8888, "hub": 8081, "proxy": 3128}
"""Pods of each profile's namespace and the ports that they answer on."""


@dataclass(frozen=True)
class Destination:
    """Something that a user's pod tries to reach."""

    what: str
    kind: str
    host: str
    port: int


@dataclass(frozen=True)
class Place:
    """Where a destination is, and what policies see there."""

    address: str
    pod: Mapping[str, str] | None = None
    """Labels of the pod, if it is one."""
    namespace: str = ""
    port: int | None = None
    """The port behind the address, where it is another."""
    behind: str | None = None
    """The address behind the address, where it is a service."""


@dataclass
class Space:
    """One profile's namespace."""

    profile: str
    namespace: str
    places: dict[str, Place] = field(default_factory=dict)
    """What destinations are called in the table."""
    answers: dict[str, str] = field(default_factory=dict)
    """What the user's pod found, by destination."""
    jobs: dict[str, Object] = field(default_factory=dict)
    """Finished probes by the profile that they prove: the Job, and `message`, what its pod ended with."""


@dataclass(frozen=True)
class Lab:
    """Everything that ran, after it ran."""

    cluster: Cluster
    spaces: Mapping[str, Space]
    policies: Mapping[str, Sequence[Object]]
    """NetworkPolicies by namespace, as the cluster has them."""
    users: Mapping[str, str]
    """Addresses that the users' pods had, by profile."""
    intruder: Mapping[str, str]
    """What a pod of a namespace without policies found, by profile and place."""
    stranger: Mapping[str, str]
    """What a pod found that only the policy for all pods of an open namespace selects, by place."""
    said: Sequence[str]
    """What the API said when objects were applied, beside that it took them."""


def objects(program: Callable[[], object]) -> list[Object]:
    """The Kubernetes objects that a program registers, its namespaces first."""
    found = [whole(r.properties) for r in record(program).registrations if r.type.startswith("kubernetes:")]
    return sorted(found, key=lambda one: one["kind"] != "Namespace")


def whole(value: Any) -> Any:
    """The value with whole numbers as such: the engine's messages know no others than fractions."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole(one) for one in value]
    if isinstance(value, dict):
        return {key: whole(one) for key, one in value.items()}
    return value


def apply(cluster: Cluster, given: Sequence[Object], *more: str) -> str:
    """Apply objects on the server, which refuses what it does not know, and return what it warned of."""
    words = ("apply", "--server-side", "--validate=strict", "--filename=-", *more)
    done = cluster.kubectl(*words, given=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(given)}))
    assert done.returncode == 0, done.stderr
    return done.stderr


def get(cluster: Cluster, kind: str, *words: str) -> Any:
    """Objects as the cluster has them."""
    done = cluster.kubectl("get", kind, *words, "--output=json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rules(profile: str, domains: Sequence[str], ports: Sequence[int], excluded: Sequence[str]) -> EgressRules:
    """The profile's rules, with the lists that it uses."""
    return {
        "profile": EgressProfile(profile),
        "domains": list(domains) if profile == "domains" else [],
        "ports": list(ports) if profile == "ports" else [],
        "excluded": list(excluded),
    }


def pod(namespace: str, name: str, labels: Mapping[str, str], command: Sequence[str], **more: Any) -> Object:
    """A pod that the Pod Security Standard `restricted` lets in, as large as a user's."""
    limits = user_resources(USER_QUOTA)["limits"]
    container = restricted_container("main", more.pop("image", TOOLS), requests={**limits, "cpu": "10m"}, limits=limits)
    spec = {**restricted_pod([{**container, "command": list(command)}]), "terminationGracePeriodSeconds": 0}
    spec["dnsConfig"] = {"options": [{"name": "timeout", "value": "2"}, {"name": "attempts", "value": "1"}]}
    metadata = {"name": name, "namespace": namespace, "labels": dict(labels)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**spec, **more}}


def server(namespace: str, name: str, labels: Mapping[str, str], *ports: int) -> Object:
    """A pod that answers on TCP ports."""
    command = "".join(f"httpd -f -p {port} -h /tmp & " for port in ports)
    return pod(namespace, name, labels, ["sh", "-c", f"{command} wait"])


def service(namespace: str, name: str, labels: Mapping[str, str], port: int) -> Object:
    """A service in front of pods."""
    metadata = {"name": name, "namespace": namespace}
    spec = {"selector": dict(labels), "ports": [{"port": port, "protocol": "TCP"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


@dataclass
class Builder:
    """Makes a `Lab`."""

    cluster: Cluster
    stack: ExitStack
    images: Mapping[str, str]
    domains: Sequence[str]
    ports: Sequence[int]
    excluded: Sequence[str]
    said: list[str] = field(default_factory=list)

    def build(self, destinations: Sequence[Destination]) -> Lab:
        """Make everything, let every pod try its destinations, and return what came of it."""
        mark = uuid.uuid4().hex[:6]
        spaces = {profile: Space(profile, f"matrix-{profile}-{mark}") for profile in PROFILES}
        elsewhere = f"matrix-elsewhere-{mark}"
        namespaces = [*(space.namespace for space in spaces.values()), elsewhere]
        self.stack.callback(
            self.cluster.kubectl, "delete", "namespace", "--wait=false", "--ignore-not-found", *namespaces
        )
        self._apply([made for space in spaces.values() for made in self._namespace(space)])
        self._apply(self._elsewhere(elsewhere))
        self._apply(
            [
                made
                for space in spaces.values()
                for made in (
                    service(space.namespace, "hub", HUB, 8081),
                    server(space.namespace, "hub", HUB, 8081, 8000),
                    server(space.namespace, "neighbour", USER, 8888),
                )
            ]
        )
        until(lambda: all(self._ready(namespace) for namespace in namespaces), limit=180)
        for space in spaces.values():
            space.places = self._places(space, elsewhere)
        into = {
            f"{space.profile} {place}": ["tcp", space.places[place].address, port]
            for space in spaces.values()
            for place, port in DOORS.items()
        }
        calm = spaces["open"]
        out = {**{place: into[f"open {place}"] for place in DOORS}, "public": ["tcp", "1.1.1.1", 443]}
        self._apply(
            [
                *(made for space in spaces.values() for made in self._asking(space, destinations)),
                self._asker(elsewhere, "intruder", {"app": "intruder"}, calm, list(into.values()), isolated=False),
                self._asker(calm.namespace, "stranger", {"app": "stranger"}, calm, list(out.values()), isolated=True),
            ]
        )
        until(lambda: all(self._done(space, destinations) for space in spaces.values()), limit=180)
        intruder = dict(zip(into, until(lambda: self._told(elsewhere, "intruder"), limit=180), strict=True))
        stranger = dict(zip(out, until(lambda: self._told(calm.namespace, "stranger"), limit=180), strict=True))
        until(lambda: all(self._proved(space) for space in spaces.values()), limit=360)
        policies = {name: get(self.cluster, "networkpolicies", f"--namespace={name}")["items"] for name in namespaces}
        users = {
            profile: str(get(self.cluster, "pod", "user", f"--namespace={space.namespace}")["status"]["podIP"])
            for profile, space in spaces.items()
        }
        return Lab(self.cluster, spaces, policies, users, intruder, stranger, self.said)

    def _apply(self, given: Sequence[Object]) -> None:
        said = apply(self.cluster, given)
        if said:
            self.said.append(said)

    def _namespace(self, space: Space) -> list[Object]:
        """What the components make of a profile."""
        system: dict[str, Room] = {
            "hub": {"pods": 1, "cpu": 0.4, "services": 1, "scratch": "512M"},
            "proxy": room(),
            "probe": PROBE_ROOM,
        }
        tenancy: TenancyArgs = {
            "stack": "matrix",
            "namespace": space.namespace,
            "userQuota": USER_QUOTA,
            "fleetQuota": {"servers": USERS},
            "system": system,
        }
        proxy: EgressProxyArgs = {
            "stack": "matrix",
            "namespace": space.namespace,
            "image": self.images["proxy"],
            "domains": list(self.domains),
            "clients": [{"labels": USER}],
            "excluded": list(self.excluded),
        }
        egress = rules(space.profile, self.domains, self.ports, self.excluded) if space.profile != NO_POLICIES else None

        def program() -> None:
            Tenancy("tenancy", tenancy)
            EgressProxy("proxy", proxy)
            for name, spec in policies(egress).items() if egress else ():
                kubernetes.networking.v1.NetworkPolicy(
                    name, metadata={"name": name, "namespace": space.namespace}, spec=spec
                )

        return objects(program)

    def _elsewhere(self, namespace: str) -> list[Object]:
        """A namespace without policies, whose pods are labelled like those that users may reach in their own."""
        return [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
            server(namespace, "hub", HUB, 8081),
            server(namespace, "proxy", PROXY_PODS["labels"], 3128),
        ]

    def _ready(self, namespace: str) -> bool:
        pods = get(self.cluster, "pods", f"--namespace={namespace}")["items"]
        ready = [
            one
            for one in pods
            for condition in one["status"].get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        ]
        # Elsewhere has two, a profile's namespace these and its proxy.
        return len(ready) == len(pods) >= (2 if "elsewhere" in namespace else 3)

    def _places(self, space: Space, elsewhere: str) -> dict[str, Place]:
        node = self.cluster.address
        found = {
            "kubernetes": Place(API_SERVICE, port=6443, behind=node),
            "node": Place(node),
            "node6": Place(NODE6),
            "dns": Place(
                DNS_SERVICE, {"k8s-app": "kube-dns"}, "kube-system", behind=self._pod("kube-system", "k8s-app=kube-dns")
            ),
            "dns-pod": Place(self._pod("kube-system", "k8s-app=kube-dns"), {"k8s-app": "kube-dns"}, "kube-system"),
            "elsewhere-hub": Place(self._pod(elsewhere, "component=hub"), HUB, elsewhere),
            "elsewhere-proxy": Place(
                self._pod(elsewhere, f"{ROLE_LABEL}=egress-proxy"), PROXY_PODS["labels"], elsewhere
            ),
            "neighbour": Place(self._pod(space.namespace, "component=singleuser-server"), USER, space.namespace),
            "neighbour6": Place(self._pod(space.namespace, "component=singleuser-server", 6), USER, space.namespace),
            "hub": Place(self._pod(space.namespace, "component=hub"), HUB, space.namespace),
            "hub6": Place(self._pod(space.namespace, "component=hub", 6), HUB, space.namespace),
        }
        proxy = get(self.cluster, "service", "egress-proxy", f"--namespace={space.namespace}")["spec"]["clusterIP"]
        behind = self._pod(space.namespace, f"{ROLE_LABEL}=egress-proxy")
        found["proxy"] = Place(proxy, PROXY_PODS["labels"], space.namespace, behind=behind)
        return found

    def _pod(self, namespace: str, selector: str, version: int = 4) -> str:
        """The address of the only pod with these labels."""
        (found,) = get(self.cluster, "pods", f"--namespace={namespace}", f"--selector={selector}")["items"]
        addresses = [str(given["ip"]) for given in found["status"]["podIPs"]]
        return next(address for address in addresses if ipaddress.ip_address(address).version == version)

    def _asking(self, space: Space, destinations: Sequence[Destination]) -> list[Object]:
        """The user's pod that tries everything, and the probes."""
        asked = [[one.kind, resolved(one.host, space), one.port] for one in destinations]
        isolated = space.profile != NO_POLICIES
        # Engines learn of a new pod at one moment, and of those that it may reach at another.
        first = [["tcp", space.places["hub"].address, 8081]]
        if space.profile in {NO_POLICIES, "domains"}:
            first.append(["tcp", space.places["proxy"].address, 3128])
        asking = self._asker(space.namespace, "user", USER, space, asked, first=first, isolated=isolated)
        proved = {"none": ["closed"], "open": ["open", "closed"]}.get(space.profile, [space.profile])
        return [asking, *(made for profile in proved for made in self._probe(space, profile))]

    def _asker(
        self,
        namespace: str,
        name: str,
        labels: Mapping[str, str],
        space: Space,
        asked: Sequence[Any],
        *,
        first: Sequence[Any] = (),
        isolated: bool,
    ) -> Object:
        """A pod that tries `asked` and prints the answers.

        Before, it waits until everything in `first` answers and until the policies for it hold, if there are any.
        """
        plan = {
            "asked": asked,
            "first": first,
            "control": ["tcp", API_SERVICE, 443],
            "isolated": isolated,
            "proxy": space.places["proxy"].address,
            "seconds": ASKED_SECONDS,
            "banner": BANNER,
        }
        command = ["python3", "-c", ASK, json.dumps(plan)]
        return pod(namespace, name, labels, command, image=self.images["python"], restartPolicy="Never")

    def _probe(self, space: Space, profile: str) -> list[Object]:
        egress = rules(profile, self.domains, self.ports, self.excluded)
        found = objects(
            lambda: EgressProbe(
                "probe",
                {
                    "stack": "matrix",
                    "namespace": space.namespace,
                    "image": self.images["python"],
                    "podLabels": USER,
                    "egress": egress,
                    "required": [destination("tcp", "$HUB_SERVICE_HOST", 8081, "the hub")],
                    "forbidden": [destination("tcp", space.places["neighbour"].address, 8888, "another user's server")],
                },
            )
        )
        space.jobs[profile] = found[0]
        return found

    def _done(self, space: Space, destinations: Sequence[Destination]) -> bool:
        told = [] if space.answers else self._told(space.namespace, "user")
        if told:
            space.answers = {one.what: answer for one, answer in zip(destinations, told, strict=True)}
        return bool(space.answers)

    def _told(self, namespace: str, name: str) -> list[str]:
        """What a pod that asks has printed, once it ended."""
        phase = get(self.cluster, "pod", name, f"--namespace={namespace}")["status"]["phase"]
        said = self.cluster.kubectl("logs", name, f"--namespace={namespace}").stdout if phase != "Pending" else ""
        assert phase != "Failed", said
        return json.loads(said) if phase == "Succeeded" else []

    def _proved(self, space: Space) -> bool:
        """Whether every probe of the namespace ended; their ends are kept."""
        for profile, job in space.jobs.items():
            name = job["metadata"]["name"]
            now = get(self.cluster, "job", name, f"--namespace={space.namespace}")
            ended = {c["type"] for c in now.get("status", {}).get("conditions", []) if c["status"] == "True"}
            if not ended & {"Complete", "Failed"}:
                return False
            pods = get(self.cluster, "pods", f"--namespace={space.namespace}", f"--selector=job-name={name}")["items"]
            now["message"] = pods[0]["status"]["containerStatuses"][0]["state"]["terminated"].get("message", "")
            space.jobs[profile] = now
        return True


def policies(egress: EgressRules) -> dict[str, Any]:
    """Specs of a hub's policies, by name."""
    return {
        "deny-all": deny_all_policy(),
        "user-egress": user_egress_policy(egress, user_pods=USER, proxy=PROXY_PODS),
        "users-to-hub": allow_egress_to_policy(pods=USER, targets=[{"labels": HUB}], ports=[8081]),
        "hub-from-users": allow_ingress_policy(pods=HUB, port=8081, sources=[{"labels": USER}]),
    }


def resolved(host: str, space: Space) -> str:
    """The address that a destination of the table has in a namespace."""
    return space.places[host].address if host in space.places else host


@contextmanager
def lab(
    cluster: Cluster,
    images: Mapping[str, str],
    destinations: Sequence[Destination],
    *,
    names: Sequence[Mapping[str, str]],
    domains: Sequence[str],
    ports: Sequence[int],
    excluded: Sequence[str],
) -> Iterator[Lab]:
    """Run everything, and take it away at the end.

    Args:
        cluster: where.
        images: `python` and `proxy`, which are on the node.
        destinations: what users' pods try; an address stands for a host outside, anything else for a `Place`.
        names: addresses of the names of the world outside; a name may be among several of these.
        domains: what the profile `domains` opens.
        ports: what the profile `ports` opens.
        excluded: what no profile opens beside.
    """
    with ExitStack() as stack:
        outside = [f"{one.kind} {one.host} {one.port}" for one in destinations if is_address(one.host)]
        stack.enter_context(serving(cluster, outside, cluster.machine.world))
        stack.enter_context(serving(cluster, [f"tcp {cluster.address} 22"], cluster.machine.network))
        for some in names:
            stack.enter_context(cluster.names_outside(some))
        yield Builder(cluster, stack, images, domains, ports, excluded).build(destinations)


def is_address(host: str) -> bool:
    return host[0].isdigit() or ":" in host


@contextmanager
def serving(cluster: Cluster, places: Sequence[str], there: Callable[..., list[str]]) -> Iterator[None]:
    """Answer at `tcp|udp ADDRESS PORT` in the network that `there` enters; addresses outside are made first."""
    added = sorted({place.split()[1] for place in places} - {cluster.address})
    addresses = [f"{address}/{128 if ':' in address else 32}" for address in added]
    process = None
    try:
        for address in addresses:
            run_command(*there("ip", "address", "replace", address, "dev", "cluster", "nodad"))
        served = there(sys.executable, "-c", WORLD, BANNER, *sorted(set(places)))
        process = subprocess.Popen(served, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait(10)
        for address in addresses:
            subprocess.run(there("ip", "address", "delete", address, "dev", "cluster"), check=False, timeout=30)


def images_on(cluster: Cluster) -> dict[str, str]:
    """The images of users and of the proxy, put into the node's store unless they are there already."""
    images = {"python": image("base"), "proxy": image("egress-proxy")}
    put_into(cluster, list(images.values()))
    return images

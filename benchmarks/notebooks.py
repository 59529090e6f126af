"""How the operator of notebooks bears a crowd, and how soon a notebook's page answers.

`toolchain/with python benchmarks/notebooks.py crowd`, 12 minutes: 200 users' notebooks are created at once, and then left
alone for 600 s. Their pods are played by kwok, and one server answers for all of them as Jupyter without a user does.

`toolchain/with python benchmarks/notebooks.py page`, 5 minutes: notebooks with the project's image on a real node, in turns
with a bare StatefulSet of the same pod.

Both start a cluster of their own (as root) and end it, unless `HUBSTACK_CLUSTER_STATE` names a folder for one that stays. The
operator is a process of this machine in the cluster's network, with the rights of its roles.
"""

import argparse
import base64
import contextlib
import json
import os
import secrets
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import lightkube
import yaml
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.resources.apps_v1 import StatefulSet
from lightkube.resources.core_v1 import Event, PersistentVolumeClaim, Pod, Service
from lightkube.types import CascadeType, PatchType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.lab import ROOT, Lab, Manifest, own_cluster, until
from components.egress import EgressProfile
from components.kubernetes.isolation import allow_ingress_policy, deny_all_policy, user_egress_policy
from components.kubernetes.tenancy import limit_range_spec, pod_security_labels, resource_quota_spec, user_resources
from runtime.notebook_operator import names, status
from runtime.notebook_operator.access import CLUSTER_RULES, TENANT_ROLE, TENANT_RULES
from toolchain.cache import cache_folder
from toolchain.gobuild import SOURCES
from toolchain.kubernetes import cluster, programs
from toolchain.kubernetes.addons import apply_gateway_definitions
from toolchain.pushed_images import images_of_stack

CACHE = cache_folder() / "toolchain"

NOTEBOOKS = 200
QUIET_SECONDS = 600
ROUNDS = 6
TICKS = os.sysconf("SC_CLK_TCK")

USER = "hubstack:notebook-operator"
"""Whom the API server takes the operator for."""

IDLE_SECONDS, MAX_AGE_SECONDS, HOME_BYTES = 3600, 28800, 2 << 30
"""Defaults of `components.quotas`."""

PLAYED_NODE = "played"
PLAYED_PODS = "10.244.128.0/22"
"""Addresses of the played pods: a part of the cluster's range for pods, far from that of its own node."""
PLAYED_TAINT = {"key": "hubstack.test/played", "effect": "NoSchedule"}
PLAYED_CLASS = "played"
PORT = 8888

Profile: Any = create_global_resource("kubeflow.org", "v1", "Profile", "profiles")
Notebook: Any = create_namespaced_resource("kubeflow.org", "v1", "Notebook", "notebooks")
HttpRoute: Any = create_namespaced_resource("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")


def settings(image: str, storage_class: str, notebooks: int) -> Manifest:
    """What a stack tells the operator: its defaults, with HTTPRoutes."""

    def manifest(version: str, kind: str, name: str, spec: Manifest) -> Manifest:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}

    def policy(name: str, spec: Manifest) -> Manifest:
        return manifest("networking.k8s.io/v1", "NetworkPolicy", name, spec)

    pods: dict[str, str] = {}
    egress = user_egress_policy(
        {"profile": EgressProfile.DOMAINS, "domains": [], "ports": []}, user_pods=pods, proxy=None
    )
    quota = resource_quota_spec({}, {"servers": 3}, persistent_home=True)
    return {
        "stack": "benchmark",
        "domain": "nb.example.org",
        "basePath": "/notebook",
        "route": {"kind": "HTTPRoute", "parents": [{"name": "notebooks", "namespace": "gateway"}]},
        "requestTimeoutSeconds": 300,
        "notebook": {
            "image": image,
            "idleSeconds": IDLE_SECONDS,
            "maxAgeSeconds": MAX_AGE_SECONDS,
            "homeBytes": HOME_BYTES,
            "storageClass": storage_class,
            "resources": user_resources({}, persistent_home=True),
            "environment": {},
        },
        "profile": {
            "namespaceLabels": pod_security_labels("restricted"),
            "manifests": [
                manifest("v1", "ResourceQuota", "quota", quota),
                manifest("v1", "LimitRange", "limits", limit_range_spec({}, persistent_home=True)),
                policy("deny-all", deny_all_policy()),
                policy("egress", egress),
                policy("ingress", allow_ingress_policy(pods=pods, port=PORT, sources=[{"labels": {}}])),
            ],
        },
        "fleet": {"notebooks": notebooks},
    }


class IdleJupyter(BaseHTTPRequestHandler):
    """What the operator asks of a notebook's server, answered as by one that nobody uses."""

    protocol_version = "HTTP/1.1"
    since = datetime.now(UTC).isoformat()

    def do_GET(self) -> None:
        """Answer."""
        kernel = {"id": "1", "execution_state": "idle", "connections": 0, "last_activity": self.since}
        found = {"kernels": [kernel], "terminals": [], "status": {"started": self.since, "last_activity": self.since}}
        answer = json.dumps(found[self.path.partition("?")[0].rsplit("/", 1)[-1]]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class Process:
    """A process, and what it took so far."""

    def __init__(self, pid: int) -> None:
        """Name it."""
        self.folder = Path("/proc", str(pid))

    @property
    def peak_bytes(self) -> int:
        """The most memory that it had resident."""
        [line] = [text for text in (self.folder / "status").read_text().splitlines() if text.startswith("VmHWM")]
        return int(line.split()[1]) * 1024

    @property
    def processor_seconds(self) -> float:
        """Processor time."""
        times = (self.folder / "stat").read_text().rsplit(")", 1)[1].split()[11:13]
        return sum(map(int, times)) / TICKS


@dataclass
class Meter:
    """Processor seconds of whoever took them, since the last reading."""

    machine: int
    """First process of the cluster's machine."""
    before: dict[str, float] = field(default_factory=dict[str, float])

    def read(self, operator: Process) -> dict[str, float]:
        """Processor seconds since the last reading: of the operator, of the cluster's parts, and of all processes."""
        now = {"operator": operator.processor_seconds, "cluster": 0.0}
        namespace = Path(f"/proc/{self.machine}/ns/pid").readlink()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "ns" / "pid").readlink() == namespace:
                    now["cluster"] += Process(int(folder.name)).processor_seconds
        user, nice, system, *_ = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        now["all"] = (int(user) + int(nice) + int(system)) / TICKS
        taken = {what: seconds - self.before.get(what, 0.0) for what, seconds in now.items()}
        self.before = now
        return taken


@contextlib.contextmanager
def running(command: Sequence[str | Path], log: Path, **environment: str) -> Iterator[Process]:
    """A process for as long as it is needed; what it says goes to `log`."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, env={**os.environ, **environment}, stdout=said, stderr=said
        )
    try:
        yield Process(process.pid)
        if process.poll() is not None:
            sys.exit(f"{command[0]} ended:\n{log.read_text()[-2000:]}")
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Platform(Lab):
    """The cluster, and what the platform's stack would put into it."""

    def furnish(self) -> None:
        """Definitions and roles."""
        apply_gateway_definitions(self.folder / "kubeconfig", CACHE)
        for file in (ROOT / "runtime" / "notebook_operator" / "crds").glob("*.yaml"):
            self.apply(yaml.safe_load(file.read_text()))
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
        self.apply(
            {**role, "metadata": {"name": USER}, "rules": CLUSTER_RULES},
            {**role, "metadata": {"name": TENANT_ROLE}, "rules": TENANT_RULES},
            {
                "apiVersion": role["apiVersion"],
                "kind": "ClusterRoleBinding",
                "metadata": {"name": USER},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": USER},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
            },
        )
        until("notebooks are unknown to the API server", lambda: self.knows(Notebook, Profile, HttpRoute))

    def knows(self, *kinds: Any) -> bool:
        """Whether the API server serves the kinds."""
        try:
            return all(list(self.client.list(kind, namespace="default")) is not None for kind in kinds)
        except (ApiError, httpx2.HTTPStatusError):
            return False

    @contextlib.contextmanager
    def operator(self, told: Manifest) -> Iterator[Process]:
        """The operator with these settings."""
        file, kubeconfig = self.folder / "settings.json", self.folder / "operator.kubeconfig"
        file.write_text(json.dumps(told))
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(cluster.user_kubeconfig(self.folder, USER))
        command = [sys.executable, "-m", "runtime.notebook_operator", file]
        log = self.folder / "log" / "operator"
        with running(command, log, KUBECONFIG=str(kubeconfig), HEALTH_PORT="8090") as process:
            yield process

    def writes(self, since: datetime) -> Counter[str]:
        """What the operator changed or tried to change since then, by verb and kind; the audit log leaves out events."""
        found: Counter[str] = Counter()
        for line in (self.folder / "log" / "audit").read_text().splitlines():
            entry = json.loads(line)
            if entry["user"]["username"] == USER and datetime.fromisoformat(entry["requestReceivedTimestamp"]) >= since:
                about = entry["objectRef"]
                kind = "/".join(filter(None, (about["resource"], about.get("subresource"))))
                tried = " (dry run)" if "dryRun=" in entry["requestURI"] else ""
                found[f"{entry['verb']} {kind}{tried}"] += 1
        for event in self.client.list(Event, namespace="*"):
            told = event.source and event.source.component == names.OPERATOR
            if told and event.metadata and (event.metadata.creationTimestamp or since) > since:
                found["create events"] += 1
        return found

    def make_profiles(self, owners: Sequence[str]) -> float:
        """Make a profile for each owner; seconds until all are ready."""
        start = time.monotonic()
        for owner in owners:
            spec = {"owner": {"kind": "User", "name": owner}}
            self.apply({"apiVersion": "kubeflow.org/v1", "kind": "Profile", "metadata": {"name": owner}, "spec": spec})

        def ready() -> bool:
            found = {entry["metadata"]["name"]: entry for entry in self.client.list(Profile)}
            return all(status.is_ready(found[owner].get("status") or {}) for owner in owners)

        until("profiles are not ready", ready)
        return time.monotonic() - start


def output(*command: str, folder: Path = ROOT) -> str:
    """What a command that must succeed says."""
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def notebook(name: str, namespace: str, image: str, **pod: Any) -> Manifest:
    """A notebook that says no more than its image."""
    spec = {"containers": [{"name": name, "image": image}], **pod}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Notebook",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"spec": spec}},
    }


@dataclass
class Sightings:
    """When a client that watches saw things first."""

    client: lightkube.Client
    made: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    """By kind and namespace: when the object was there."""
    ready: dict[str, float] = field(default_factory=dict[str, float])
    """By namespace: when the notebook was ready."""
    asked: set[str] = field(default_factory=set[str])
    """Namespaces of notebooks whose use is known."""

    def watch(self) -> None:
        """Begin; it ends with the process."""
        for kind in (StatefulSet, Service, HttpRoute):
            self.made[kind.__name__] = {}
            threading.Thread(target=self._watch, args=(kind,), daemon=True).start()
        threading.Thread(target=self._watch_notebooks, daemon=True).start()

    def _watch(self, kind: Any) -> None:
        seen = self.made[kind.__name__]
        for _, body in self.client.watch(kind, namespace="*", labels={names.ROLE: names.NOTEBOOK_ROLE}):
            seen.setdefault(body.metadata.namespace, time.monotonic())

    def _watch_notebooks(self) -> None:
        for _, body in self.client.watch(Notebook, namespace="*"):
            now, namespace, said = time.monotonic(), body["metadata"]["namespace"], body.get("status") or {}
            if status.is_ready(said):
                self.ready.setdefault(namespace, now)
            if any(entry["type"] == status.ACTIVITY_KNOWN for entry in said.get("conditions") or []):
                self.asked.add(namespace)

    def complete(self) -> dict[str, float]:
        """By namespace: when the last of the notebook's objects was there, of those that have all."""
        kinds = list(self.made.values())
        whole = set.intersection(*map(set, kinds))
        return {namespace: max(seen[namespace] for seen in kinds) for namespace in whole}


@contextlib.contextmanager
def played_node(lab: Platform, notebooks: int) -> Iterator[None]:
    """A node without a machine, whose pods run as soon as they are on it, and answer as idle notebooks."""
    room = {"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "4Ti", "pods": str(2 * notebooks)}
    lab.apply(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": PLAYED_NODE, "labels": {"kubernetes.io/hostname": PLAYED_NODE}},
            "spec": {"taints": [PLAYED_TAINT], "podCIDR": PLAYED_PODS, "podCIDRs": [PLAYED_PODS]},
            "status": {"allocatable": room, "capacity": room},
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": PLAYED_CLASS},
            "provisioner": "kubernetes.io/no-provisioner",
        },
        *(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"{PLAYED_CLASS}-{number}"},
                "spec": {
                    "storageClassName": PLAYED_CLASS,
                    "capacity": {"storage": str(HOME_BYTES)},
                    "accessModes": ["ReadWriteOnce"],
                    "hostPath": {"path": "/nowhere"},
                },
            }
            for number in range(notebooks)
        ),
    )
    kwok = programs.program(CACHE, "kwok")
    played = [
        kwok,
        "--kubeconfig",
        lab.folder / "kubeconfig",
        "--manage-single-node",
        PLAYED_NODE,
        "--node-lease-duration-seconds=40",
    ]
    module = output("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok", folder=SOURCES / "kwok").strip()
    for stages in ("node/fast", "node/heartbeat-with-lease", "pod/fast"):
        for file in Path(module, "kustomize/stage", stages).glob("[!k]*.yaml"):
            played += ["--config", file]
    subprocess.run(["ip", "route", "replace", "local", PLAYED_PODS, "dev", "lo"], check=True)
    server = [sys.executable, __file__, "idle-jupyter"]
    log = lab.folder / "log"
    with running(played, log / "kwok"), running(server, log / "idle-jupyter"):
        yield


def crowd(lab: Platform, notebooks: int, quiet_seconds: int) -> None:
    """Print how long a crowd takes, what the operator takes for it, and what it does when nothing changes."""
    image = "hubstack.test/notebook:v0"
    owners = [f"student-{number:03}" for number in range(1, notebooks + 1)]
    with played_node(lab, notebooks), lab.operator(settings(image, PLAYED_CLASS, notebooks)) as operator:
        lab.make_profiles(["warm-up"])
        print(f"{notebooks} profiles are ready after       {lab.make_profiles(owners):6.1f} s", flush=True)
        print(f"  the operator's memory            {operator.peak_bytes / 1e6:6.0f} MB at most so far")
        seen = Sightings(lab.client)
        seen.watch()
        meter = Meter(cluster.running(lab.folder).first_process() or 0)
        meter.read(operator)
        start, since = time.monotonic(), datetime.now(UTC)
        place: Manifest = {
            "nodeSelector": {"kubernetes.io/hostname": PLAYED_NODE},
            "tolerations": [{**PLAYED_TAINT, "operator": "Exists"}],
        }
        created: dict[str, float] = {}

        def create(owner: str) -> None:
            lab.create(notebook("training", owner, image, **place))
            created[owner] = time.monotonic()

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(create, owners))
        print(f"{notebooks} notebooks are created within   {time.monotonic() - start:6.1f} s", flush=True)
        until("notebooks lack objects", lambda: len(seen.complete()) == notebooks, 0.1)
        first = meter.read(operator)
        complete = seen.complete()
        print(f"  all have set, Service and route  {max(complete.values()) - start:6.1f} s (goal 60)", flush=True)
        print(f"    processor time until then: {told(first)}")
        until("notebooks are not ready", lambda: len(seen.ready) == notebooks, 0.1)
        print(f"  all are ready                    {max(seen.ready.values()) - start:6.1f} s")
        for what, times in (("set, Service and route", complete), ("ready", seen.ready)):
            taken = [times[owner] - created[owner] for owner in owners]
            print(f"  a notebook, {what:23} {percentiles(taken)}")
        print(f"    processor time after that: {told(meter.read(operator))}")
        for what, count in sorted(lab.writes(since).items()):
            print(f"    {what:32} {count / notebooks:6.2f} a notebook")
        until("notebooks' use is not known", lambda: len(seen.asked) == notebooks)
        print(
            f"  the operator's memory            {operator.peak_bytes / 1e6:6.0f} MB at most so far (goal 150)",
            flush=True,
        )
        time.sleep(5)
        meter.read(operator)
        since = datetime.now(UTC)
        time.sleep(quiet_seconds)
        writes, busy = lab.writes(since), meter.read(operator)
        print(f"{quiet_seconds} s without a change:")
        print(f"  writes to the API                {writes.total():6} (goal 0) {dict(writes) or ''}")
        print(f"  processor time: {told(busy)}")
        print(f"  the operator's memory            {operator.peak_bytes / 1e6:6.0f} MB at most (goal 150)")
    warnings = [line for line in (lab.folder / "log" / "operator").read_text().splitlines() if "WARNING" in line]
    print(f"warnings of the operator           {len(warnings):6}", *warnings[:3], sep="\n    ")


def told(busy: Mapping[str, float]) -> str:
    """Processor seconds in words."""
    return ", ".join(f"{what} {seconds:.1f} s" for what, seconds in busy.items())


def percentiles(values: Sequence[float]) -> str:
    """Three of a hundred."""
    cut = statistics.quantiles(values, n=100, method="inclusive")
    return f"p50 {cut[49]:.1f}, p95 {cut[94]:.1f}, p99 {cut[98]:.1f} s"


@dataclass(frozen=True)
class Pages:
    """Notebooks and bare sets of the same pod, one at a time."""

    lab: Platform
    namespace: str
    image: str

    def of_notebook(self, name: str) -> float:
        """Seconds from a notebook's creation until its page answers."""
        start = time.monotonic()
        self.lab.create(notebook(name, self.namespace, self.image))
        return self._answers(name, name) - start

    def of_bare_set(self, name: str, model: str) -> float:
        """Seconds from the creation of a set like that of the notebook `model`, with all that its pod needs."""
        manifests = self._bare(name, model)
        start = time.monotonic()
        for manifest in manifests:
            self.lab.create(manifest)
        return self._answers(name, model) - start

    def _bare(self, name: str, model: str) -> list[Manifest]:
        get = self.lab.client.get
        made = get(StatefulSet, model, namespace=self.namespace).to_dict()["spec"]
        labels, metadata = {"app": name}, {"name": name, "namespace": self.namespace}
        text = json.dumps(made["template"]["spec"])
        pod = json.loads(
            text.replace(f'"{model}-token"', f'"{name}-token"').replace(f'"{model}-home"', f'"{name}-home"')
        )
        claim = get(PersistentVolumeClaim, f"{model}-home", namespace=self.namespace).to_dict()["spec"]
        wanted = {key: claim[key] for key in ("accessModes", "resources", "storageClassName")}
        port = {"port": 80, "targetPort": PORT}
        token = base64.b64encode(secrets.token_urlsafe(32).encode()).decode()
        of_name = {"metadata": metadata}
        return [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {**metadata, "name": f"{name}-token"},
                "data": {"token": token},
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {**metadata, "name": f"{name}-home"},
                "spec": wanted,
            },
            {"apiVersion": "v1", "kind": "Service", **of_name, "spec": {"selector": labels, "ports": [port]}},
            {
                "apiVersion": "apps/v1",
                "kind": "StatefulSet",
                **of_name,
                "spec": {
                    "replicas": 1,
                    "serviceName": name,
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": pod},
                },
            },
        ]

    def _answers(self, service: str, base: str) -> float:
        """When the page answered first."""
        found: list[str] = []

        def has_service() -> bool:
            with contextlib.suppress(ApiError):
                spec = self.lab.client.get(Service, service, namespace=self.namespace).spec
                found.extend([spec.clusterIP] if spec and spec.clusterIP else [])
            return bool(found)

        def has_page() -> bool:
            with contextlib.suppress(httpx2.HTTPError):
                return httpx2.get(url, timeout=2, trust_env=False).status_code == 200
            return False

        until(f"{service} has no Service", has_service, 0.05)
        url = f"http://{found[0]}/notebook/{self.namespace}/{base}/api"
        until(f"{url} does not answer", has_page, 0.05)
        return time.monotonic()

    def remove(self, name: str) -> None:
        """Remove a notebook or a bare set, and all that belongs to it."""
        for kind, thing in (
            (Notebook, name),
            (StatefulSet, name),
            (Service, name),
            (PersistentVolumeClaim, f"{name}-home"),
        ):
            with contextlib.suppress(ApiError):
                self.lab.client.delete(kind, thing, namespace=self.namespace, cascade=CascadeType.FOREGROUND)

        def empty() -> bool:
            left = [
                thing.metadata
                for kind in (Pod, PersistentVolumeClaim)
                for thing in self.lab.client.list(kind, namespace=self.namespace)
            ]
            return not any(f"{metadata and metadata.name}".startswith(f"{name}-") for metadata in left)

        until(f"{name} does not go", empty)


def page(lab: Platform, rounds: int) -> None:
    """Print how soon a notebook's page answers, beside a bare set's."""
    image = lab.load(images_of_stack({}, rootfs=True)["notebookImage"])
    pages = Pages(lab, "reader", image)
    with lab.operator(settings(image, "local", 10)):
        lab.make_profiles(["reader"])
        # The first one reads the image from the disk, and stays: it is what the bare sets copy.
        print(f"the first notebook:                {pages.of_notebook('model'):5.1f} s", flush=True)
        stop = {"metadata": {"annotations": {names.STOPPED: ""}}}
        lab.client.patch(Notebook, "model", stop, namespace="reader", patch_type=PatchType.MERGE)
        found: dict[str, list[float]] = {"notebook": [], "bare": []}
        for number in range(rounds):
            turns = [("notebook", pages.of_notebook), ("bare", lambda name: pages.of_bare_set(name, "model"))]
            for kind, measure in turns if number % 2 else reversed(turns):
                name = f"{kind}-{number}"
                found[kind].append(measure(name))
                pages.remove(name)
    for what, times in found.items():
        print(f"{what + ':':34} {statistics.median(times):5.1f} s ({min(times):.1f} to {max(times):.1f})")
    ratios = [one / other for one, other in zip(found["notebook"], found["bare"], strict=True)]
    print(
        f"ratio (goal 1.2):                  {statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["crowd", "page", "idle-jupyter"])
    parser.add_argument("--notebooks", type=int, default=NOTEBOOKS)
    parser.add_argument("--quiet", type=int, default=QUIET_SECONDS, metavar="SECONDS")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.what == "idle-jupyter":
        ThreadingHTTPServer(("", PORT), IdleJupyter).serve_forever()
    elif asked.inside is None:
        with own_cluster() as folder:
            again = [sys.executable, __file__, *sys.argv[1:], "--inside", str(folder)]
            sys.exit(subprocess.run(cluster.running(folder).network(*again), check=False).returncode)
    else:
        lab = Platform.of(asked.inside)
        lab.furnish()
        if asked.what == "crowd":
            crowd(lab, asked.notebooks, asked.quiet)
        else:
            page(lab, asked.rounds)


if __name__ == "__main__":
    main()

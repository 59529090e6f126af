"""The cluster that other tests stand on: a real node, whose rules hold and of which nothing stays."""

import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from lightkube import ApiError, Client
from lightkube.codecs import from_dict
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Service
from lightkube.resources.networking_v1 import NetworkPolicy

from tests.engine.cluster import ANSWER, TOOLS, Cluster, needs_node, until
from tests.stacks import ROOT
from toolchain.cache import cache_folder
from toolchain.kubernetes import images
from toolchain.kubernetes.machine import Machine, ended
from toolchain.progress import CommandFailedError

pytestmark = pytest.mark.kubernetes

CLUSTER = [sys.executable, str(ROOT / "toolchain/cluster")]


def pod(name: str, command: str, **spec: object) -> Pod:
    """A pod that runs a shell command."""
    container = {"name": "main", "image": TOOLS, "imagePullPolicy": "Never", "command": ["sh", "-c", command]}
    container.update(spec.pop("container", {}))  # pyright: ignore[reportArgumentType, reportCallIssue]
    return from_dict(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **spec},
        }
    )  # pyright: ignore[reportReturnType]


def started(client: Client, wanted: Pod) -> Pod:
    """Create a pod and wait until it is ready."""
    name = str(wanted.metadata and wanted.metadata.name)
    client.create(wanted)
    client.wait(Pod, name, for_conditions=["Ready"])
    return client.get(Pod, name)


def address_of(running: Pod) -> str:
    """The pod's address."""
    assert running.status
    assert running.status.podIP
    return running.status.podIP


def test_a_pod_runs_and_answers_with_its_log_and_with_commands(cluster: Cluster, namespace: str):
    client = cluster.client(namespace)

    started(client, pod("main", "echo started; sleep 1000"))

    assert list(client.log("main")) == ["started\n"]
    assert cluster.run(namespace, "main", "echo $((6*7))") == "42\n"


def test_services_and_hosts_outside_have_names_in_a_pod(cluster: Cluster, namespace: str):
    client = cluster.client(namespace)
    started(client, pod("main", "sleep 1000"))
    service = from_dict(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]},
        }
    )
    client.create(service)
    started(client, pod("web", "echo page >/tmp/index.html; httpd -f -p 8000 -h /tmp"))

    with (
        cluster.outside(["198.51.100.20"], [18080]),
        cluster.names_outside({"files.cluster.example.org": "198.51.100.20"}),
    ):
        assert "page" in until(lambda: cluster.run(namespace, "main", "timeout 3 wget -qO- http://web || true"))
        found = until(
            lambda: "198.51.100.20" in cluster.run(namespace, "main", "nslookup files.cluster.example.org || true")
        )
        assert found
        assert cluster.run(namespace, "main", "timeout 5 wget -qO- http://files.cluster.example.org:18080") == ANSWER


def test_a_claim_becomes_a_volume_that_the_pods_group_writes_to_and_goes_with_it(cluster: Cluster, namespace: str):
    client = cluster.client(namespace)
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "home"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    client.create(from_dict(claim))
    mount = {"volumeMounts": [{"name": "home", "mountPath": "/home"}]}
    user = {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 100}
    volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}]
    started(client, pod("main", "sleep 1000", container=mount, securityContext=user, volumes=volumes))

    assert cluster.run(namespace, "main", "touch /home/kept && stat -c %g /home/kept") == "100\n"
    volume = client.get(PersistentVolumeClaim, "home").spec
    assert volume is not None
    name = str(volume.volumeName)
    assert (cluster.folder / "volumes" / name / "kept").exists()

    client.delete(Pod, "main")
    client.delete(PersistentVolumeClaim, "home")
    until(lambda: name not in [str(v.metadata and v.metadata.name) for v in client.list(PersistentVolume)])
    assert not (cluster.folder / "volumes" / name).exists()


def test_a_network_policy_holds_until_it_is_lifted(cluster: Cluster, namespace: str):
    client = cluster.client(namespace)
    web = address_of(started(client, pod("web", "echo page >/tmp/index.html; httpd -f -p 8000 -h /tmp")))
    started(client, pod("main", "sleep 1000"))
    ask = f"timeout 2 wget -qO- http://{web}:8000 || echo nothing"
    api = "timeout 2 nc 10.96.0.1 443 </dev/null >/dev/null && echo open || echo shut"

    until(lambda: cluster.run(namespace, "main", ask) == "page\n")
    assert cluster.run(namespace, "main", api).endswith("open\n")
    deny = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny"},
        "spec": {"podSelector": {"matchLabels": {"app": "main"}}, "policyTypes": ["Egress"]},
    }
    client.create(from_dict(deny))
    until(lambda: cluster.run(namespace, "main", ask).endswith("nothing\n"))
    # The API server is on the node itself, where other chains decide than between pods.
    assert cluster.run(namespace, "main", api).endswith("shut\n")
    client.delete(NetworkPolicy, "deny")
    until(lambda: cluster.run(namespace, "main", ask) == "page\n")


def test_a_pod_reaches_hosts_outside_but_nothing_that_listens_on_this_machine(cluster: Cluster, namespace: str):
    client = cluster.client(namespace)
    started(client, pod("main", "sleep 1000"))
    here = next(
        address["local"]
        for link in json.loads(
            subprocess.run(["ip", "-j", "address"], capture_output=True, text=True, check=True).stdout
        )
        if link["ifname"] == cluster.machine.interface
        for address in link["addr_info"]
        if address["family"] == "inet"
    )

    class Greeting(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"come in")

    with (
        socketserver.ThreadingTCPServer((here, 0), Greeting) as listening,
        cluster.outside(["203.0.113.30"], [18080]),
    ):
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        port = listening.server_address[1]
        with socket.create_connection((here, port), timeout=5) as connection:
            assert connection.recv(7) == b"come in"
        assert "come in" not in cluster.run(namespace, "main", f"timeout 2 nc {here} {port} </dev/null; true")
        listening.shutdown()
        assert cluster.run(namespace, "main", "timeout 5 wget -qO- http://203.0.113.30:18080") == ANSWER


def test_a_user_may_do_what_a_binding_grants_and_nothing_else(cluster: Cluster, namespace: str):
    user = cluster.user_client("ada", ["students"], namespace)

    with pytest.raises(ApiError, match=f'User "ada" cannot list resource "pods".*"{namespace}"'):
        list(user.list(Pod))

    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "students"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "students"}],
    }
    cluster.client(namespace).create(from_dict(binding))
    assert until(lambda: [*user.list(Pod)] == [])
    with pytest.raises(ApiError, match='cannot create resource "configmaps"'):
        user.create(ConfigMap(metadata=ObjectMeta(name="own")))


def test_a_misspelt_field_is_refused_by_name(cluster: Cluster, namespace: str):
    misspelt = """{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny"},
        "spec": {"podSelector": {}, "policyType": ["Egress"]}}"""

    done = cluster.kubectl("--namespace", namespace, "apply", "--server-side", "-f", "-", given=misspelt)

    assert done.returncode != 0
    assert ".spec.policyType" in done.stderr


def test_a_privileged_pod_is_refused_where_the_namespace_says_restricted(cluster: Cluster):
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    with cluster.namespace(restricted) as namespace, pytest.raises(ApiError, match="violates PodSecurity"):
        cluster.client(namespace).create(pod("main", "sleep 1", hostNetwork=True))


def test_a_route_is_served_by_the_gateway(cluster: Cluster, namespace: str, gateway: str):
    client = cluster.client(namespace)
    started(client, pod("web", "mkdir /tmp/page; echo page >/tmp/page/index.html; httpd -f -p 8000 -h /tmp"))
    ports = [{"port": 80, "targetPort": 8000}]
    service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}}
    client.create(from_dict({"apiVersion": "v1", "kind": "Service", **service}))
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "parentRefs": [{"name": "gateway", "namespace": "gateway"}],
            "hostnames": ["web.example.org"],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/page"}}],
                    "backendRefs": [{"name": "web", "port": 80}],
                }
            ],
        },
    }
    done = cluster.kubectl("apply", "--server-side", "-f", "-", given=json.dumps(route))
    assert done.returncode == 0, done.stderr

    def page(host: str, path: str) -> str:
        return httpx2.get(f"http://{gateway}{path}", headers={"Host": host}, trust_env=False).text

    until(lambda: page("web.example.org", "/page/") == "page\n")
    assert "page\n" not in (page("web.example.org", "/other/"), page("other.example.org", "/page/"))
    assert client.get(Service, "web")


@pytest.mark.docker
def test_an_image_of_the_local_engine_runs_under_its_own_name(cluster: Cluster, namespace: str):
    image = f"hubstack-test/loaded:{namespace}"
    archive = images.of_tools(cache_folder() / "toolchain")
    subprocess.run(["docker", "load", "--input", archive], check=True, capture_output=True, timeout=60)
    subprocess.run(["docker", "tag", TOOLS, image], check=True, timeout=60)
    try:
        cluster.load(image)
        with pytest.raises(CommandFailedError, match="hubstack-test/never-built"):
            cluster.load("hubstack-test/never-built:v1")
    finally:
        subprocess.run(["docker", "rmi", image], check=True, capture_output=True, timeout=60)

    client = cluster.client(namespace)
    started(client, pod("main", "echo started; sleep 1000", container={"image": image}))
    assert list(client.log("main")) == ["started\n"]


# Starting and stopping, on a cluster beside the one that the other tests use.


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    needs_node()
    state = tmp_path / "cluster"
    yield state
    command(state, "down")


def command(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `toolchain/cluster`."""
    environment = {**os.environ, "HUBSTACK_CLUSTER_STATE": str(state)}
    return subprocess.run([*CLUSTER, *words], env=environment, capture_output=True, text=True, check=False, timeout=300)


def host_state() -> dict[str, object]:
    """What a node would change on a machine that is not kept from it."""
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    tunables = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
    return {
        "rules of Kubernetes": [line for line in rules.splitlines() if "KUBE" in line or "CNI" in line],
        "tunables": {name: Path("/proc/sys", name).read_text() for name in tunables},
        "folders": [
            str(p)
            for p in map(Path, ("/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/run/flannel"))
            if p.exists()
        ],
        "engine's containerd": Path("/run/containerd/containerd.sock").exists(),
    }


def traces(state: Path, machine: Machine, processes: set[int]) -> list[str]:
    """What is left of a cluster on this machine."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    mounts = Path("/proc/self/mounts").read_text()
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**{machine.cgroup}")]
    return [
        *([f"folder {state}"] if state.exists() else []),
        *([f"interface {machine.interface}"] if machine.interface in links else []),
        *(line for line in mounts.splitlines() if str(state) in line),
        *groups,
        *(f"process {pid}" for pid in processes if not ended(pid)),
    ]


def processes_of(machine: Machine) -> set[int]:
    """Every process in the machine's namespaces, as this host numbers them, and the one that holds them.

    None where the machine's first process has ended, even while this asks: the others of its namespace end with it.
    """
    first = machine.first_process()
    try:
        ours = {Path(f"/proc/{first}/ns", kind).readlink() for kind in ("net", "mnt")}
    except FileNotFoundError:
        return set()
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if ours & {(entry / "ns" / kind).readlink() for kind in ("net", "mnt")}:
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def test_a_cluster_says_when_it_runs_already_and_leaves_nothing_behind(folder: Path):
    before = host_state()
    machine = Machine(folder)

    first = command(folder, "up")
    assert first.returncode == 0, first.stderr
    assert first.stdout == f"{folder}/kubeconfig\n"
    processes = processes_of(machine)
    assert len(processes) > 10
    assert traces(folder, machine, processes)
    assert host_state() == before

    second = command(folder, "up")
    assert second.returncode == 0
    assert second.stdout == first.stdout
    assert "already runs" in second.stderr
    assert processes_of(machine) >= {machine.first_process()}

    third = command(folder, "down")
    assert third.returncode == 0, third.stderr
    assert traces(folder, machine, processes) == []
    assert host_state() == before
    assert "there is no cluster" in command(folder, "down").stderr


@pytest.mark.parametrize("reached", ["process", "connected", "answers"])
def test_a_start_that_was_killed_can_be_taken_back_and_begun_again(folder: Path, reached: str):
    machine = Machine(folder)
    environment = {**os.environ, "HUBSTACK_CLUSTER_STATE": str(folder)}
    with subprocess.Popen(
        [*CLUSTER, "up"], env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    ) as start:
        deadline = time.monotonic() + 120
        while not (folder / reached).exists():
            assert start.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(start.pid, signal.SIGKILL)
    processes = processes_of(machine)

    done = command(folder, "down")

    assert done.returncode == 0, done.stderr
    assert traces(folder, machine, processes) == []
    if reached == "answers":
        assert command(folder, "up").returncode == 0


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path):
    needs_node()
    (tmp_path / "thesis").write_text("years of work")

    for word in ("up", "down"):
        done = command(tmp_path, word)
        assert done.returncode == 1
        assert "holds files that are no cluster's" in done.stderr
    assert (tmp_path / "thesis").read_text() == "years of work"

"""What each part of the cluster is told: flags and files. Paths are those within the machine."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from toolchain.kubernetes.certificates import ADMINISTRATORS, Authority, write_key_pair

NODE = "node"
"""Name of the cluster's only node."""

PODS = "10.244.0.0/16"
NODE_PODS = "10.244.0.0/22"
"""The part of `PODS` that the controller manager gives to the first node; nodes that are only played get others."""

PODS6 = "fd00:10:244::/56"
NODE_PODS6 = "fd00:10:244::/64"
"""Every pod has an address of each version of IP; all else is reached over IPv4 alone."""

SERVICES = "10.96.0.0/16"
SERVICES6 = "fd00:10:96::/112"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
PORT = 6443

RESOLVER = "198.51.100.53"
"""The resolver of the world outside the cluster, which the cluster's DNS asks for names that are not its own."""

WORLD = ("198.51.100.1", "198.51.100.2")
"""Addresses of the link between the machine and the world outside: the machine's, the world's."""

WORLD6 = ("2001:db8:1::1", "2001:db8:1::2")
"""The same over IPv6."""

NODE6 = "fd00:10:212::2"
"""The node's IPv6 address, which nobody beyond the machine knows."""

POLICY = """\
# Who changed what: everything that writes, but for what components say about themselves all the time.
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    verbs: [get, list, watch]
  - level: None
    resources:
      - group: coordination.k8s.io
        resources: [leases]
      - group: ""
        resources: [events, nodes/status]
      - group: events.k8s.io
        resources: [events]
      - group: authentication.k8s.io
      - group: authorization.k8s.io
  - level: Metadata
"""


@dataclass(frozen=True)
class Addresses:
    """The link between this machine and the cluster's."""

    host: str
    node: str

    @property
    def server(self) -> str:
        """URL of the API server, from here and from within."""
        return f"https://{self.node}:{PORT}"


USERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "controller-manager": ("system:kube-controller-manager", ()),
    "scheduler": ("system:kube-scheduler", ()),
    "kubelet": (f"system:node:{NODE}", ("system:nodes",)),
    "kube-proxy": ("system:kube-proxy", ()),
    "kube-router": ("hubstack:kube-router", ()),
    "storage": ("hubstack:storage", ()),
}
"""User and groups of each part that talks to the API server."""


def write(folder: Path, addresses: Addresses, cgroup: str) -> Authority:
    """Write every part's files below `folder`, the cluster's, and return what signs its certificates."""
    pki, etc = folder / "pki", folder / "etc"
    for path in (pki, etc, etc / "cni", folder / "log"):
        path.mkdir()
    authority = Authority.make(pki)
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    authority.write("apiserver", "kube-apiserver", serves=[*names, "localhost", API_SERVICE, addresses.node])
    authority.write("apiserver-kubelet", "kube-apiserver-kubelet-client", [ADMINISTRATORS])
    authority.write("kubelet", f"system:node:{NODE}", ["system:nodes"], serves=[NODE, addresses.node])
    write_key_pair(pki, "service-accounts")
    for part, (user, groups) in USERS.items():
        _private(etc / f"{part}.kubeconfig", authority.kubeconfig(addresses.server, user, groups))
    (etc / "audit.yaml").write_text(POLICY)
    (etc / "containerd.toml").write_text(CONTAINERD)
    (etc / "cni" / "pods.conflist").write_text(json.dumps(CNI, indent=2))
    (etc / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet(cgroup)))
    (etc / "kube-proxy.yaml").write_text(yaml.safe_dump(KUBE_PROXY))
    (etc / "resolv.conf").write_text(f"nameserver {RESOLVER}\n")
    (etc / "world.corefile").write_text(WORLD_RESOLVER)
    (folder / "world-names").touch()
    (etc / "parts").write_text("\n".join(_parts(addresses)) + "\n")
    _private(folder / "kubeconfig", authority.kubeconfig(addresses.server, "hubstack-admin", [ADMINISTRATORS]))
    return authority


CONTAINERD = """\
version = 2
root = "/cluster/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "hubstack.test/pause:v0"
# Where root may not lower a process's score, every sandbox would fail.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/cluster/etc/cni"
"""

CNI = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni",
                "ranges": [[{"subnet": NODE_PODS}], [{"subnet": NODE_PODS6}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}

KUBE_PROXY = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "clientConnection": {"kubeconfig": "/cluster/etc/kube-proxy.kubeconfig"},
    "clusterCIDR": f"{PODS},{PODS6}",
    "hostnameOverride": NODE,
    "mode": "iptables",
    "oomScoreAdj": 0,
    # Limits of the kernel as a whole are this machine's, not the cluster's.
    "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
}

WORLD_RESOLVER = f"""\
. {{
    bind {RESOLVER}
    hosts /cluster/world-names {{
        ttl 1
        reload 1s
    }}
    log
}}
"""


def _kubelet(cgroup: str) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": "/cluster/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": "/cluster/pki/kubelet.crt",
        "tlsPrivateKeyFile": "/cluster/pki/kubelet.key",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": "/cluster/etc/resolv.conf",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "maxPods": 250,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        # How full this machine's disk is says nothing about the cluster: no image and no pod goes because of it.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        # Changed ConfigMaps and Secrets reach running pods within seconds.
        "syncFrequency": "10s",
        # Many pods start at once in tests.
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
    }


def _parts(addresses: Addresses) -> list[str]:
    """Lines for the shell that starts everything."""
    api = "/cluster/pki/apiserver"
    return [
        _line(
            "keep",
            "etcd",
            "etcd",
            # In memory: the data ends with the machine.
            "--data-dir=/run/etcd",
            "--unsafe-no-fsync",
            "--watch-progress-notify-interval=5s",
            "--log-level=warn",
        ),
        _line(
            "keep",
            "kube-apiserver",
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={addresses.node}",
            f"--secure-port={PORT}",
            f"--service-cluster-ip-range={SERVICES},{SERVICES6}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--client-ca-file=/cluster/pki/ca.crt",
            "--requestheader-client-ca-file=/cluster/pki/ca.crt",
            "--requestheader-allowed-names=nobody",
            f"--tls-cert-file={api}.crt",
            f"--tls-private-key-file={api}.key",
            f"--kubelet-client-certificate={api}-kubelet.crt",
            f"--kubelet-client-key={api}-kubelet.key",
            "--kubelet-certificate-authority=/cluster/pki/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--service-account-signing-key-file=/cluster/pki/service-accounts.key",
            "--service-account-key-file=/cluster/pki/service-accounts.pub",
            "--audit-policy-file=/cluster/etc/audit.yaml",
            "--audit-log-path=/cluster/log/audit",
        ),
        _line("keep", "containerd", "containerd", "--config=/cluster/etc/containerd.toml", "--log-level=warn"),
        _line(
            "keep",
            "kubelet",
            "kubelet",
            "--config=/cluster/etc/kubelet.yaml",
            "--kubeconfig=/cluster/etc/kubelet.kubeconfig",
            f"--hostname-override={NODE}",
            f"--node-ip={addresses.node},{NODE6}",
        ),
        _line(
            "keep_then",
            "kube-controller-manager",
            "kube-controller-manager",
            "--kubeconfig=/cluster/etc/controller-manager.kubeconfig",
            "--authentication-kubeconfig=/cluster/etc/controller-manager.kubeconfig",
            "--authorization-kubeconfig=/cluster/etc/controller-manager.kubeconfig",
            "--use-service-account-credentials=true",
            "--service-account-private-key-file=/cluster/pki/service-accounts.key",
            "--root-ca-file=/cluster/pki/ca.crt",
            "--cluster-signing-cert-file=/cluster/pki/ca.crt",
            "--cluster-signing-key-file=/cluster/pki/ca.key",
            "--allocate-node-cidrs=true",
            f"--cluster-cidr={PODS},{PODS6}",
            f"--node-cidr-mask-size-ipv4={NODE_PODS.rsplit('/', 1)[-1]}",
            f"--node-cidr-mask-size-ipv6={NODE_PODS6.rsplit('/', 1)[-1]}",
            f"--service-cluster-ip-range={SERVICES},{SERVICES6}",
            "--leader-elect=false",
            # Answers to deletions of namespaces and claims are what tests wait for.
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ),
        _line(
            "keep_then",
            "kube-scheduler",
            "kube-scheduler",
            "--kubeconfig=/cluster/etc/scheduler.kubeconfig",
            "--authentication-kubeconfig=/cluster/etc/scheduler.kubeconfig",
            "--authorization-kubeconfig=/cluster/etc/scheduler.kubeconfig",
            "--leader-elect=false",
        ),
        _line("keep_then", "kube-proxy", "kube-proxy", "--config=/cluster/etc/kube-proxy.yaml"),
        _line(
            "keep_then",
            "kube-router",
            "kube-router",
            "--kubeconfig=/cluster/etc/kube-router.kubeconfig",
            f"--hostname-override={NODE}",
            "--run-router=false",
            "--run-firewall=true",
            "--run-service-proxy=false",
            "--enable-ipv6",
            f"--service-cluster-ip-range={SERVICES}",
            f"--service-cluster-ip-range={SERVICES6}",
        ),
        _line(
            "keep_then",
            "storage",
            "storage",
            "--kubeconfig=/cluster/etc/storage.kubeconfig",
            f"--node={NODE}",
            "--folder=/cluster/volumes",
        ),
        _line(
            "keep",
            "world-resolver",
            *("ip", "netns", "exec", "world"),
            "coredns",
            "-conf",
            "/cluster/etc/world.corefile",
        ),
    ]


def _line(how: str, part: str, *command: str) -> str:
    return shlex.join([how, part, *command])


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def ranges() -> Sequence[str]:
    """Address ranges that the cluster uses within its own network."""
    return PODS, SERVICES

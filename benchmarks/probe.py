"""How long the proof takes that user pods are cut off: from the Job's creation to its end, beside a Job that does nothing.

`toolchain/with python benchmarks/probe.py`, 5 minutes: each egress profile in a namespace of its own, with the image on the
node. It starts a cluster of its own (as root) and ends it, unless `HUBSTACK_CLUSTER_STATE` names a folder for one that stays.
"""

import contextlib
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.lab import ROOT, Lab, Manifest, own_cluster, until
from components.docker.build_context import input_digest
from components.egress import EgressProfile
from components.kubernetes import egress_proxy
from components.kubernetes.isolation import (
    EgressRules,
    PodTarget,
    allow_egress_to_policy,
    allow_ingress_policy,
    deny_all_policy,
    user_egress_policy,
)
from components.kubernetes.pods import restricted_container, restricted_pod
from components.kubernetes.probe import EgressProbeArgs, job_spec
from components.kubernetes.tenancy import pod_security_labels
from components.probe_destinations import destination
from toolchain.kubernetes.images import TOOLS
from toolchain.pushed_images import Image, images_of_stack

ROUNDS = 5
STACK = "benchmark"
HUB_PORT = 8081
HUB: PodTarget = {"labels": {"app": "hub"}}
USERS = {"app": "user"}

PROFILES: Sequence[EgressRules] = (
    {"profile": EgressProfile.CLOSED, "domains": [], "ports": []},
    {"profile": EgressProfile.DOMAINS, "domains": [".example.org"], "ports": []},
    {"profile": EgressProfile.PORTS, "domains": [], "ports": [443]},
    {"profile": EgressProfile.OPEN, "domains": [], "ports": []},
)


def proxy_image() -> Image:
    """The egress proxy's image."""
    with contextlib.chdir(ROOT):
        digest = input_digest("egress-proxy", rootfs=True, base_digest="")
    return Image("hubstack/egress-proxy", digest[:16], "egress-proxy", rootfs=True, build_args={"SOURCE": "scratch"})


def furnish(lab: Lab, namespace: str, egress: EgressRules, image: str) -> None:
    """A namespace with a hub, the profile's rules and, where the profile has it, the egress proxy."""

    def thing(version: str, kind: str, name: str, **content: object) -> Manifest:
        metadata = {"name": name, "namespace": namespace}
        return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}

    limits = {"cpu": "100m", "memory": "64Mi", "ephemeral-storage": "16Mi"}
    server = {
        **restricted_container("hub", TOOLS, requests=limits, limits=limits),
        "command": ["httpd", "-f", "-p", f"{HUB_PORT}"],
    }
    hub = restricted_pod([server], uid=1000, gid=100)
    proxied = egress["profile"] is EgressProfile.DOMAINS
    policies = {
        "deny-all": deny_all_policy(),
        "egress": user_egress_policy(egress, user_pods=USERS, proxy=egress_proxy.PROXY_PODS if proxied else None),
        "to-hub": allow_egress_to_policy(pods=USERS, targets=[HUB], ports=[HUB_PORT]),
        "from-users": allow_ingress_policy(pods=HUB["labels"], port=HUB_PORT, sources=[{"labels": USERS}]),
    }
    deployments = {"hub": {"selector": {"matchLabels": HUB["labels"]}, "template": {"metadata": HUB, "spec": hub}}}
    services = {"hub": {"selector": HUB["labels"], "ports": [{"port": HUB_PORT}]}}
    lab.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": pod_security_labels("restricted")},
        }
    )
    if proxied:
        args: egress_proxy.EgressProxyArgs = {
            "stack": STACK,
            "namespace": namespace,
            "image": image,
            "domains": egress["domains"],
            "clients": [{"labels": USERS}],
        }
        configuration = egress_proxy.squid_configuration(egress["domains"])
        lab.apply(thing("v1", "ConfigMap", egress_proxy.NAME, data={"squid.conf": configuration}))
        policies |= egress_proxy.network_policies(args)
        deployments[egress_proxy.NAME] = egress_proxy.deployment_spec(args, configuration)
        services[egress_proxy.NAME] = {
            "selector": egress_proxy.PROXY_PODS["labels"],
            "ports": [{"port": egress_proxy.PROXY_PORT}],
        }
    lab.apply(
        *(thing("networking.k8s.io/v1", "NetworkPolicy", name, spec=spec) for name, spec in policies.items()),
        *(thing("v1", "Service", name, spec=spec) for name, spec in services.items()),
        *(thing("apps/v1", "Deployment", name, spec=spec) for name, spec in deployments.items()),
    )

    def available() -> bool:
        found = lab.client.list(Deployment, namespace=namespace)
        return all(one.status and one.status.availableReplicas for one in found)

    until(f"{namespace} is not ready", available)


def seconds(lab: Lab, namespace: str, name: str, spec: Manifest) -> float:
    """Seconds from a Job's creation until it has passed."""
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
    start = time.monotonic()
    lab.create(manifest)

    def done() -> bool:
        state = lab.client.get(Job, name, namespace=namespace).status
        if state and state.failed:
            [pod] = lab.client.list(Pod, namespace=namespace, labels={"job-name": name})
            [container] = (pod.status and pod.status.containerStatuses) or []
            sys.exit(f"{name} failed: {container.state and container.state.terminated}")
        return bool(state and state.succeeded)

    until(f"{name} does not end", done, 0.1)
    return time.monotonic() - start


def main() -> None:
    """Print the figures."""
    print(f"{ROUNDS} rounds, median (least to most), goal 15 s; an empty Job beside it")
    with own_cluster() as folder:
        lab = Lab.of(folder)
        notebook, proxy = lab.load(images_of_stack({}, rootfs=True)["notebookImage"]), lab.load(proxy_image())
        for egress in PROFILES:
            profile = egress["profile"].value
            namespace = f"probe-{profile}"
            furnish(lab, namespace, egress, proxy)
            hub = destination("tcp", "$HUB_SERVICE_HOST", HUB_PORT, "the hub")
            args: EgressProbeArgs = {
                "stack": STACK,
                "namespace": namespace,
                "image": notebook,
                "podLabels": USERS,
                "egress": egress,
                "required": [hub],
            }
            probe, empty = job_spec(args), job_spec(args)
            empty["template"]["spec"]["containers"][0]["command"] = ["python3", "-c", ""]
            found = [
                (seconds(lab, namespace, f"probe-{number}", probe), seconds(lab, namespace, f"empty-{number}", empty))
                for number in range(ROUNDS)
            ]
            told = [
                f"{statistics.median(times):.1f} s ({min(times):.1f} to {max(times):.1f})"
                for times in zip(*found, strict=True)
            ]
            print(f"{profile:8} {told[0]:24} empty {told[1]}", flush=True)


if __name__ == "__main__":
    main()

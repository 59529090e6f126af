"""A platform as a stack that the real engine deploys to a real cluster, with the images of this project."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.engine.cluster import Cluster
from tests.engine.cluster_stack import PAUSE
from tests.engine.project_images import image, notebook_image, put_into
from tests.stacks import needs_engine_and_docker

GROUP = "notebook-users"
DOMAIN = "nb.example.org"


def configuration(cluster: Cluster, **changes: Any) -> dict[str, object]:
    """A stack's configuration for `cluster`, whose node has the images; keys of `platform` are added to it."""
    needs_engine_and_docker()
    images = {"operatorImage": image("operator"), "egressProxyImage": image("egress-proxy")}
    notebooks = notebook_image()
    put_into(cluster, [*images.values(), notebooks])
    platform = {
        **images,
        "gateway": "gateway",
        "gatewayNamespace": "gateway",
        "listener": "https",
        "userGroup": GROUP,
        "notebooksPerUser": 2,
        "pauseImage": PAUSE,
        "nodes": 1,
        **changes.pop("platform", {}),
    }
    return {
        "kubernetes:upsertExistingObjects": True,
        "topology": "platform",
        "domain": DOMAIN,
        "notebookImage": notebooks,
        "egressDomains": ["pypi.org"],
        "userQuota": {"cpu": 0.5, "memory": "384M", "home": "64M", "tmp": "64M"},
        "fleetQuota": {"servers": 10},
        "dataProtection": False,
        "platform": platform,
        **changes,
    }


class Person:
    """Somebody with a certificate of the cluster, in a group of users."""

    def __init__(self, cluster: Cluster, folder: Path, name: str, group: str = GROUP) -> None:
        """Describe the person; `folder` takes the credentials."""
        self.name = name
        self._file = folder / f"{name}.kubeconfig"
        self._file.write_text(cluster.user_kubeconfig(name, [group]))
        self._cluster = cluster

    def kubectl(self, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl as this person."""
        return self._cluster.kubectl(f"--kubeconfig={self._file}", *words, given=given)

    def ask(self, *words: str, given: str | None = None) -> str:
        """What kubectl printed for this person, who may do this."""
        done = self.kubectl(*words, given=given)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *words: str, given: str | None = None) -> str:
        """Why this person may not do this."""
        done = self.kubectl(*words, given=given)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def request(self, name: str, user: str | None = None, template: Mapping[str, Any] | None = None) -> str:
        """The NotebookRequest for a notebook, for oneself if no other is named."""
        spec = {"user": user or self.name, "name": name, **({"template": template} if template else {})}
        wanted = {
            "apiVersion": "hubstack.io/v1alpha1",
            "kind": "NotebookRequest",
            "metadata": {"name": f"{self.name.partition('@')[0]}-{name}"},
            "spec": spec,
        }
        return json.dumps(wanted)

"""An operator of notebooks that runs as a process against a real API server, for its tests.

The test plays the kubelet: pods ask for a node that there is not, so that nothing is pulled or started, and the test says of
them what a kubelet would.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from lightkube import KubeConfig

from runtime.notebook_operator import access
from runtime.notebook_operator.cluster import KINDS, Kind
from tests.stacks import ROOT

WAIT_SECONDS = 60
STACK = "operator-test"
MANIFESTS = Path(__file__).parent / "manifests"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RBAC_GROUP = "rbac.authorization.k8s.io"
RBAC_VERSION = f"{RBAC_GROUP}/v1"
RBAC = f"/apis/{RBAC_VERSION}"
NOWHERE = {"kubernetes.io/hostname": "no-such-node"}
OPERATOR_NAMESPACE = "operator-test-system"


class RefusedError(Exception):
    """The API server refused a request."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class Api:
    """The API server, as the administrator, or as the user of another kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        config = KubeConfig.from_file(str(kubeconfig)).get()
        assert config
        assert config.user
        self.server = config.cluster.server
        self.context = _tls(config)
        self.certificate_authority = config.cluster.certificate_auth_data
        if config.cluster.certificate_auth:
            import base64

            self.certificate_authority = base64.b64encode(Path(config.cluster.certificate_auth).read_bytes()).decode()
        self._token = config.user.token

    def ask(self, verb: str, path: str, content: Any = None, kind: str = "application/json") -> dict[str, Any]:
        headers = {"Content-Type": kind} | ({"Authorization": f"Bearer {self._token}"} if self._token else {})
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.server + path, data=data, method=verb, headers=headers)
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            try:
                raise RefusedError(error.code, json.loads(text).get("message", text)) from None
            except ValueError:
                raise RefusedError(error.code, text) from None

    def path(self, kind: str, namespace: str = "", name: str = "", version: str | None = None) -> str:
        where: Kind = KINDS[kind]
        base = f"/apis/{where.group}/{version or where.version}" if where.group else f"/api/{where.version}"
        inside = f"/namespaces/{namespace}" if where.namespaced and namespace else ""
        return f"{base}{inside}/{where.plural}" + (f"/{name}" if name else "")

    def create(self, thing: dict[str, Any], validation: str = "Strict") -> dict[str, Any]:
        version = thing["apiVersion"].rsplit("/", 1)[-1]
        path = self.path(thing["kind"], thing["metadata"].get("namespace", ""), version=version)
        return self.ask("POST", f"{path}?fieldValidation={validation}", thing)

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        try:
            return self.ask("GET", self.path(kind, namespace, name))
        except RefusedError as refused:
            if refused.code == 404:
                return None
            raise

    def list(self, kind: str, namespace: str = "") -> list[dict[str, Any]]:
        return self.ask("GET", self.path(kind, namespace))["items"]

    def patch(self, kind: str, namespace: str, name: str, patch: Any, part: str = "") -> dict[str, Any]:
        path = self.path(kind, namespace, name) + (f"/{part}" if part else "")
        return self.ask("PATCH", path, patch, "application/merge-patch+json")

    def delete(self, kind: str, namespace: str, name: str) -> None:
        try:
            self.ask("DELETE", self.path(kind, namespace, name))
        except RefusedError as refused:
            if refused.code != 404:
                raise

    def make(self, path: str, thing: dict[str, Any]) -> bool:
        """Make an object in a folder of the API; false if it is there, which leaves it as it is."""
        try:
            self.ask("POST", path, thing)
        except RefusedError as refused:
            if refused.code != 409:
                raise
            return False
        return True


def _tls(config: Any) -> ssl.SSLContext:
    import base64
    import tempfile

    if config.cluster.insecure:
        return ssl._create_unverified_context()
    authority = config.cluster.certificate_auth_data
    context = (
        ssl.create_default_context(cadata=base64.b64decode(authority).decode())
        if authority
        else ssl.create_default_context(cafile=config.cluster.certificate_auth)
    )
    certificate, key = config.user.client_cert_data, config.user.client_key_data
    if certificate and key:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "user.pem"
            file.write_bytes(base64.b64decode(certificate) + b"\n" + base64.b64decode(key))
            context.load_cert_chain(file)
    elif config.user.client_cert:
        context.load_cert_chain(config.user.client_cert, config.user.client_key)
    return context


def eventually(what: Callable[[], Any], why: str = "") -> Any:
    """What `what` returns, as soon as that is true."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < end, why or f"this never came: {what}"
        time.sleep(0.05)


def settings(**changes: Any) -> dict[str, Any]:
    """The operator's settings, with top-level keys changed."""
    return {
        "stack": STACK,
        "domain": "nb.example.org",
        "basePath": "/notebook",
        "route": {"kind": "HTTPRoute", "parents": [{"name": "notebooks", "namespace": "gateway"}]},
        "requestTimeoutSeconds": 300,
        "notebook": {
            "image": "registry.example.org/notebook:1",
            "idleSeconds": 3600,
            "maxAgeSeconds": 86400,
            "homeBytes": 1 << 30,
            "storageClass": None,
            "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
            "environment": {},
        },
        "profile": {"namespaceLabels": {"pod-security.kubernetes.io/enforce": "restricted"}, "manifests": []},
        "fleet": {"notebooks": 500},
        **changes,
    }


@contextmanager
def prepared(api: Api) -> Iterator[None]:
    """A cluster with the definitions and the operator's rights, as the stack makes them; what was missing goes again."""
    admin = [{"apiGroups": ["kubeflow.org"], "resources": ["notebooks"], "verbs": ["get", "create"]}]
    roles: dict[str, list[dict[str, list[str]]]] = {
        "notebook-operator-test": access.CLUSTER_RULES,
        access.TENANT_ROLE: access.TENANT_RULES,
        access.ADMIN_ROLE: admin,
    }
    wanted = [(DEFINITIONS, thing) for thing in definitions()]
    for name, rules in roles.items():
        role = {"apiVersion": RBAC_VERSION, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
        wanted.append((f"{RBAC}/clusterroles", role))
    place = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATOR_NAMESPACE}}
    wanted.append(("/api/v1/namespaces", place))
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator"}}
    wanted.append((f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/serviceaccounts", account))
    binding = {
        "apiVersion": RBAC_VERSION,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "notebook-operator-test"},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": "notebook-operator-test"},
        "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": OPERATOR_NAMESPACE}],
    }
    wanted.append((f"{RBAC}/clusterrolebindings", binding))
    made: list[str] = []
    try:
        for path, thing in wanted:
            if api.make(path, thing):
                made.append(f"{path}/{thing['metadata']['name']}")
        for kind in ("Notebook", "Profile", "NotebookRequest", "HTTPRoute", "Mapping"):
            eventually(lambda kind=kind: _served(api, kind), f"{kind} is not served")
        yield
    finally:
        for path in reversed(made):
            api.ask("DELETE", path)


def definitions() -> Iterator[dict[str, Any]]:
    """The definitions that the operator needs, and stand-ins for those of routes."""
    for name in ("notebooks", "profiles", "notebookrequests"):
        yield yaml.safe_load((ROOT / "runtime/notebook_operator/crds" / f"{name}.yaml").read_text())
    yield from yaml.safe_load_all((MANIFESTS / "route-kinds.yaml").read_text())


def _served(api: Api, kind: str) -> bool:
    try:
        api.list(kind)
    except RefusedError:
        return False
    return True


class Operator:
    """The operator as a process, with the rights of a service account that has no others."""

    def __init__(self, api: Api, folder: Path, document: dict[str, Any]) -> None:
        self.api, self.folder = api, folder
        (folder / "settings.json").write_text(json.dumps(document))
        path = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/serviceaccounts/operator/token"
        token = api.ask("POST", path, {"spec": {"expirationSeconds": 7200}})["status"]["token"]
        cluster: dict[str, Any] = {"server": api.server}
        if api.certificate_authority:
            cluster["certificate-authority-data"] = api.certificate_authority
        else:
            cluster["insecure-skip-tls-verify"] = True
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "operator", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "operator"}}],
            "current-context": "test",
        }
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self.log = folder / "operator.log"
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self) -> None:
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HEALTH_PORT": str(self.port)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "runtime.notebook_operator", self.folder / "settings.json"],
                env=environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """End it without a warning."""
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def waiting(self) -> int | None:
        """How many objects it has to look at; None while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
                return json.loads(answer.read())["looks"]
        except OSError:
            return None

    def memory_bytes(self) -> int:
        """The most memory that it has held."""
        assert self.process
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@contextmanager
def running(api: Api, folder: Path, **changes: Any) -> Iterator[Operator]:
    """An operator that runs until the block ends; its log is shown if the block fails.

    With a `stack` of its own it is alone with that stack's profiles, whatever else runs.
    """
    operator = Operator(api, folder, settings(**changes))
    operator.start()
    try:
        eventually(lambda: operator.waiting() is not None, "the operator does not answer")
        yield operator
    except BaseException:
        sys.stderr.write(operator.log.read_text()[-5000:])
        raise
    finally:
        operator.stop()


def profile(name: str, stack: str = STACK) -> dict[str, Any]:
    """A profile of Alice's, of a stack; its namespace goes with it."""
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Profile",
        "metadata": {
            "name": name,
            "labels": {"hubstack.stack": stack},
            "annotations": {"notebooks.hubstack.io/delete-namespace": "true"},
        },
        "spec": {"owner": {"kind": "User", "name": "alice"}},
    }


def notebook(namespace: str, name: str = "training", **parts: Any) -> dict[str, Any]:
    """A notebook whose pod is placed on no node."""
    containers = [{"name": name, "image": "registry.example.org/jupyter:1", **parts.pop("container", {})}]
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Notebook",
        "metadata": {"name": name, "namespace": namespace, "annotations": parts.pop("annotations", {})},
        "spec": {"template": {"spec": {"nodeSelector": NOWHERE, "containers": containers, **parts}}},
    }


def ready_condition(thing: dict[str, Any] | None, type_: str = "Ready") -> dict[str, Any]:
    """The condition `Ready`, or another; empty before there is one."""
    conditions = ((thing or {}).get("status") or {}).get("conditions") or []
    return next((entry for entry in conditions if entry["type"] == type_), {})


def play_ready(api: Api, namespace: str, pod: str, address: str = "127.0.0.1") -> None:
    """Say of a pod what a kubelet says once it runs and is ready."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    state = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": [
            {"type": kind, "status": "True"} for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ],
    }
    api.patch("Pod", namespace, pod, {"status": state}, "status")


class Jupyter:
    """What the culler sees of a Jupyter server."""

    def __init__(self) -> None:
        self.idle_seconds = 0.0
        self.kernels: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str]] = []
        jupyter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                jupyter.asked.append((self.path, self.headers.get("Authorization", "")))
                last = (datetime.now(UTC) - timedelta(seconds=jupyter.idle_seconds)).isoformat()
                what = self.path.split("?")[0].rsplit("/", 1)[1]
                answer = {"kernels": jupyter.kernels, "terminals": [], "status": {"last_activity": last}}[what]
                content = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

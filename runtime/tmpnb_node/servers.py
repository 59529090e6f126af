"""A notebook server as data, and what it becomes on a Docker engine."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from string import ascii_lowercase, digits
from typing import Any

from docker.types import Ulimit

from runtime.tmpnb_node.settings import Quota, Settings

HOME = "/home/jovyan"
USER = "1000:100"
PORT = 8888
TOKEN_VARIABLE = "JUPYTER_TOKEN"  # noqa: S105  (the variable's name)

STACK_LABEL = "hubstack.stack"
NODE_LABEL = "hubstack.node"
ROLE_LABEL = "hubstack.role"
SPEC_LABEL = "hubstack.spec"
SERVER_ROLE = "user-server"

ID_LENGTH = 20
"""Letters of an id: 103 random bits."""
TOKEN_BYTES = 32

SHM_BYTES = 64 << 20
"""Size of /dev/shm, the engine's own default."""

OOM_SCORE = 500
"""When the host's memory is short, the kernel ends servers before what serves them."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """One notebook server."""

    id: str
    """Random name in its address; it lets nobody in."""
    token: str = field(repr=False)
    """What lets its visitor in."""
    spec: str
    """Digest of what it was made from."""
    created: datetime
    address: str = ""
    """IPv4 address on the servers' network; empty until it runs."""
    handed_out: datetime | None = None
    """When a visitor got it; None while nobody has."""

    @property
    def path(self) -> str:
        """Path of the server on the node, without a slash at its end."""
        return f"/user/{self.id}"

    @property
    def target(self) -> str:
        """Where the proxy reaches it."""
        return f"http://{self.address}:{PORT}"

    @property
    def base(self) -> str:
        """Where its API begins, with a slash at its end."""
        return f"{self.target}{self.path}/"


def new_server(spec: str, now: datetime) -> Server:
    """A server that nobody can guess."""
    letters = ascii_lowercase + digits
    server_id = "".join(secrets.choice(letters) for _ in range(ID_LENGTH))
    return Server(id=server_id, token=secrets.token_urlsafe(TOKEN_BYTES), spec=spec, created=now)


def container_name(settings: Settings, server_id: str) -> str:
    """Name of a server's container."""
    return f"{settings.stack}-{settings.node}-{server_id}"


def id_in(settings: Settings, name: str) -> str | None:
    """The id in a container's name; None if it is none of this node's."""
    prefix = container_name(settings, "")
    return name.removeprefix(prefix) if name.startswith(prefix) and name != prefix else None


def labels(settings: Settings) -> dict[str, str]:
    """The labels that all servers of this node have and nothing else has."""
    return {STACK_LABEL: settings.stack, NODE_LABEL: settings.node, ROLE_LABEL: SERVER_ROLE}


def command(server_id: str) -> list[str]:
    """What a server's container runs."""
    return [
        "jupyter",
        "lab",
        "--no-browser",
        "--ip=0.0.0.0",
        f"--port={PORT}",
        # Another port would be one that the proxy does not know.
        "--ServerApp.port_retries=0",
        f"--ServerApp.base_url=/user/{server_id}/",
        "--ServerApp.allow_remote_access=True",
        f"--ServerApp.root_dir={HOME}",
        # The visitor's own protocol and address, of which the TLS proxy tells.
        "--ServerApp.trust_xheaders=True",
    ]


def environment(settings: Settings) -> dict[str, str]:
    """Variables of every server: all that programs write goes to the home, since the root is read-only."""
    variables = {
        "HOME": HOME,
        "JUPYTER_CONFIG_DIR": f"{HOME}/.jupyter",
        "JUPYTER_DATA_DIR": f"{HOME}/.local/share/jupyter",
        "JUPYTER_RUNTIME_DIR": f"{HOME}/.local/share/jupyter/runtime",
        "IPYTHONDIR": f"{HOME}/.ipython",
        "XDG_CACHE_HOME": f"{HOME}/.cache",
        # The project's image starts a kernel ahead of its user.
        "HUBSTACK_WARM_KERNELS": "1",
    }
    if settings.egress_proxy:
        through = {"HTTP_PROXY": settings.egress_proxy, "HTTPS_PROXY": settings.egress_proxy}
        through["NO_PROXY"] = "localhost,127.0.0.1,::1"
        variables |= through | {name.lower(): value for name, value in through.items()}
    return variables


def writable(quota: Quota) -> dict[str, str]:
    """What a server may write to, and the options of each: compiled packages run from either."""
    common = "rw,exec,nosuid,nodev"
    return {
        HOME: f"{common},size={quota.home_bytes},uid=1000,gid=100,mode=0700",
        "/tmp": f"{common},size={quota.tmp_bytes},mode=1777",  # noqa: S108  (the server's own)
    }


def host_arguments(settings: Settings) -> Json:
    """Arguments of docker-py's `create_host_config`: the quotas, one network, and no rights.

    Without a resolver, names are looked up at the container's own loopback, where nothing answers: the engine would
    otherwise pass a query on to the host's resolver, and with it whatever the name carries (CVE-2024-29018).
    """
    quota = settings.quota
    arguments: Json = {
        "network_mode": settings.network,
        "nano_cpus": int(quota.cpu * 1e9),
        "mem_limit": quota.memory_bytes,
        "memswap_limit": quota.memory_bytes,
        "pids_limit": quota.processes,
        "ulimits": [Ulimit(name="nofile", soft=quota.open_files, hard=quota.open_files)],
        "shm_size": SHM_BYTES,
        "tmpfs": writable(quota),
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "ipc_mode": "private",
        # The service starts servers, nobody else: one that has ended is nobody's.
        "restart_policy": {"Name": "no"},
        "oom_score_adj": OOM_SCORE,
        "log_config": {"type": "json-file", "config": {"max-size": "1m", "max-file": "1"}},
    }
    if not settings.resolver:
        arguments |= {"dns": ["127.0.0.1"], "dns_opt": ["timeout:1", "attempts:1"]}
    return arguments


def spec_digest(settings: Settings) -> str:
    """Digest of all that a server is made from: image, quotas, network and way out. Its time limits are no part."""
    parts = [settings.image, command(""), environment(settings), host_arguments(settings)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def container_arguments(settings: Settings, server: Server) -> Json:
    """Arguments of docker-py's `create_container`, but for its host configuration."""
    return {
        "image": settings.image,
        "command": command(server.id),
        "name": container_name(settings, server.id),
        "user": USER,
        "working_dir": HOME,
        "environment": {**environment(settings), TOKEN_VARIABLE: server.token},
        "labels": {**labels(settings), SPEC_LABEL: server.spec},
        # The service asks each server itself, and an image's own check knows nothing of its path.
        "healthcheck": {"test": ["NONE"]},
        # Whatever the service is configured with is none of the servers' business.
        "use_config_proxy": False,
    }


def token_in(variables: list[str]) -> str:
    """The token among a container's variables, each `name=value`; empty if it has none."""
    prefix = f"{TOKEN_VARIABLE}="
    return next((text.removeprefix(prefix) for text in variables if text.startswith(prefix)), "")


def label_filters(wanted: Mapping[str, str]) -> dict[str, list[str]]:
    """Filters of the engine for what has these labels."""
    return {"label": [f"{name}={value}" for name, value in wanted.items()]}

"""The stand-in's hub: what zero-to-jupyterhub makes of the same values, as far as the tests' stacks use them."""

import os
import sys
from pathlib import Path

import yaml

c = get_config()  # noqa: F821  (JupyterHub puts it here)


def joined(below, above):
    if isinstance(below, dict) and isinstance(above, dict):
        return {key: joined(below.get(key), above[key]) if key in above else below[key] for key in {**below, **above}}
    return above


values = yaml.safe_load(Path("/etc/hub/chart/values.yaml").read_text())
stack = Path("/etc/hub/stack/values.yaml")
if stack.exists():
    values = joined(values, yaml.safe_load(stack.read_text()))
hub, user, cull = values["hub"], values["singleuser"], values["cull"]
release = Path("/etc/hub/chart/release").read_text()

c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.db_url = "sqlite:///jupyterhub.sqlite"
c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = f"http://hub:{os.environ['HUB_SERVICE_PORT']}"
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = f"http://proxy-api:{os.environ['PROXY_API_SERVICE_PORT']}"
c.JupyterHub.cookie_secret = bytes.fromhex(hub["cookieSecret"])
c.JupyterHub.template_vars = hub.get("templateVars") or {}
for key, trait in (
    ("activeServerLimit", "active_server_limit"),
    ("concurrentSpawnLimit", "concurrent_spawn_limit"),
    ("allowNamedServers", "allow_named_servers"),
    ("redirectToServer", "redirect_to_server"),
    ("shutdownOnLogout", "shutdown_on_logout"),
):
    if hub.get(key) is not None:
        c.JupyterHub[trait] = hub[key]

c.KubeSpawner.namespace = os.environ["POD_NAMESPACE"]
c.KubeSpawner.common_labels = {"app": values["nameOverride"], "release": release}
c.KubeSpawner.image = f"{user['image']['name']}:{user['image']['tag']}"
c.KubeSpawner.image_pull_policy = user["image"].get("pullPolicy") or "IfNotPresent"
c.KubeSpawner.image_pull_secrets = values.get("imagePullSecrets") or []
c.KubeSpawner.extra_labels = {"hub.jupyter.org/network-access-hub": "true", **(user.get("extraLabels") or {})}
c.KubeSpawner.environment = user.get("extraEnv") or {}
c.KubeSpawner.extra_pod_config = user.get("extraPodConfig") or {}
c.KubeSpawner.node_selector = user.get("nodeSelector") or {}
c.KubeSpawner.init_containers = user.get("initContainers") or []
c.KubeSpawner.volumes = user["storage"].get("extraVolumes") or {}
c.KubeSpawner.volume_mounts = user["storage"].get("extraVolumeMounts") or {}
c.KubeSpawner.allow_privilege_escalation = user.get("allowPrivilegeEscalation", False)
c.KubeSpawner.uid, c.KubeSpawner.fs_gid = user.get("uid", 1000), user.get("fsGid", 100)
c.KubeSpawner.start_timeout = user.get("startTimeout", 300)
c.KubeSpawner.cpu_limit, c.KubeSpawner.cpu_guarantee = user["cpu"]["limit"], user["cpu"]["guarantee"]
c.KubeSpawner.mem_limit, c.KubeSpawner.mem_guarantee = user["memory"]["limit"], user["memory"]["guarantee"]
c.KubeSpawner.extra_resource_limits = user["extraResource"]["limits"]
c.KubeSpawner.extra_resource_guarantees = user["extraResource"]["guarantees"]
c.Spawner.cmd = user.get("cmd")
c.Spawner.default_url = user.get("defaultUrl") or ""
c.Spawner.consecutive_failure_limit = hub.get("consecutiveFailureLimit", 5)

c.JupyterHub.services, c.JupyterHub.load_roles = [], []
if cull["enabled"]:
    command = [sys.executable, "-m", "jupyterhub_idle_culler", "--url=http://localhost:8081/hub/api"]
    command += [f"--timeout={cull['timeout']}", f"--max-age={cull['maxAge']}", f"--cull-every={cull['every']}"]
    command += ["--cull-users"] if cull.get("users") else []
    scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
    scopes += ["admin:users"] if cull.get("users") else []
    c.JupyterHub.services.append({"name": "idle-culler", "command": command})
    c.JupyterHub.load_roles.append({"name": "idle-culler", "services": ["idle-culler"], "scopes": scopes})

for section, given in hub["config"].items():
    if section not in ("ConfigurableHTTPProxy", "CryptKeeper"):
        c[section].update(given)
c.CryptKeeper.keys = hub["config"]["CryptKeeper"]["keys"]
for key, program in sorted((hub.get("extraConfig") or {}).items()):
    exec(compile(program, key, "exec"))

"""The configuration file of a hub that test_visitors.py runs: the chart's values, taken up as the chart's own file does."""

import json
import sys
from pathlib import Path

c = get_config()  # noqa: F821  # pyright: ignore[reportUndefinedVariable]  (JupyterHub puts it here)

given = json.loads(Path("given.json").read_text())
hub = given["hub"]

c.JupyterHub.active_server_limit = hub["activeServerLimit"]
c.JupyterHub.redirect_to_server = hub["redirectToServer"]
c.JupyterHub.shutdown_on_logout = hub["shutdownOnLogout"]
c.JupyterHub.cookie_secret = bytes.fromhex(hub["cookieSecret"])
for section, values in hub["config"].items():
    if section not in ("CryptKeeper", "KubeSpawner"):
        c[section].update(values)
for section, values in given["secret"]["hub"]["config"].items():
    c[section].update(values)
for key, program in sorted(hub["extraConfig"].items()):
    exec(compile(program, key, "exec"))

c.JupyterHub.bind_url = given["url"]
c.JupyterHub.hub_bind_url = given["hub_url"]
c.ConfigurableHTTPProxy.api_url = given["proxy_api_url"]
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = str(Path.cwd() / "homes" / "{username}")
c.SimpleLocalProcessSpawner.cmd = [sys.executable, str(Path(__file__).with_name("small_server.py"))]

"""JupyterHub's configuration file on the manager, filled from the bundle's settings and the fetched secrets."""

import binascii
import socket
from functools import partial

from runtime.ec2_spawner.fleet import account_fleet
from runtime.ec2_spawner.settings import SECRETS_FOLDER, load_settings
from runtime.ec2_spawner.spawner import HUB_PORT, Ec2Spawner
from runtime.ec2_spawner.sweep import configure_sweep
from runtime.hub.culling import configure_culling
from runtime.hub.login import configure_login
from runtime.hub.settings import read_secret

c = get_config()  # noqa: F821  # pyright: ignore[reportUndefinedVariable]  (JupyterHub puts it here)

settings = load_settings()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    # Sends nothing: it asks the kernel by which address the VPC is reached.
    probe.connect(("192.0.2.1", 9))
    address = probe.getsockname()[0]

cookie_secret = binascii.a2b_hex(read_secret("cookie-secret", SECRETS_FOLDER))

Ec2Spawner.settings = settings
Ec2Spawner.token_key = cookie_secret
Ec2Spawner.fleet = account_fleet(settings, address)

c.JupyterHub.spawner_class = Ec2Spawner
c.Ec2Spawner.manager_address = address
# Above what the spawner itself waits for its steps, so that the user sees which of them took too long.
c.Ec2Spawner.start_timeout = 1800
c.Ec2Spawner.http_timeout = 600
c.Ec2Spawner.default_url = "/lab"
c.JupyterHub.db_url = "sqlite:////srv/hub/jupyterhub.sqlite"
c.JupyterHub.cookie_secret = cookie_secret
c.JupyterHub.bind_url = "http://127.0.0.1:8000"
c.JupyterHub.hub_bind_url = f"http://{address}:{HUB_PORT}"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.active_server_limit = settings.servers
c.JupyterHub.concurrent_spawn_limit = settings.servers
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:8001"
c.ConfigurableHTTPProxy.auth_token = read_secret("proxy-token", SECRETS_FOLDER)

configure_login(c, settings.login, settings.users, partial(read_secret, folder=SECRETS_FOLDER))
configure_culling(c, settings.quota.idle_seconds, settings.quota.max_age_seconds)
configure_sweep(c)

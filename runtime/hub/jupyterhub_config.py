"""JupyterHub's configuration file, filled from the stack's settings and secrets."""

import binascii

import docker

from runtime.hub.culling import configure_culling
from runtime.hub.login import configure_login
from runtime.hub.proxy import ServiceProxy
from runtime.hub.settings import load_settings, read_secret
from runtime.hub.spawner import HubstackSpawner, user_networks

c = get_config()  # noqa: F821  # pyright: ignore[reportUndefinedVariable]  (JupyterHub puts it here)

settings = load_settings()
proxy_token = read_secret("proxy-token")

HubstackSpawner.settings = settings
ServiceProxy.user_networks = user_networks(settings, docker.APIClient(version="auto"))
# Before the hub looks which servers still answer: it counts those that do not as stopped. What has no service is ending.
ServiceProxy.user_networks.join_all(ServiceProxy.user_networks.started())

c.JupyterHub.spawner_class = HubstackSpawner
c.JupyterHub.proxy_class = ServiceProxy
c.JupyterHub.db_url = "sqlite:////srv/hub/jupyterhub.sqlite"
c.JupyterHub.cookie_secret = binascii.a2b_hex(read_secret("cookie-secret"))
c.JupyterHub.hub_bind_url = "http://0.0.0.0:8081"
c.JupyterHub.hub_connect_url = "http://hub:8081"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.active_server_limit = settings.servers
c.JupyterHub.concurrent_spawn_limit = 20
c.JupyterHub.template_vars = {}

c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://proxy:8001"
c.ConfigurableHTTPProxy.auth_token = proxy_token

c.HubstackSpawner.image = settings.image
c.HubstackSpawner.prefix = f"{settings.stack}-user"
c.HubstackSpawner.use_internal_ip = True
c.HubstackSpawner.start_timeout = settings.nodes.start_seconds
c.HubstackSpawner.http_timeout = 60
c.HubstackSpawner.default_url = "/lab"

configure_login(c, settings.login, settings.users, read_secret)
configure_culling(c, settings.quota.idle_seconds, settings.quota.max_age_seconds)

"""The configuration file of a hub that test_login.py runs; what a stack decides is in `given.json` at its side."""

import json
from pathlib import Path
from typing import Any

from jupyterhub.proxy import Proxy

from runtime.hub.login import configure_login
from runtime.hub.settings import User

c = get_config()  # noqa: F821  # pyright: ignore[reportUndefinedVariable]  (JupyterHub puts it here)


class NoProxy(Proxy):
    """Keeps the routes and moves nothing: the tests talk to the hub's own port."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.should_start, self.routes = False, {}

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        self.routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, Any]:
        return self.routes


given = json.loads(Path("given.json").read_text())
users = [User(name=name, admin=admin) for name, admin in given["users"].items()]
configure_login(c, given["login"], users, given["secrets"].__getitem__)
# GitHub's own address is the default; everything else about it is as in a deployment.
c.GitHubOAuthenticator.github_url = given["github"]
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.hub_bind_url = c.JupyterHub.bind_url = given["url"]

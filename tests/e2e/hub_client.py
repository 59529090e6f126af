"""A user of the hub over HTTP, and commands inside the user's server."""

import time
from typing import Any

import docker
import requests
import urllib3

from tests.stacks import Stack

urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


class HubUser:
    """Somebody who logs in and starts a server."""

    def __init__(self, stack: Stack, name: str) -> None:
        """Log in as `name`."""
        self.name, self._stack, self._outputs = name, stack, stack.outputs()
        self.url = self._outputs["url"]
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = False
        self.login = self._log_in()

    def _log_in(self) -> requests.Response:
        self.session.get(f"{self.url}/hub/login")
        token = self.session.cookies.get("_xsrf")
        form = {"username": self.name, "password": self._outputs["password"], "_xsrf": token}
        return self.session.post(f"{self.url}/hub/login", params={"_xsrf": token, "next": "/hub/home"}, data=form)

    def model(self) -> dict[str, Any]:
        """What the hub knows of the user."""
        return self.session.get(f"{self.url}/hub/api/users/{self.name}", headers={"Referer": self.url}).json()

    def start(self, seconds: float = 120) -> requests.Response:
        """Start the server, wait until the hub says that it runs, and return its first page; a refusal fails the test."""
        answer = self.ask_for_server(seconds)
        assert answer.ok, f"{self.name} gets no server ({answer.status_code}): {answer.text}\n{self.hub_log()}"
        return answer

    def ask_for_server(self, seconds: float = 120) -> requests.Response:
        """Ask the hub for a server; return the first page of one that runs, or the hub's refusal."""
        answer = self.session.get(f"{self.url}/hub/spawn")
        deadline = time.monotonic() + seconds
        while answer.ok and time.monotonic() < deadline:
            if self.model().get("server"):
                # The first page logs the browser in to the server itself.
                return self.session.get(f"{self.url}/user/{self.name}/lab")
            time.sleep(0.2)
        assert not answer.ok, f"{self.name}'s server did not start in {seconds} s: {self.model()}\n{self.hub_log()}"
        return answer

    def stop(self) -> None:
        """Stop the server and wait until it is gone."""
        token = self.session.cookies.get("_xsrf", path="/hub/")
        self.session.delete(
            f"{self.url}/hub/api/users/{self.name}/server",
            params={"_xsrf": token},
            headers={"Referer": f"{self.url}/hub/home", "X-XSRFToken": token or ""},
        )
        deadline = time.monotonic() + 60
        while self.model().get("servers"):
            assert time.monotonic() < deadline, f"{self.name}'s server is still there: {self.model()}\n{self.hub_log()}"
            time.sleep(0.2)

    def hub_log(self) -> str:
        """The hub's last words, for a failure's message."""
        client = docker.APIClient(version="auto")
        service = f"com.docker.swarm.service.name={self._stack.label}-hub"
        hubs = client.containers(filters={"label": service}, all=True)
        return "\n".join(client.logs(hub["Id"], tail=40).decode(errors="replace") for hub in hubs)

    @property
    def container(self) -> dict[str, Any]:
        """The server's container as the engine describes it."""
        client = docker.APIClient(version="auto")
        service = f"{self._stack.label}-user-{self.name}"
        found = client.containers(filters={"label": f"com.docker.swarm.service.name={service}", "status": "running"})
        return client.inspect_container(found[0]["Id"])

    def run(self, *command: str) -> tuple[int, str]:
        """Run a command in the server as its user, and return exit code and output."""
        client = docker.APIClient(version="auto")
        created = client.exec_create(self.container["Id"], list(command), user="1000:100")
        output = client.exec_start(created["Id"]).decode(errors="replace")
        return client.exec_inspect(created["Id"])["ExitCode"], output

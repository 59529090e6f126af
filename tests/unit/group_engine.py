"""A Docker engine in memory that has groups of containers, and remembers what was asked of it."""

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import requests
from docker.errors import APIError, NotFound

from runtime.container_group import FILES_FOLDER

Json = dict[str, Any]
START = "pool-tmp01-"


class GroupEngine:
    """Answers as docker-py's client of an engine does, as far as groups ask."""

    def __init__(self) -> None:
        self.there: dict[str, Json] = {}
        """Containers by name, as the engine shows them."""
        self.networks_there: dict[str, Json] = {}
        self.volumes_there: set[str] = set()
        self.files: dict[str, bytes] = {}
        """Archives of files by the volume that they are in."""
        self.done: list[str] = []
        """What was done to containers, as `start service`; short names."""
        self.health: dict[str, Sequence[str]] = {}
        """What containers say of their health, one after the other and the last for good. Default: healthy at once."""
        self.ends: set[str] = set()
        """Containers that end as soon as they are started."""
        self.answered = False
        """Whether something answers the probe that must not."""
        self.exit_codes: dict[str, int] = {}
        """Exit codes of commands that are run in containers, by their last word. Default: 0."""
        self.breaks_off: dict[str, int] = {}
        """How many times a command breaks off before it ends as it should, by its last word."""
        self.latecomers: list[str] = []
        """Servers that a service which is told to stop had begun to make."""
        self.pairs: threading.Barrier | None = None
        """Where users' servers wait for each other while they are removed."""
        self.refuses: dict[str, str] = {}
        """What it says when it is asked for something, as `stop tls-proxy`."""

    def running(self) -> set[str]:
        """Short names of the containers that run."""
        return {name.removeprefix(START) for name, found in self.there.items() if found["State"]["Running"]}

    def serve(self, names: Sequence[str]) -> None:
        """Have users' servers of these names, as the service makes them."""
        service = self.there[f"{START}service"]
        for name in names:
            labels = {**service["Config"]["Labels"], "hubstack.role": "user-server"}
            self.there[name] = {**copy.deepcopy(service), "Config": {"Labels": labels}}

    def _do(self, verb: str, name: str) -> Json:
        short = name.removeprefix(START)
        if f"{verb} {short}" in self.refuses:
            raise APIError(self.refuses[f"{verb} {short}"], requests.Response(), self.refuses[f"{verb} {short}"])
        if name not in self.there:
            raise NotFound(f"no container {short}")
        self.done.append(f"{verb} {short}")
        return self.there[name]

    def inspect_image(self, _image: str) -> Json:
        return {}

    def inspect_container(self, name: str) -> Json:
        if name not in self.there:
            raise NotFound(f"no container {name}")
        found = self.there[name]
        rest = self.health.get(name.removeprefix(START))
        if rest and found["State"]["Running"]:
            found["State"]["Health"] = {"Status": rest[0]}
            self.health[name.removeprefix(START)] = rest[1:] or rest
        return found

    def containers(self, **_options: object) -> list[Json]:
        return [
            {"Id": name, "Names": [f"/{name}"], "Labels": found["Config"]["Labels"], "HostConfig": found["HostConfig"]}
            for name, found in self.there.items()
        ]

    def networks(self, **_options: object) -> list[Json]:
        return list(self.networks_there.values())

    def create_network(self, name: str, *, labels: Mapping[str, str], **_options: object) -> None:
        self.networks_there[name] = {"Id": name, "Name": name, "Labels": labels}

    def remove_network(self, name: str) -> None:
        del self.networks_there[name]

    def volumes(self, **_options: object) -> Json:
        return {"Volumes": [{"Name": name} for name in self.volumes_there]}

    def create_volume(self, name: str, **_options: object) -> None:
        self.volumes_there.add(name)

    def remove_volume(self, name: str, **_options: object) -> None:
        self.volumes_there.discard(name)

    def create_host_config(self, **options: object) -> Json:
        return dict(options)

    def create_networking_config(self, endpoints: Mapping[str, object]) -> Json:
        return dict(endpoints)

    def create_endpoint_config(self, **options: object) -> Json:
        return dict(options)

    def create_container(self, _image: str, *, labels: Mapping[str, str], name: str = "", **options: Any) -> Json:
        network = options["host_config"]["network_mode"]
        policy = options["host_config"].get("restart_policy") or {"Name": "no"}
        self.there[name or "loader"] = {
            "Id": name,
            "Config": {"Labels": labels},
            "State": {"Running": False, "Status": "created", "Health": {"Status": "healthy"}},
            "HostConfig": {
                "NetworkMode": network,
                "RestartPolicy": policy,
                "binds": options["host_config"].get("binds", []),
            },
            "NetworkSettings": {"Networks": {network: {}}},
            "RestartCount": 0,
        }
        return {"Id": name or "loader"}

    def connect_container_to_network(self, name: str, network: str, **_options: object) -> None:
        self.there[name]["NetworkSettings"]["Networks"][network] = {}

    def _files_volume(self, name: str) -> str:
        [volume] = [bind.split(":")[0] for bind in self.there[name]["HostConfig"]["binds"] if FILES_FOLDER in bind]
        return volume

    def put_archive(self, name: str, _folder: str, archive: bytes) -> None:
        self.files[self._files_volume(name)] = archive

    def get_archive(self, name: str, _folder: str) -> tuple[Iterator[bytes], Json]:
        if not any(FILES_FOLDER in bind for bind in self.there[name]["HostConfig"]["binds"]):
            raise NotFound(f"no folder in {name}")
        return iter([self.files[self._files_volume(name)]]), {}

    def start(self, name: str) -> None:
        found = self._do("start", name)
        ends = name.removeprefix(START) in self.ends
        found["State"].update(Running=not ends, Status="exited" if ends else "running")

    def stop(self, name: str, **_options: object) -> None:
        self._do("stop", name)["State"].update(Running=False, Status="exited")
        if name == f"{START}service":
            self.serve(self.latecomers)
            self.latecomers = []

    def remove_container(self, name: str, **_options: object) -> None:
        if name != "loader":
            found = self._do("remove", name)
            if self.pairs and found["Config"]["Labels"]["hubstack.role"] == "user-server":
                self.pairs.wait()
        del self.there[name]

    def wait(self, _name: str, **_options: object) -> Json:
        return {"StatusCode": int(self.answered)}

    def logs(self, name: str, **_options: object) -> bytes:
        return f"the last words of {name}".encode()

    def exec_create(self, name: str, command: Sequence[str]) -> Json:
        self._do(f"run {command[-1]} in", name)
        return {"Id": command[-1]}

    def exec_start(self, _id: str, **_options: object) -> Iterator[bytes]:
        yield b"what the command said"

    def exec_inspect(self, exec_id: str) -> Json:
        if self.breaks_off.get(exec_id, 0):
            self.breaks_off[exec_id] -= 1
            return {"ExitCode": 137}
        return {"ExitCode": self.exit_codes.get(exec_id, 0)}

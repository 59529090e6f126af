"""What a server is made of, what the node asks the engine and the servers, and its settings."""

import asyncio
import gzip
import json
import re
import tomllib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import docker
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from docker.errors import APIError, NotFound
from requests.exceptions import ConnectionError as RequestsConnectionError

from runtime.server_activity import LARGEST_ANSWER_BYTES, UnreadableError
from runtime.tmpnb_node import VERSION, activity, servers
from runtime.tmpnb_node.engine import ContainerState, Engine, EngineError, found_in, refusal
from runtime.tmpnb_node.routes import ProxyError, Routes
from runtime.tmpnb_node.settings import Settings, load_secrets, load_settings, parse_settings
from tests.stacks import ROOT
from tests.unit.tmpnb_node import NOW, document, quota, settings

ID = "abcdefghij0123456789"


class Response:
    """As much of an HTTP response as the engine's errors read."""

    def __init__(self, status: int) -> None:
        self.status_code, self.reason, self.url = status, "", "http+docker://localhost"


def server(**changes: Any) -> servers.Server:
    given = {"id": ID, "token": "t0ken", "spec": "5pec", "created": NOW, "address": "10.0.0.9", **changes}
    return servers.Server(**given)


def created(**changes: Any) -> dict[str, Any]:
    """What docker-py sends to the engine for a server."""
    stack = settings(**changes)
    # A client that is told the API's version asks the engine for nothing.
    client: Any = docker.APIClient(base_url="tcp://127.0.0.1:1", version="1.41")
    sent: dict[str, Any] = {}
    client.create_container_from_config = lambda config, name, platform=None: sent.update(config, name=name)
    host = client.create_host_config(**servers.host_arguments(stack))
    client.create_container(**servers.container_arguments(stack, server()), host_config=host)
    client.close()
    return json.loads(json.dumps(sent))


def test_a_server_is_limited_in_all_that_it_may_use() -> None:
    host = created()["HostConfig"]
    assert host["NanoCpus"] == 1_500_000_000
    assert host["Memory"] == host["MemorySwap"] == 512 << 20, "there is no swap"
    assert host["PidsLimit"] == 256
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 4096, "Hard": 4096}]
    assert host["ShmSize"] == 64 << 20
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}}
    assert host["OomScoreAdj"] > 0
    assert "max-size" in host["LogConfig"]["Config"]


def test_a_server_writes_to_its_size_limited_home_and_tmp_alone() -> None:
    host = created()["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    home = "rw,exec,nosuid,nodev,size=134217728,uid=1000,gid=100,mode=0700"
    assert host["Tmpfs"] == {"/home/jovyan": home, "/tmp": "rw,exec,nosuid,nodev,size=67108864,mode=1777"}
    assert not host.get("Binds")
    assert not host.get("Mounts")


def test_a_server_has_no_rights_no_ports_and_one_network() -> None:
    container = created()
    host = container["HostConfig"]
    assert container["User"] == "1000:100"
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["IpcMode"] == "private"
    assert host["RestartPolicy"] == {"Name": "no"}
    assert host["NetworkMode"] == "tmpnb-tmp01-servers"
    assert not container.get("NetworkingConfig")
    assert not host.get("PortBindings")
    assert not container.get("ExposedPorts")
    assert not host.get("Privileged")
    assert "Init" not in host, "the image has tini"
    assert container["Healthcheck"]["Test"] == ["NONE"]


def test_a_server_is_found_by_its_labels_and_name() -> None:
    container = created()
    assert container["name"] == f"tmpnb-tmp01-{ID}"
    assert container["Labels"] == {
        "hubstack.stack": "tmpnb",
        "hubstack.role": "user-server",
        "hubstack.node": "tmp01",
        "hubstack.spec": "5pec",
    }


def test_a_server_runs_lab_below_its_own_path_with_its_token_in_the_environment_alone() -> None:
    container = created()
    assert container["Cmd"][:2] == ["jupyter", "lab"]
    assert f"--ServerApp.base_url=/user/{ID}/" in container["Cmd"]
    assert "JUPYTER_TOKEN=t0ken" in container["Env"]
    without = {**container, "Env": [each for each in container["Env"] if not each.startswith("JUPYTER_TOKEN=")]}
    assert "t0ken" not in json.dumps(without)
    assert servers.token_in(container["Env"]) == "t0ken"
    assert servers.token_in(["PATH=/bin"]) == ""


def test_all_that_programs_write_is_in_the_home() -> None:
    variables = servers.environment(settings())
    assert variables["HUBSTACK_WARM_KERNELS"] == "1"
    folders = [variables[name] for name in variables if name.endswith(("_DIR", "DIR", "_HOME", "HOME"))]
    assert len(folders) == 6
    assert all(folder.startswith("/home/jovyan") for folder in folders)


def test_without_a_resolver_names_are_asked_for_where_nothing_answers() -> None:
    host = created()["HostConfig"]
    assert (host["Dns"], host["DnsOptions"]) == (["127.0.0.1"], ["timeout:1", "attempts:1"])
    assert not created(resolver=True)["HostConfig"].get("Dns")


def test_an_egress_proxy_is_told_in_either_case_of_letters() -> None:
    variables = created(egress_proxy="http://10.1.2.3:3128")["Env"]
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        assert f"{name}=http://10.1.2.3:3128" in variables
    assert "no_proxy=localhost,127.0.0.1,::1" in variables
    assert not [each for each in created()["Env"] if "proxy" in each.lower()]


def test_ids_and_tokens_are_long_and_never_the_same() -> None:
    made = [servers.new_server("5pec", NOW) for _ in range(200)]
    assert len({each.id for each in made}) == len({each.token for each in made}) == 200
    assert all(re.fullmatch("[a-z0-9]{20}", each.id) for each in made), "36 to the 20th is more than 2 to the 96th"
    assert all(len(each.token) >= 43 for each in made), "43 letters of 6 bits are 256 bits"
    assert not [each for each in made if each.token in repr(each)]


@pytest.mark.parametrize(
    "changes",
    [
        {"image": "notebook@sha256:2"},
        {"quota": quota(cpu=1)},
        {"quota": quota(memory_bytes=1 << 30)},
        {"quota": quota(processes=100)},
        {"quota": quota(home_bytes=1 << 20)},
        {"quota": quota(tmp_bytes=1 << 20)},
        {"quota": quota(open_files=100)},
        {"egress_proxy": "http://10.1.2.3:3128"},
        {"resolver": True},
        {"network": "other"},
    ],
)
def test_a_change_of_what_servers_are_made_from_is_another_spec(changes: dict[str, Any]) -> None:
    assert servers.spec_digest(settings(**changes)) != servers.spec_digest(settings())


@pytest.mark.parametrize(
    "changes", [{"capacity": 9}, {"landing": "/tree"}, {"quota": quota(idle_seconds=60, max_age_seconds=90)}]
)
def test_any_other_change_is_not(changes: dict[str, Any]) -> None:
    assert servers.spec_digest(settings(**changes)) == servers.spec_digest(settings())


def test_containers_of_others_are_not_taken_for_servers() -> None:
    stack = settings()
    assert servers.id_in(stack, f"tmpnb-tmp01-{ID}") == ID
    for name in ("tmpnb-tmp01-", f"tmpnb-tmp02-{ID}", f"other-tmp01-{ID}", ""):
        assert servers.id_in(stack, name) is None


def listed(**changes: Any) -> dict[str, Any]:
    return {
        "Names": [f"/tmpnb-tmp01-{ID}"],
        "State": "running",
        "Labels": {"hubstack.spec": "5pec"},
        "NetworkSettings": {"Networks": {"tmpnb-tmp01-servers": {"IPAddress": "10.0.0.9"}}},
        "Created": 1767355200,
        **changes,
    }


def test_a_container_in_the_engines_list_is_read() -> None:
    found = found_in(settings(), listed())
    assert found
    assert (found.id, found.running, found.spec, found.address) == (ID, True, "5pec", "10.0.0.9")
    assert found.created == datetime.fromtimestamp(1767355200, UTC)
    assert found_in(settings(), listed(Names=["/elsewhere"])) is None


@pytest.mark.parametrize(
    ("state", "running"), [("running", True), ("paused", True), ("exited", False), ("created", False), ("dead", False)]
)
def test_a_container_runs_or_not(state: str, running: bool) -> None:
    found = found_in(settings(), listed(State=state))
    assert found
    assert found.running == running


# The engine.


class Client:
    """A docker-py client that answers as it is told."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.asked = answers, []

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            self.asked.append((name, given, named))
            answer = self.answers.get(name)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def ask(client: Client, call: Callable[[Engine], Awaitable[Any]], stack: Settings | None = None) -> Any:
    async def act() -> Any:
        engine = Engine(stack or settings())
        engine._connection = client  # pyright: ignore[reportAttributeAccessIssue]
        try:
            return await call(engine)
        finally:
            engine.close()

    return asyncio.run(act())


def refused(status: int, explanation: str) -> APIError:
    kind = NotFound if status == 404 else APIError
    return kind(explanation, response=Response(status), explanation=explanation)  # pyright: ignore[reportArgumentType]


def test_the_engine_is_asked_for_this_nodes_servers_alone_in_one_call() -> None:
    client = Client(containers=[listed(), listed(Names=["/elsewhere"])])
    found = ask(client, lambda engine: engine.servers())
    assert [each.id for each in found] == [ID]
    [(_, _, named)] = client.asked
    assert named["all"] is True
    assert sorted(named["filters"]["label"]) == [
        "hubstack.node=tmp01",
        "hubstack.role=user-server",
        "hubstack.stack=tmpnb",
    ]


def test_a_server_is_removed_with_its_volumes_and_one_that_is_gone_is_no_error() -> None:
    client = Client()
    ask(client, lambda engine: engine.remove(ID))
    assert client.asked == [("remove_container", (f"tmpnb-tmp01-{ID}",), {"v": True, "force": True})]
    ask(Client(remove_container=refused(404, "No such container")), lambda engine: engine.remove(ID))
    with pytest.raises(EngineError, match="device busy"):
        ask(Client(remove_container=refused(500, "device busy")), lambda engine: engine.remove(ID))


def test_a_started_server_has_an_address() -> None:
    networks = {"NetworkSettings": {"Networks": {"tmpnb-tmp01-servers": {"IPAddress": "10.0.0.9"}}}}
    client = Client(create_container={"Id": "1"}, inspect_container=networks)
    assert ask(client, lambda engine: engine.start(server())) == "10.0.0.9"
    assert [name for name, _, _ in client.asked if name != "create_host_config"] == [
        "create_container",
        "start",
        "inspect_container",
    ]


def test_a_missing_image_is_named_in_plain_words() -> None:
    client = Client(create_container=refused(404, "No such image: notebook@sha256:1"))
    with pytest.raises(EngineError, match="image notebook@sha256:1 is not on this engine"):
        ask(client, lambda engine: engine.start(server()))


def test_what_the_engine_says_is_the_same_for_each_server() -> None:
    texts = {
        str(refusal("i", refused(500, f'endpoint "tmpnb-tmp01-{name}" of {number * 64}: no space left')))
        for name, number in ((ID, "a"), (ID[::-1], "b"))
    }
    assert texts == {'the engine refuses: endpoint "tmpnb-tmp01-…" of …: no space left'}


def test_an_engine_that_is_not_there_is_told_in_the_same_words_each_time() -> None:
    told: set[str] = set()
    for _ in range(2):
        client = Client(containers=RequestsConnectionError(f"<connection at {object()}>"))
        with pytest.raises(EngineError) as caught:
            ask(client, lambda engine: engine.servers())
        told.add(str(caught.value))
    assert told == {"the engine does not answer (ConnectionError)"}


def test_an_engine_that_cannot_be_connected_to_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")

    async def act() -> None:
        engine = Engine(settings())
        with pytest.raises(EngineError, match="does not answer"):
            await engine.servers()
        engine._connection = Client(containers=[])  # pyright: ignore[reportAttributeAccessIssue]
        assert await engine.servers() == []
        engine.close()

    asyncio.run(act())


def test_how_a_container_is() -> None:
    inspected = {"State": {"Running": True, "ExitCode": 0, "Health": {"Status": "healthy"}}}
    healthy = ask(Client(inspect_container=inspected), lambda engine: engine.state("guard"))
    assert healthy == ContainerState(running=True, exit_code=0, health="healthy")
    inspected = {"State": {"Running": False, "ExitCode": 3}}
    ended = ask(Client(inspect_container=inspected), lambda engine: engine.server_state(ID))
    assert ended == ContainerState(running=False, exit_code=3, health="")
    assert ask(Client(inspect_container=refused(404, "No such container")), lambda e: e.state("guard")) is None


def test_a_token_is_read_back_from_its_container() -> None:
    container = {"Config": {"Env": ["PATH=/bin", "JUPYTER_TOKEN=t0ken"]}}
    assert ask(Client(inspect_container=container), lambda engine: engine.token(ID)) == "t0ken"
    assert ask(Client(inspect_container={"Config": {"Env": None}}), lambda engine: engine.token(ID)) == ""
    assert ask(Client(inspect_container=refused(404, "gone")), lambda engine: engine.token(ID)) is None


def test_the_engine_tells_when_a_server_ends() -> None:
    async def act() -> None:
        engine = Engine(settings())
        client = Client(events=iter([{"Action": "die"}]))
        engine._connection = client  # pyright: ignore[reportAttributeAccessIssue]
        heard = asyncio.Semaphore(0)
        engine.listen(heard.release)
        # Once for what happened before, once for the event.
        async with asyncio.timeout(10):
            await heard.acquire()
            await heard.acquire()
        engine.close()
        [(_, _, named)] = [asked for asked in client.asked if asked[0] == "events"]
        assert "hubstack.node=tmp01" in named["filters"]["label"]

    asyncio.run(act())


# Asking servers, which are users' programs.


def answered(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> tuple[int, bytes]:
    async def act() -> tuple[int, bytes]:
        app = web.Application()
        app.router.add_get("/{rest:.*}", answer)
        async with TestServer(app) as test, activity.session() as session:
            return await activity.getter(session)(
                str(test.make_url("/user/a/api/status")), {"Authorization": "token t"}
            )

    return asyncio.run(act())


def test_a_server_is_asked_with_its_token() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "token t"
        return web.Response(text="{}")

    assert answered(answer) == (200, b"{}")


def test_a_redirect_is_not_followed() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://169.254.169.254/"})

    assert answered(answer)[0] == 302


def test_an_answer_without_an_end_is_not_read_to_it() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(2 * LARGEST_ANSWER_BYTES // 65536):
            await response.write(b"x" * 65536)
        return response

    with pytest.raises(UnreadableError, match="no end"):
        answered(answer)


def test_an_answer_that_unpacks_to_more_is_left_packed() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"x" * (8 << 20)), headers={"Content-Encoding": "gzip"})

    _, body = answered(answer)
    assert len(body) < LARGEST_ANSWER_BYTES


def test_a_cookie_is_not_kept_for_the_next_server_at_an_address() -> None:
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        response = web.Response(text="{}")
        response.set_cookie("username", "x")
        return response

    async def act() -> None:
        app = web.Application()
        app.router.add_get("/{rest:.*}", answer)
        async with TestServer(app) as test, activity.session() as session:
            for _ in range(2):
                # Cookies of a host with a name are kept more readily than those of an address.
                await activity.getter(session)(f"http://localhost:{test.port}/", {})

    asyncio.run(act())
    assert seen == [None, None]


def test_a_server_that_is_not_there_is_reported_as_such() -> None:
    async def act() -> None:
        async with activity.session() as session:
            await activity.getter(session)("http://127.0.0.1:1/", {})

    with pytest.raises(UnreadableError, match="cannot be reached"):
        asyncio.run(act())


# The proxy's API.


def routes_of(app: web.Application, call: Callable[[Routes], Awaitable[Any]]) -> Any:
    async def act() -> Any:
        async with TestServer(app) as test, aiohttp.ClientSession() as session:
            return await call(Routes(session, str(test.make_url("")).rstrip("/"), "proxy-secret"))

    return asyncio.run(act())


def proxy(table: dict[str, Any], status: int = 0) -> web.Application:
    """As much of configurable-http-proxy's API as is asked for."""

    async def answer(request: web.Request) -> web.Response:
        if request.headers["Authorization"] != "token proxy-secret":
            return web.Response(status=403)
        if status:
            return web.Response(status=status)
        path = request.path.removeprefix("/api/routes")
        if request.method == "GET":
            return web.json_response(table)
        if request.method == "POST":
            table[path or "/"] = await request.json()
            return web.Response(status=201)
        return web.Response(status=204 if table.pop(path, None) else 404)

    app = web.Application()
    app.router.add_route("*", "/api/routes{rest:.*}", answer)
    return app


def test_routes_are_put_read_and_deleted_through_the_proxys_api() -> None:
    table: dict[str, Any] = {"/user/old": {"target": "http://10.0.0.1:8888", "last_activity": "x"}}

    async def call(routes: Routes) -> None:
        assert await routes.all() == {"/user/old": "http://10.0.0.1:8888"}
        await routes.put("/user/new", "http://10.0.0.2:8888")
        await routes.put("/", "http://service:9999")
        await routes.delete("/user/old")
        await routes.delete("/user/old")

    routes_of(proxy(table), call)
    assert table == {"/user/new": {"target": "http://10.0.0.2:8888"}, "/": {"target": "http://service:9999"}}


def test_routes_that_lack_are_put_and_strays_deleted() -> None:
    table: dict[str, Any] = {f"/user/{n}": {"target": "x"} for n in range(40)}
    wanted = {f"/user/{n}": "y" for n in range(30, 70)} | {"/": "s"}
    lacked = routes_of(proxy(table), lambda routes: routes.repair(lambda: wanted, lambda: frozenset({"/user/1"})))
    assert lacked == 41
    assert {path: route["target"] for path, route in table.items()} == wanted | {"/user/1": "x"}


@pytest.mark.parametrize("status", [403, 500])
def test_a_proxy_that_refuses_is_an_error(status: int) -> None:
    for call in (lambda routes: routes.all(), lambda routes: routes.put("/", "x"), lambda routes: routes.delete("/x")):
        with pytest.raises(ProxyError, match=str(status)):
            routes_of(proxy({}, status), call)


def test_a_proxy_that_is_not_there_is_an_error() -> None:
    async def act() -> None:
        async with aiohttp.ClientSession() as session:
            await Routes(session, "http://127.0.0.1:1", "t").all()

    with pytest.raises(ProxyError, match="does not answer"):
        asyncio.run(act())


# Settings.


def test_the_stacks_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps(document()))
    assert load_settings(tmp_path / "settings.json", {}) == settings()


def test_the_image_is_told_by_the_file_or_else_by_the_environment() -> None:
    environment = {"NOTEBOOK_IMAGE": "notebook@sha256:9"}
    without = {name: value for name, value in document().items() if name != "image"}
    assert parse_settings(without, environment).image == "notebook@sha256:9"
    assert parse_settings(document(), environment).image == "notebook@sha256:1"
    with pytest.raises(KeyError, match="NOTEBOOK_IMAGE"):
        parse_settings(without, {})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"capacity": 0}, "capacity"),
        ({"capacity": 1001}, "capacity"),
        ({"starts_at_once": 0}, "starts_at_once"),
        ({"landing": "lab"}, "landing"),
        ({"url": "https://tmp01.example.org/"}, "url"),
        ({"visitors": {"burst": 0, "per_minute": 1}}, "visitors"),
        ({"visitors": {"burst": 1, "per_minute": 0}}, "visitors"),
        ({"quota": quota(idle_seconds=0)}, "idle_seconds"),
    ],
)
def test_settings_that_make_no_sense_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings(**changes)


def test_a_missing_or_unknown_setting_is_named() -> None:
    with pytest.raises(TypeError, match="colour"):
        settings(colour="blue")
    with pytest.raises(TypeError, match="network"):
        parse_settings({name: value for name, value in document().items() if name != "network"}, {})


def test_secrets_are_files_that_must_hold_something(tmp_path: Path) -> None:
    (tmp_path / "proxy-token").write_text("p\n")
    (tmp_path / "admin-token").write_text("a\n")
    secrets = load_secrets(tmp_path)
    assert (secrets.proxy, secrets.admin, secrets.api) == ("p", "a", None)
    (tmp_path / "api-token").write_text("k")
    assert load_secrets(tmp_path).api == "k"
    assert repr(load_secrets(tmp_path)) == "Secrets()"
    (tmp_path / "admin-token").write_text("\n")
    with pytest.raises(ValueError, match="admin-token"):
        load_secrets(tmp_path)
    (tmp_path / "admin-token").unlink()
    with pytest.raises(FileNotFoundError):
        load_secrets(tmp_path)


def test_the_version_is_the_projects() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION

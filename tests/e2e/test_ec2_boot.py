"""The boot scripts of the hub on EC2, run for real: manager and workers are hosts with systemd, AWS is simulated."""

import json
import socket
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import websocket

from components.aws.boot import ManagerBoot, manager_bundle, manager_user_data
from components.ec2_hub_cluster import BUNDLE_PORT, DATA_DEVICE, HTTP, HTTPS, HUB_API_PORT, NOTEBOOK_PORT, hub_settings
from runtime.ec2_spawner.fleet import USER_TAG
from tests.e2e.ec2_hosts import METADATA, METADATA_SAYS, REGION, Machine, Region, needs_hosts, region
from tests.e2e.hub_client import HubUser
from toolchain.aws_simulator import client

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

DOMAIN = "hub.ec2.test"
ZONE = "us-east-1a"
CLUSTER = "course"
PASSWORD = "a-password-of-the-test"
GIGABYTE = 2**30


AS_THE_SWEEP = """
import asyncio, json, os, pathlib, sys
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if b"runtime.ec2_spawner.sweep" in (process / "cmdline").read_bytes().split(b"\\0"):
        for entry in (process / "environ").read_text().split("\\0"):
            name, found, value = entry.partition("=")
            if found:
                os.environ[name] = value
sys.path.insert(0, "/opt/hubstack")
from runtime.ec2_spawner.sweep import account_fleet, load_settings, users_with_servers
hosts = asyncio.run(account_fleet(load_settings()).hosts())
print(json.dumps({"servers": sorted(users_with_servers()), "hosts": [host.id for host in hosts]}))
"""
"""What the service does, with the environment that the hub gives it."""


class Hub:
    """The hub as the component sets it up, on hosts that run."""

    def __init__(self, region: Region, manager: str) -> None:
        self.region, self._manager = region, manager

    @property
    def manager(self) -> Machine:
        return self.region.machines[self._manager]

    def workers(self, *states: str) -> list[dict[str, Any]]:
        filters = [
            {"Name": f"tag:{USER_TAG}", "Values": ["*"]},
            {"Name": "instance-state-name", "Values": list(states or ("running",))},
        ]
        return [i for r in self.region.ec2.describe_instances(Filters=filters)["Reservations"] for i in r["Instances"]]

    @property
    def worker(self) -> Machine:
        [instance] = self.workers()
        return self.region.machines[instance["InstanceId"]]

    def user(self, name: str) -> HubUser:
        outputs = {"url": f"https://{DOMAIN}", "password": PASSWORD}
        return HubUser(SimpleNamespace(outputs=lambda: outputs), name)  # pyright: ignore[reportArgumentType]

    def answers(self) -> bool:
        try:
            return requests.get(f"https://{DOMAIN}/hub/health", verify=False, timeout=5).ok
        except requests.RequestException:
            return False


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    needs_hosts()
    with region() as made:
        manager = set_up(made)
        hub = Hub(made, manager)
        made.wait_until("the manager starts", lambda: manager in made.machines)
        with pytest.MonkeyPatch.context() as patched:
            resolve(patched, hub)
            made.wait_until("the hub answers over HTTPS", hub.answers, seconds=900)
            yield hub


@pytest.fixture(scope="module")
def ada(hub: Hub) -> HubUser:
    user = hub.user("ada")
    start(hub, user)
    return user


def set_up(region: Region) -> str:
    """Make in the account what `Ec2HubCluster` makes, and launch the manager; returns its id."""
    ec2, s3, secrets = (client(service, region.endpoint) for service in ("ec2", "s3", "secretsmanager"))
    prefix = region.gateway.rpartition(".0.")[0]
    vpc = ec2.create_vpc(CidrBlock=f"{prefix}.0.0/16")["Vpc"]["VpcId"]
    public, private = (
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"{prefix}.{cidr}", AvailabilityZone=ZONE)["Subnet"]["SubnetId"]
        for cidr in ("64.0/24", "128.0/17")
    )
    front, inner, worker = (
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
        for name in ("manager", "manager2", "worker")
    )
    allow_out(ec2, front, [(HTTPS, None), (HTTP, None), (NOTEBOOK_PORT, worker)])
    allow_out(ec2, inner, [])
    allow_out(ec2, worker, [(HUB_API_PORT, inner), (BUNDLE_PORT, inner)])
    template = ec2.create_launch_template(
        LaunchTemplateName="workers",
        LaunchTemplateData={"ImageId": "ami-12c6146b", "InstanceType": "t3.small", "SecurityGroupIds": [worker]},
    )["LaunchTemplate"]["LaunchTemplateId"]
    values = {
        "user-password": PASSWORD,
        "admin-password": uuid.uuid4().hex * 2,
        "cookie-secret": "5a" * 32,
        "proxy-token": uuid.uuid4().hex,
        "client-secret": "",
    }
    secret = secrets.create_secret(Name="hub", SecretString=json.dumps(values))["ARN"]
    bundle = manager_bundle(
        hub_settings(
            CLUSTER,
            {
                "domain": DOMAIN,
                "zone": "ec2.test",
                "users": [{"name": "ada"}, {"name": "root", "admin": True}],
                "userQuota": {"cpu": 1, "memory": "512M", "processes": 128, "home": "1G", "tmp": "32M"},
                "fleetQuota": {"servers": 2},
            },
        )
    )
    s3.create_bucket(Bucket="bundle")
    s3.put_object(Bucket="bundle", Key="manager.tar.gz", Body=bundle)
    data = ec2.create_volume(AvailabilityZone=ZONE, Size=1, Encrypted=True)["VolumeId"]
    boot = ManagerBoot(
        bundle="s3://bundle/manager.tar.gz",
        bundle_sha256=digest(bundle),
        secret=secret,
        launch_template=template,
        subnets={ZONE: private},
        data_volume=data,
        domain=DOMAIN,
        region=REGION,
        certificates="internal",
        session_manager=False,
    )
    client("iam", region.endpoint).create_instance_profile(InstanceProfileName="manager")
    manager = ec2.run_instances(
        ImageId="ami-12c6146b",
        MinCount=1,
        MaxCount=1,
        SubnetId=public,
        SecurityGroupIds=[front, inner],
        IamInstanceProfile={"Name": "manager"},
        UserData=manager_user_data(boot),
    )["Instances"][0]["InstanceId"]
    ec2.attach_volume(VolumeId=data, InstanceId=manager, Device=DATA_DEVICE)
    return manager


def allow_out(ec2: Any, group: str, ports: list[tuple[int, str | None]]) -> None:
    ec2.revoke_security_group_egress(
        GroupId=group, IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    )
    for port, other in ports:
        to = {"UserIdGroupPairs": [{"GroupId": other}]} if other else {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        ec2.authorize_security_group_egress(
            GroupId=group, IpPermissions=[{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **to}]
        )


def digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def resolve(patched: pytest.MonkeyPatch, hub: Hub) -> None:
    """Let the hub's name lead to the manager, in this process alone."""
    resolver = socket.getaddrinfo

    def resolved(host: Any, *arguments: Any, **named: Any) -> Any:
        return resolver(hub.manager.address if host == DOMAIN else host, *arguments, **named)

    patched.setattr(socket, "getaddrinfo", resolved)


def start(hub: Hub, user: HubUser) -> None:
    """Start the user's server."""
    user.session.get(f"{user.url}/hub/spawn")
    hub.region.wait_until(f"{user.name}'s server", lambda: user.model().get("server"), seconds=600)
    # The first page logs the browser in to the server itself.
    opened = user.session.get(f"{user.url}/user/{user.name}/lab")
    assert opened.ok, f"{opened.status_code} {opened.url}\n{opened.text[:2000]}\n{hub.worker.log()}"


def cell(user: HubUser, code: str) -> str:
    """Run code in a new kernel of the user's server, and return what it printed."""
    base = f"{user.url}/user/{user.name}"
    token = next(c.value for c in user.session.cookies if c.name == "_xsrf" and c.path == f"/user/{user.name}/")
    headers = {"X-XSRFToken": token or "", "Referer": base}
    kernel = user.session.post(f"{base}/api/kernels", headers=headers, params={"_xsrf": token})
    kernel.raise_for_status()
    address = f"{base}/api/kernels/{kernel.json()['id']}/channels"
    cookies = requests.cookies.get_cookie_header(user.session.cookies, requests.Request("GET", address).prepare())
    channel = websocket.create_connection(
        address.replace("https", "wss"),
        cookie=cookies,
        origin=user.url,
        sslopt={"cert_reqs": 0, "check_hostname": False},
        timeout=120,
    )
    try:
        asked = uuid.uuid4().hex
        header = {"msg_id": asked, "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        channel.send(json.dumps(message))
        printed = ""
        while True:
            answer = json.loads(channel.recv())
            if answer["parent_header"].get("msg_id") != asked:
                continue
            if answer["msg_type"] == "stream":
                printed += answer["content"]["text"]
            elif answer["msg_type"] == "error":
                raise AssertionError("\n".join(answer["content"]["traceback"]))
            elif answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
                return printed
    finally:
        channel.close()
        # Kernels share the server's memory.
        user.session.delete(f"{base}/api/kernels/{kernel.json()['id']}", headers=headers, params={"_xsrf": token})


def reaches(address: str, port: int) -> str:
    """Code that says whether a connection is made."""
    return (
        "import socket\n"
        "try:\n"
        f"    socket.create_connection(({address!r}, {port}), timeout=3); print('reached')\n"
        "except OSError as error:\n"
        "    print(type(error).__name__)\n"
    )


def test_a_user_runs_a_cell_on_a_host_of_their_own(hub: Hub, ada: HubUser):
    printed = cell(ada, "import os, socket; print(os.getuid(), os.getcwd(), socket.gethostname())")

    uid, folder, host = printed.split()
    assert (uid, folder) == ("1000", "/home/jovyan")
    assert host == hub.worker.run("hostname").strip() != hub.manager.run("hostname").strip()


def test_the_hub_is_reached_over_https_with_a_certificate_for_its_name(hub: Hub, tmp_path: Any):
    authority = tmp_path / "root.crt"
    authority.write_text(hub.manager.run("cat", "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"))

    answer = requests.get(f"https://{DOMAIN}/hub/health", verify=str(authority), timeout=10)

    assert answer.ok
    assert "max-age" in answer.headers["Strict-Transport-Security"]


def test_a_home_is_the_users_volume_at_its_size(ada: HubUser):
    told = cell(
        ada,
        "import json, os\n"
        "disk = os.statvfs('/home/jovyan')\n"
        "line = next(l for l in open('/proc/mounts') if ' /home/jovyan ' in l)\n"
        "print(json.dumps([disk.f_blocks * disk.f_frsize, line]))",
    )
    size, line = json.loads(told)

    assert 0.9 * GIGABYTE < size <= GIGABYTE
    assert " ext4 " in line
    assert "nosuid" in line
    assert "nodev" in line


def test_nothing_but_home_and_tmp_is_writable(ada: HubUser):
    told = cell(
        ada,
        "import json, os\n"
        "print(json.dumps([p for p in ('/', '/opt/venv', '/var/tmp', '/etc', '/home', '/home/jovyan', '/tmp')"
        " if os.access(p, os.W_OK)]))",
    )

    assert json.loads(told) == ["/home/jovyan", "/tmp"]


def test_the_quotas_hold_on_the_host(hub: Hub, ada: HubUser):
    shown = hub.worker.run(
        *("systemctl", "show", "hubstack-notebook"),
        *("-p", "MemoryMax", "-p", "MemorySwapMax", "-p", "TasksMax", "-p", "CPUQuotaPerSecUSec"),
    )
    tmp = cell(ada, "import os; disk = os.statvfs('/tmp'); print(disk.f_blocks * disk.f_frsize)")
    forked = cell(
        ada,
        "import os, signal, time\n"
        "children = []\n"
        "try:\n"
        "    for _ in range(200):\n"
        "        child = os.fork()\n"
        "        if not child:\n"
        "            time.sleep(60); os._exit(0)\n"
        "        children.append(child)\n"
        "    print('no limit')\n"
        "except BlockingIOError:\n"
        "    print('stopped')\n"
        "for child in children:\n"
        "    os.kill(child, signal.SIGKILL)\n"
        "    os.waitpid(child, 0)\n",
    )

    assert set(shown.split()) == {
        f"MemoryMax={512 * 2**20}",
        "MemorySwapMax=0",
        "TasksMax=128",
        "CPUQuotaPerSecUSec=1s",
    }
    assert int(tmp) == 32 * 2**20
    assert forked.strip() == "stopped"


def test_people_cannot_reach_the_metadata_service_and_the_host_can(hub: Hub, ada: HubUser):
    ask = f"import urllib.request; print(urllib.request.urlopen('http://{METADATA}', timeout=5).read().decode())"

    assert hub.worker.run("python3", "-c", ask).strip() == METADATA_SAYS
    assert cell(ada, reaches(METADATA, 80)).strip() == "PermissionError"

    # Updates restart it, and it drops rules that it did not make.
    hub.worker.run("systemctl", "restart", "systemd-networkd")
    assert cell(ada, reaches(METADATA, 80)).strip() == "PermissionError"


def test_servers_of_the_closed_profile_reach_the_manager_alone(hub: Hub, ada: HubUser):
    host, port = hub.region.endpoint.removeprefix("http://").split(":")

    assert cell(ada, reaches(hub.manager.address, HUB_API_PORT)).strip() == "reached"
    assert cell(ada, reaches(hub.manager.address, HTTPS)).strip() == "TimeoutError"
    assert cell(ada, reaches(host, int(port))).strip() == "PermissionError"


def test_servers_of_the_closed_profile_ask_no_resolver_for_names(hub: Hub, ada: HubUser):
    # Beside the hosts, as the VPC's own is: security groups do not filter what goes there.
    ask = (
        "import socket\n"
        "try:\n"
        f"    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'name', ('{hub.region.endpoint.split('//')[1].split(':')[0]}', 53))\n"
        "    print('asked')\n"
        "except OSError as error:\n"
        "    print(type(error).__name__)\n"
    )

    assert cell(ada, ask).strip() == "PermissionError"


def test_people_cannot_read_what_the_host_was_launched_with(hub: Hub, ada: HubUser):
    told = cell(
        ada,
        "import os\n"
        "for path in ('/etc/hubstack-notebook.env', '/var/lib/user-data'):\n"
        "    print(os.path.exists(path), os.access(path, os.R_OK))",
    )

    assert told.splitlines() == ["True False", "True False"]


def test_workers_have_git_from_the_manager(ada: HubUser):
    told = cell(ada, "import subprocess; print(subprocess.run(['git', 'init', '-q', '/tmp/r']).returncode)")

    assert told.strip() == "0"


def test_the_service_that_looks_for_forgotten_hosts_may_ask_hub_and_aws(hub: Hub, ada: HubUser):
    told = hub.manager.run("/opt/hubstack/venv/bin/python", "-c", AS_THE_SWEEP)

    assert json.loads(told) == {"servers": ["ada"], "hosts": [hub.worker.instance]}


def test_a_stopped_server_starts_again_on_its_host_with_its_files(hub: Hub, ada: HubUser):
    before = hub.worker
    cell(ada, "open('/home/jovyan/kept', 'w').write('one')")

    stop(hub, ada)
    [stopped] = hub.workers("stopped")
    start(hub, ada)

    assert hub.worker.instance == before.instance == stopped["InstanceId"]
    assert cell(ada, "print(open('/home/jovyan/kept').read())").strip() == "one"
    assert cell(ada, reaches(METADATA, 80)).strip() == "PermissionError"


def test_a_home_goes_to_the_next_host_when_one_is_ended(hub: Hub, ada: HubUser):
    before = hub.worker
    cell(ada, "open('/home/jovyan/kept', 'w').write('two')")

    stop(hub, ada)
    hub.region.ec2.terminate_instances(InstanceIds=[before.instance])
    hub.region.wait_until("the host is gone", lambda: before.instance not in hub.region.machines)
    start(hub, ada)

    assert hub.worker.instance != before.instance
    assert cell(ada, "print(open('/home/jovyan/kept').read())").strip() == "two"


def test_after_a_reboot_of_the_manager_the_hub_is_back_and_the_server_still_there(hub: Hub, ada: HubUser):
    worker = hub.worker
    secrets = hub.manager.run("ls", "/run/hubstack-secrets").split()

    hub.region.ec2.stop_instances(InstanceIds=[hub.manager.instance])
    hub.region.wait_until("the hub is away", lambda: not hub.answers())
    hub.region.ec2.start_instances(InstanceIds=[hub.manager.instance])
    hub.region.wait_until("the hub is back", hub.answers)

    assert hub.manager.run("ls", "/run/hubstack-secrets").split() == secrets
    assert hub.manager.run("stat", "-c", "%U %a", "/run/hubstack-secrets/cookie-secret").split() == ["hub", "600"]
    again = hub.user("ada")
    hub.region.wait_until("the hub knows the server", lambda: again.model().get("server"))
    assert again.session.get(f"{again.url}/user/ada/lab").ok
    assert cell(again, "print(open('/home/jovyan/kept').read())").strip() == "two"
    assert hub.worker.instance == worker.instance


def test_a_disk_with_something_else_on_it_is_never_formatted(hub: Hub):
    number = hub.region.make_disk("vol-other", 1)
    disk = hub.region.folder / "vol-other.img"
    with disk.open("r+b") as file:
        file.seek(1000)
        file.write(b"somebody's data")
        file.seek(0)
        before = file.read(2**20)
    hub.manager.run("mknod", "/dev/other", "b", *number)

    script = "/opt/hubstack/runtime/mount_disk.sh"
    hub.manager.run("bash", script, "/mnt/other", "root:root", "/dev/other", check=False)

    assert "/mnt/other" not in hub.manager.run("cat", "/proc/mounts")
    with disk.open("rb") as file:
        assert file.read(2**20) == before


def test_secrets_are_on_no_disk_of_the_manager_and_in_none_of_its_logs(hub: Hub):
    found = hub.manager.run("grep", "-rlF", PASSWORD, "/etc", "/opt/hubstack", "/srv", "/var", check=False)
    told = hub.manager.run("journalctl", "--no-pager")

    assert found == ""
    assert PASSWORD not in told


def stop(hub: Hub, user: HubUser) -> None:
    token = user.session.cookies.get("_xsrf", path="/hub/")
    user.session.delete(
        f"{user.url}/hub/api/users/{user.name}/server",
        params={"_xsrf": token},
        headers={"Referer": f"{user.url}/hub/home", "X-XSRFToken": token or ""},
    )
    hub.region.wait_until(f"{user.name}'s server is stopped", lambda: not user.model().get("servers"))

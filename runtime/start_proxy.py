"""Start configurable-http-proxy with its API on the control network alone, where no user's server is.

Environment: `CONTROL_SUBNET`, the range of the network that the proxy shares with the hub or with a node's service;
`ERROR_TARGET`, where pages for errors come from (the hub); `SECRETS`, the folder with the token (Docker's own).
"""

import ipaddress
import json
import os
import subprocess
import sys
from pathlib import Path

from runtime.hub.settings import SECRETS_FOLDER, read_secret

HUB_ERRORS = "http://hub:8081/hub/error"


def address_in(subnet: str, interfaces: str) -> str:
    """The address in `subnet` among the output of `ip -json address`.

    Raises:
        ValueError: no interface has one.
    """
    network = ipaddress.ip_network(subnet)
    for interface in json.loads(interfaces):
        for address in interface.get("addr_info", []):
            if ipaddress.ip_address(address["local"]) in network:
                return address["local"]
    raise ValueError(f"no interface has an address in {subnet}")


def main() -> None:
    """Replace this process by the proxy."""
    interfaces = subprocess.run(["ip", "-json", "address"], capture_output=True, text=True, check=True).stdout
    api = address_in(os.environ["CONTROL_SUBNET"], interfaces)
    os.environ["CONFIGPROXY_AUTH_TOKEN"] = read_secret("proxy-token", Path(os.environ.get("SECRETS", SECRETS_FOLDER)))
    command = ["configurable-http-proxy", "--ip=0.0.0.0", "--port=8000", f"--api-ip={api}", "--api-port=8001"]
    command += [
        f"--error-target={os.environ.get('ERROR_TARGET', HUB_ERRORS)}",
        "--timeout=300000",
        "--proxy-timeout=300000",
        "--no-x-forward",
        # Whoever keeps the routes asks for them every few seconds.
        "--log-level=warn",
    ]
    sys.stdout.flush()
    os.execvp(command[0], command)  # noqa: S606  (no shell, and the process is replaced on purpose)


if __name__ == "__main__":
    main()

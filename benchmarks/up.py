"""How long `make up` takes with its images built: from nothing to a hub that answers, and again with nothing to do.

Run it with no `dev` stack deployed: `toolchain/with python benchmarks/up.py`. It deploys and destroys `dev` once.
"""

import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = "https://localhost:8443/hub/health"


def seconds(*command: str) -> float:
    """Wall-clock seconds of a command that must succeed."""
    start = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def answers() -> float:
    """Seconds until the hub answers."""
    start = time.monotonic()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    while time.monotonic() - start < 60:
        try:
            with urllib.request.urlopen(ADDRESS, context=context, timeout=2):
                return time.monotonic() - start
        except OSError:
            time.sleep(0.1)
    sys.exit(f"the hub did not answer at {ADDRESS}")


def main() -> None:
    """Print the figures."""
    up = seconds("make", "up")
    print(f"make up, from nothing:    {up + answers():6.1f} s until the hub answers")
    print(f"make up, nothing to do:   {seconds('make', 'up'):6.1f} s")
    print(f"set-up before Pulumi:     {seconds('make', 'setup') + seconds('toolchain/with', 'true'):6.1f} s")
    print(f"make down:                {seconds('make', 'down'):6.1f} s")


if __name__ == "__main__":
    main()

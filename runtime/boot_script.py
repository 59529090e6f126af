"""A host's boot script with the values of one host in front of it, as user data."""

import shlex
from collections.abc import Mapping

USER_DATA_LIMIT = 16 * 1024
"""AWS's limit on user data, in bytes before base64."""


def volume_devices(volume: str) -> str:
    """Where Debian shows the attached EBS volume `volume`: by its id on a Nitro instance, else by its place.

    Never by number: an instance with disks of its own numbers those first, and they are lost with it.
    """
    return f"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')} /dev/xvdf"


def boot_script(script: str, values: Mapping[str, str]) -> str:
    """`script` with `values` as its read-only variables, between its first line and the rest.

    Raises:
        ValueError: the result is longer than user data may be.
    """
    shebang, _, body = script.partition("\n")
    constants = "".join(f"readonly {name}={shlex.quote(value)}\n" for name, value in sorted(values.items()))
    text = f"{shebang}\n{constants}{body}"
    if len(text.encode()) > USER_DATA_LIMIT:
        raise ValueError(f"the user data has {len(text.encode())} bytes; AWS takes {USER_DATA_LIMIT}")
    return text

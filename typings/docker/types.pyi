from collections.abc import Mapping, Sequence
from typing import Any

class _Spec(dict[str, Any]): ...

class IPAMPool(_Spec):
    def __init__(self, subnet: str | None = None) -> None: ...

class IPAMConfig(_Spec):
    def __init__(self, pool_configs: Sequence[IPAMPool] | None = None) -> None: ...

class DNSConfig(_Spec):
    def __init__(self, nameservers: Sequence[str] | None = None, options: Sequence[str] | None = None) -> None: ...

class DriverConfig(_Spec):
    def __init__(self, name: str, options: Mapping[str, str] | None = None) -> None: ...

class EndpointSpec(_Spec):
    def __init__(self, mode: str | None = None) -> None: ...

class Mount(_Spec):
    def __init__(
        self,
        target: str,
        source: str | None,
        type: str = "volume",
        driver_config: DriverConfig | None = None,
        tmpfs_size: int | None = None,
        tmpfs_mode: int | None = None,
    ) -> None: ...

class Resources(_Spec):
    def __init__(
        self, cpu_limit: int | None = None, mem_limit: int | None = None, mem_reservation: int | None = None
    ) -> None: ...

class Ulimit(_Spec):
    def __init__(self, name: str, soft: int, hard: int) -> None: ...

class RestartPolicy(_Spec):
    def __init__(self, condition: str = "none") -> None: ...

class ContainerSpec(_Spec):
    def __init__(
        self,
        image: str,
        command: Sequence[str] | None = None,
        user: str | None = None,
        read_only: bool | None = None,
        cap_drop: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        hosts: Mapping[str, str] | None = None,
        dns_config: DNSConfig | None = None,
    ) -> None: ...

class TaskTemplate(_Spec):
    def __init__(
        self,
        container_spec: ContainerSpec,
        resources: Resources | None = None,
        restart_policy: RestartPolicy | None = None,
        networks: Sequence[Mapping[str, str]] | None = None,
    ) -> None: ...

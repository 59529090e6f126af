"""The pack's policies: one object for each family of checks, and one for what could not be decided."""

from importlib import import_module

from pulumi_policy import Policy

from policies.registry import family_policy, undecided_policy

CHECK_MODULES = (
    "policies.quotas.limits",
    "policies.quotas.users",
    "policies.quotas.fleets",
    "policies.egress.networks",
    "policies.egress.security_groups",
    "policies.exposure.containers",
    "policies.exposure.hosts",
    "policies.exposure.roles",
    "policies.data.disks",
)

for module in CHECK_MODULES:
    import_module(module)

POLICIES: list[Policy] = [
    family_policy("quotas", "Users, fleets and services are limited in everything that they use."),
    family_policy("egress", "Code that users run reaches nothing that its egress profile does not name."),
    family_policy("exposure", "Containers get nothing of the host, and only the TLS proxy faces the outside."),
    family_policy("data", "What people made is encrypted, private and kept for long enough."),
    undecided_policy(),
]

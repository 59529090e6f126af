"""The pack's policies: one for each family of checks, one for what counts together, and what they leave undecided."""

from importlib import import_module

from pulumi_policy import EnforcementLevel, Policy

from policies.registry import family_policy, stack_policy, undecided_policy

CHECK_MODULES = (
    "policies.quotas.limits",
    "policies.quotas.users",
    "policies.quotas.fleets",
    "policies.quotas.nodes",
    "policies.quotas.kubernetes_limits",
    "policies.quotas.kubernetes_namespaces",
    "policies.quotas.hub_chart",
    "policies.egress.networks",
    "policies.egress.nodes",
    "policies.egress.node_proxies",
    "policies.egress.security_groups",
    "policies.egress.joined_rules",
    "policies.egress.kubernetes_networks",
    "policies.egress.hub_chart",
    "policies.exposure.containers",
    "policies.exposure.container_groups",
    "policies.exposure.nodes",
    "policies.exposure.health_checks",
    "policies.exposure.hosts",
    "policies.exposure.roles",
    "policies.exposure.load_balancers",
    "policies.exposure.bundles",
    "policies.exposure.stack_files",
    "policies.exposure.pods",
    "policies.exposure.pod_access",
    "policies.exposure.kubernetes_roles",
    "policies.exposure.kubernetes_edges",
    "policies.exposure.hub_chart",
    "policies.exposure.hub_code",
    "policies.exposure.hub_secrets",
    "policies.data.disks",
    "policies.data.file_systems",
)

for module in CHECK_MODULES:
    import_module(module)

POLICIES: list[Policy] = [
    family_policy("quotas", "Users, fleets and services are limited in everything that they use."),
    family_policy("egress", "Code that users run reaches nothing that its egress profile does not name."),
    family_policy("exposure", "Containers get nothing of the host, and only the TLS proxy faces the outside."),
    family_policy("data", "What people made is encrypted, private and kept for long enough."),
    undecided_policy(),
    stack_policy(
        "hubstack-joined",
        "What several resources say together is right: rules that pass alone may be the world in common.",
        EnforcementLevel.MANDATORY,
        undecided=False,
    ),
    stack_policy(
        "hubstack-joined-undecided",
        "Every check of resources that count together could be decided.",
        EnforcementLevel.ADVISORY,
        undecided=True,
    ),
]

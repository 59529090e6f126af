"""A stack's namespaces with all that counts in each of them together.

What the notebook operator furnishes every profile's namespace with is one such namespace, though the stack makes none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policies import resource_types as types
from policies.iam_documents import as_list
from policies.kubernetes import operator_settings
from policies.kubernetes.hub_networks import hub_policy
from policies.kubernetes.hub_pods import chart_labels, user_labels
from policies.kubernetes.hub_values import Values, hub_values
from policies.kubernetes.objects import TEMPLATES, is_other_policy, objects, token_of
from policies.network_policies import EGRESS, INGRESS, PROTOCOLS, Union, policy_types
from policies.reader import UNKNOWN, Partial, Value, as_mapping, entries, holds_unknown, items, plain, read
from policies.registry import StackResource

NOTEBOOK_LABELS = {"hubstack.role": "notebook", "notebook-name": "any", "statefulset": "any"}
"""Labels of notebooks' pods, whatever their users add."""


@dataclass(frozen=True)
class Policy:
    """A NetworkPolicy, as far as it is known."""

    resource: StackResource
    spec: Mapping[str, Any]
    """With the rules alone that are known."""
    selects: bool
    """Whether it is known which pods it selects and in which directions."""
    complete: bool
    """Whether every rule is known."""


@dataclass(frozen=True)
class Pods:
    """Pods with the same labels."""

    resource: StackResource
    what: str
    labels: Mapping[str, str]
    users: bool
    """Whether code of users runs in them."""
    sampled: bool = False
    """Whether they are only thought of: pods with the labels that a policy wants, and no more."""


@dataclass
class Space:
    """A namespace."""

    name: str
    made: StackResource | None = None
    """What makes it, if this stack does."""
    policies: list[Policy] = field(default_factory=list[Policy])
    pods: list[Pods] = field(default_factory=list[Pods])
    quotas: list[StackResource] = field(default_factory=list[StackResource])
    """Those that count every pod."""
    scoped_quotas: list[StackResource] = field(default_factory=list[StackResource])
    """Those that count some pods alone."""
    limits: list[StackResource] = field(default_factory=list[StackResource])
    is_open: bool = False
    """Whether more comes into it that is not known yet."""

    @property
    def has_users(self) -> bool:
        """Whether users' code runs in it."""
        return any(pods.users for pods in self.pods)

    def union(self, labels: Mapping[str, str], direction: str) -> Union:
        """What the policies that are known allow a pod of the namespace."""
        known = [policy.spec for policy in self.policies if policy.selects]
        return Union.of(known, labels, self.name, direction)


@dataclass
class Spaces:
    """All namespaces that a stack has something in."""

    found: dict[str, Space] = field(default_factory=dict[str, Space])
    unplaced: list[tuple[StackResource, str]] = field(default_factory=list[tuple[StackResource, str]])
    """What counts in a namespace that is not known, and its type."""
    other_policies: list[tuple[StackResource, str]] = field(default_factory=list[tuple[StackResource, str]])
    """Policies of other engines that have rules for egress, and their kinds."""

    def unknown(self, *kinds: str) -> Iterator[StackResource]:
        """Resources of some types whose namespace is not known."""
        yield from (resource for resource, kind in self.unplaced if kind in kinds)


def gather(resources: Sequence[StackResource]) -> Spaces:
    """The namespaces of a stack."""
    spaces = Spaces()
    keys: dict[str, str] = {}
    found = [
        (resource, token, properties)
        for resource in resources
        for token, properties in objects(resource.type, resource.inputs, whole=_WHOLE)
    ]
    for resource, token, properties in found:
        if token in _MADE and not isinstance(properties, Partial):
            name = read(properties, "metadata", "name")
            key = name if isinstance(name, str) else resource.urn
            keys[resource.urn] = key
            spaces.found[key] = Space(key if isinstance(name, str) else resource.name, made=resource)
    furnished = [spaces.found[keys[resource.urn]] for resource, token, _ in found if token == types.PROFILE]
    for resource, token, properties in found:
        if is_other_policy(token):
            _add_other(spaces, resource, token, properties)
        elif token == types.CONFIG_MAP:
            _add_profiles(spaces, furnished, resource, properties)
        else:
            _add(spaces, keys, resource, token, properties)
    return spaces


def _add(spaces: Spaces, keys: Mapping[str, str], resource: StackResource, token: str, properties: Value) -> None:
    is_release = token in (types.RELEASE, types.CHART)
    values = hub_values(properties) if is_release else None
    if token not in _COUNTED and values is None:
        return
    path = ("namespace",) if is_release else ("metadata", "namespace")
    # Pods that a custom resource embeds are where it is.
    own = read(resource.inputs, *path) if token == types.POD else None
    namespace = read(properties, *path)
    key = _key(keys, resource, own if namespace is None else namespace, path[0])
    if key is None:
        spaces.unplaced.append((resource, token))
        return
    space = spaces.found.setdefault(key, Space(key or "default"))
    if values is None:
        _put(space, resource, token, properties)
    else:
        name = read(properties, "name")
        _add_hub(space, resource, values, name if isinstance(name, str) else resource.name)


def _add_other(spaces: Spaces, resource: StackResource, token: str, properties: Value) -> None:
    """A policy that opens something in another engine's words: rules for egress, in one list or in several."""
    spec = read(properties, "spec")
    rules = plain([read(spec, "egress"), read(properties, "specs")])
    if spec is UNKNOWN or any(found not in (None, []) for found in rules):
        spaces.other_policies.append((resource, token.rpartition(":")[2]))


def _key(keys: Mapping[str, str], resource: StackResource, namespace: Value, of: str) -> str | None:
    """The key of a resource's namespace: its name, or where the name comes from; None if it cannot be told."""
    if isinstance(namespace, str):
        return namespace
    if namespace is None:
        return ""
    sources = [keys[urn] for urn in resource.dependencies.get(of, ()) if urn in keys]
    return sources[0] if namespace is UNKNOWN and len(sources) == 1 else None


_RUNNING = (*TEMPLATES, types.POD)
_MADE = (types.NAMESPACE, types.PROFILE)
_WHOLE = (*TEMPLATES, types.NOTEBOOK, types.PROFILE, types.RELEASE, types.CHART, types.CONFIG_MAP)
"""Types that are taken as they are, without the pods and objects in them; the operator's settings furnish others."""

_COUNTED = (types.NETWORK_POLICY, types.RESOURCE_QUOTA, types.LIMIT_RANGE, types.NOTEBOOK, *_RUNNING)


def _put(space: Space, resource: StackResource, token: str, properties: Value) -> None:
    if token == types.RESOURCE_QUOTA:
        scopes = plain([read(properties, "spec", key) for key in ("scopes", "scopeSelector")])
        space.is_open = space.is_open or UNKNOWN in scopes
        (space.scoped_quotas if any(scopes) else space.quotas).append(resource)
    elif token == types.LIMIT_RANGE:
        space.limits.append(resource)
    elif token == types.NETWORK_POLICY:
        policy = known_policy(resource, plain(read(properties, "spec")))
        space.policies.append(policy)
        selector = policy.spec.get("podSelector")
        if policy.selects:
            # Pods that the stack does not make, but has thought of.
            alone = not read(selector, "matchExpressions")
            space.pods.append(Pods(resource, "pods that it selects", _sample(selector), users=False, sampled=alone))
    elif token == types.NOTEBOOK:
        space.pods.append(Pods(resource, "the notebook", NOTEBOOK_LABELS, users=True))
    else:
        template = properties
        for step in TEMPLATES.get(token, ()):
            template = read(template, step)
        labels = {key: value for key, value in entries(template, "metadata", "labels") if isinstance(value, str)}
        users = labels.get("hubstack.role") == "notebook"
        space.pods.append(Pods(resource, "its pods", labels, users=users))


def _sample(selector: Value) -> dict[str, str]:
    """Labels that a selector selects."""
    labels = {key: str(value) for key, value in entries(selector, "matchLabels")}
    for expression in items(selector, "matchExpressions"):
        values = [str(value) for value in items(expression, "values")]
        if read(expression, "operator") in ("In", "Exists"):
            labels.setdefault(str(read(expression, "key")), values[0] if values else "any")
    return labels


def _add_hub(space: Space, resource: StackResource, values: Values, release: str) -> None:
    if values.given is UNKNOWN:
        space.policies.append(Policy(resource, {}, selects=False, complete=False))
        labels = {"app": "jupyterhub", "component": "singleuser-server", "release": release}
        space.pods.append(Pods(resource, "users' pods", labels, users=True))
        return
    implied = hub_policy(values, release)
    if implied is not None:
        space.policies.append(known_policy(resource, implied))
    for which, given in user_labels(values, release):
        if given is UNKNOWN:
            space.policies.append(Policy(resource, {}, selects=False, complete=False))
        known = chart_labels(values, release) if given is UNKNOWN else given
        labels = {key: value for key, value in known.items() if isinstance(value, str)}
        space.pods.append(Pods(resource, f"users' pods{which}", labels, users=True))


def _add_profiles(spaces: Spaces, furnished: Sequence[Space], resource: StackResource, properties: Value) -> None:
    """Furnish the namespaces of the program's profiles, and one that stands for those to come."""
    settings = operator_settings.operator_settings(properties)
    if settings is UNKNOWN:
        for space in furnished:
            space.policies.append(Policy(resource, {}, selects=False, complete=False))
            space.is_open = True
    if settings is UNKNOWN or not settings:
        return
    to_come = spaces.found.setdefault(f"profiles of {resource.urn}", Space("of every profile", made=resource))
    to_come.pods.append(Pods(resource, "notebooks", NOTEBOOK_LABELS, users=True))
    for manifest in operator_settings.manifests(settings):
        for token, given in objects(token_of(manifest), manifest, whole=_WHOLE):
            if is_other_policy(token):
                _add_other(spaces, resource, token, given)
            for space in (to_come, *furnished):
                if token in _COUNTED:
                    _put(space, resource, token, given)


def known_policy(resource: StackResource, spec: Value) -> Policy:
    """A policy without the rules that are not known, or that Kubernetes would not take."""
    if spec is UNKNOWN or not isinstance(spec, dict):
        return Policy(resource, {}, selects=False, complete=False)
    given = as_mapping(spec)
    selector, listed = read(given, "podSelector"), read(given, "policyTypes")
    rules = {direction: read(given, direction.lower()) for direction in (INGRESS, EGRESS)}
    # Where it does not say its types, it is one for egress by having a rule for that.
    implied = listed in (None, []) and (rules[EGRESS] is UNKNOWN or isinstance(given, Partial))
    selects = not implied and not holds_unknown([selector, listed]) and _is_sound({"podSelector": selector}, INGRESS)
    kept: dict[str, Any] = {"podSelector": selector or {}}
    complete = True
    for direction, found in rules.items():
        whole: list[Value] = as_list(found)
        sound = [
            rule for rule in whole if not holds_unknown(rule) and _is_sound({direction.lower(): [rule]}, direction)
        ]
        complete = complete and len(sound) == len(whole)
        kept[direction.lower()] = sound
    if selects:
        kept["policyTypes"] = [str(name) for name in policy_types(given)]
    return Policy(resource, kept, selects, complete)


def _is_sound(spec: Mapping[str, Value], direction: str) -> bool:
    """Whether the evaluator can read a policy's part."""
    whole: dict[str, Value] = {"podSelector": {}, **spec, "policyTypes": [direction]}
    try:
        union = Union.of([whole], {"app": "x"}, "x", direction)
        for protocol in PROTOCOLS:
            union.segments(protocol)
            union.reaches_pod({}, "x", 1, protocol)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError):
        return False
    return True

"""Users' pods of a hub, as KubeSpawner makes them of the chart's values: no resource of the stack shows them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from policies.iam_documents import as_list
from policies.kubernetes.hub_values import CHART_NAME, Values, hub_values
from policies.reader import UNKNOWN, Partial, Value, as_mapping, holds_unknown, read

TRAITS: dict[str, str] = {
    "allow_privilege_escalation": "singleuser.allowPrivilegeEscalation",
    "cpu_limit": "singleuser.cpu.limit",
    "environment": "singleuser.extraEnv",
    "extra_containers": "singleuser.extraContainers",
    "extra_labels": "singleuser.extraLabels",
    "extra_pod_config": "singleuser.extraPodConfig",
    "extra_resource_limits": "singleuser.extraResource.limits",
    "init_containers": "singleuser.initContainers",
    "mem_limit": "singleuser.memory.limit",
    "service_account": "singleuser.serviceAccountName",
    "uid": "singleuser.uid",
    "volume_mounts": "singleuser.storage.extraVolumeMounts",
    "volumes": "singleuser.storage.extraVolumes",
}
"""KubeSpawner's traits and the chart's values that they come from."""

Traits = dict[str, Value]

FIELD_WORDS = {"api": "API", "fqdn": "FQDN", "io": "IO", "ipc": "IPC", "pid": "PID"}
"""Words that Kubernetes writes in capitals within a field's name."""


def chart_labels(values: Values, release: str) -> dict[str, str]:
    """Labels by which the chart's own policy selects users' pods; no setting of these pods takes their place."""
    name = values.get("nameOverride")
    app = str(name) if isinstance(name, str) and name else CHART_NAME
    return {"app": app, "component": "singleuser-server", "release": release}


def user_labels(values: Values, release: str) -> Iterator[tuple[str, Value]]:
    """Each kind of pod that users get, by what `user_pods` calls it, with its labels: `UNKNOWN` if one is not known."""
    for which, traits in user_pods(values):
        own = traits.get("extra_labels")
        unknown = own is UNKNOWN or isinstance(own, Partial) or holds_unknown(own)
        yield which, UNKNOWN if unknown else {**as_mapping(own), **chart_labels(values, release)}


def hub_pods(properties: Value) -> Iterator[tuple[str, Value]]:
    """Each kind of pod that a release's users get, with what it is: one, or one for each profile and each choice in it."""
    values = hub_values(properties)
    if values is None:
        return
    if values.given is UNKNOWN:
        yield "a user's pod", UNKNOWN
        return
    for which, traits in user_pods(values):
        yield f"a user's pod{which}", _pod(traits)


def user_pods(values: Values) -> Iterator[tuple[str, Traits]]:
    """KubeSpawner's traits of each kind of pod that users get, with words that tell it from the plain one, which has none."""
    traits = spawner_traits(values)
    yield "", traits
    profiles = traits.get("profile_list")
    for number, profile in enumerate([UNKNOWN] if profiles is UNKNOWN else as_list(profiles)):
        name = read(profile, "display_name")
        which = f" with the profile {name if isinstance(name, str) else number}"
        base = _overridden(traits, read(profile, "kubespawner_override"))
        yield which, base
        for option, choice, override in _choices(read(profile, "profile_options")):
            yield f"{which}, {option} {choice}", _overridden(base, override)


def spawner_traits(values: Values) -> Traits:
    """KubeSpawner's traits: the chart's, then what the hub's configuration and its code say of them."""
    traits: Traits = {name: values.get(path) for name, path in TRAITS.items()}
    traits["image"] = _image(values, "singleuser.image")
    traits["profile_list"] = values.get("singleuser.profileList")
    block = values.get("singleuser.cloudMetadata.blockWithIptables")
    if traits["init_containers"] is not UNKNOWN and block is not False:
        added = UNKNOWN if block is UNKNOWN else _metadata_block(values)
        traits["init_containers"] = [*as_list(traits["init_containers"]), added]
    for section in ("Spawner", "KubeSpawner"):
        given = read(values.given, "hub", "config", section)
        if given is UNKNOWN:
            return dict.fromkeys(traits, UNKNOWN)
        # The chart's own settings are KubeSpawner's, which win over those of the class above it.
        for key, value in as_mapping(given).items():
            if section == "KubeSpawner" or traits.get(key) is None:
                traits[key] = value
    for section, key, value in values.assignments():
        if section == "KubeSpawner" or (section == "Spawner" and traits.get(key) is None):
            traits[key] = value
    return traits


def _image(values: Values, path: str) -> Value:
    name, tag = values.get(f"{path}.name"), values.get(f"{path}.tag")
    if name is UNKNOWN or tag is UNKNOWN:
        return UNKNOWN
    return f"{name}:{tag}" if tag else name


def _metadata_block(values: Values) -> Value:
    """What the chart puts before users' containers to shut the metadata service with the packet filter."""
    return {
        "name": "block-cloud-metadata",
        "image": _image(values, "singleuser.networkTools.image"),
        "resources": values.get("singleuser.networkTools.resources"),
        "securityContext": {"privileged": True, "runAsUser": 0, "capabilities": {"add": ["NET_ADMIN"]}},
    }


def _choices(options: Value) -> Iterator[tuple[str, str, Value]]:
    if options is UNKNOWN:
        yield "an option", "that is not known", UNKNOWN
    for name, option in as_mapping(options).items():
        choices = read(option, "choices")
        if choices is UNKNOWN:
            yield name, "that is not known", UNKNOWN
        for key, choice in as_mapping(choices).items():
            yield name, key, read(choice, "kubespawner_override")
        free = read(option, "unlisted_choice")
        if free is UNKNOWN or (read(free, "enabled") not in (None, False)):
            # Whatever a user writes takes the place of the traits named.
            keys = as_mapping(read(free, "kubespawner_override"))
            yield name, "of the user's own", dict.fromkeys(keys, UNKNOWN) or {"image": UNKNOWN}


def _overridden(traits: Traits, override: Value) -> Traits:
    """What a profile makes of the traits: objects are merged, a null in one takes a key away, all else is replaced."""
    if override is UNKNOWN:
        return dict.fromkeys(traits, UNKNOWN)
    result = dict(traits)
    for key, value in as_mapping(override).items():
        old = result.get(key)
        both = isinstance(value, dict) and isinstance(old, dict)
        result[key] = _merged(as_mapping(old), as_mapping(value)) if both else value
    return result


def _merged(old: Mapping[str, Value], new: Mapping[str, Value]) -> dict[str, Value]:
    result = dict(old)
    for key, value in new.items():
        below = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(below, dict):
            result[key] = _merged(as_mapping(below), as_mapping(cast("Value", value)))
        else:
            result[key] = value
    return result


def _pod(traits: Traits) -> Value:
    """The pod that KubeSpawner makes (`kubespawner.objects.make_pod`, version 7)."""
    account = traits.get("service_account")
    token = traits.get("automount_service_account_token")
    spec: dict[str, Any] = {
        "automountServiceAccountToken": token if token is not None else None if account else False,
        "serviceAccountName": account,
        "securityContext": traits.get("pod_security_context"),
        "initContainers": _each_field(traits.get("init_containers")),
        "containers": _containers(traits),
        "volumes": _each_field(_listed(traits.get("volumes"))),
    }
    extra = _fields(traits.get("extra_pod_config"))
    if extra is UNKNOWN:
        return UNKNOWN
    return {"metadata": {"labels": traits.get("extra_labels")}, "spec": {**spec, **as_mapping(extra)}}


def _fields(given: Value) -> Value:
    """An object with its fields as Kubernetes writes them.

    KubeSpawner takes either form of the fields of a pod, container, volume or mount, `host_network` as `hostNetwork`,
    and passes on what lies in them as it is (`kubespawner.utils.get_k8s_model`, version 7).
    """
    if not isinstance(given, dict):
        return given
    fields = {_field(key): value for key, value in as_mapping(given).items()}
    return Partial(fields) if isinstance(given, Partial) else fields


def _field(name: str) -> str:
    return re.sub(r"_([a-z]+)", lambda word: FIELD_WORDS.get(word[1], word[1].capitalize()), name)


def _each_field(given: Value) -> Value:
    return [_fields(one) for one in cast("list[Value]", given)] if isinstance(given, list) else given


def _containers(traits: Traits) -> Value:
    extra = _fields(traits.get("extra_container_config"))
    others = _each_field(traits.get("extra_containers"))
    notebook: Value = UNKNOWN if extra is UNKNOWN else {**_notebook(traits), **as_mapping(extra)}
    return [notebook, *([UNKNOWN] if others is UNKNOWN else as_list(others))]


def _notebook(traits: Traits) -> dict[str, Any]:
    more = traits.get("extra_resource_limits")
    limits = {"cpu": traits.get("cpu_limit"), "memory": traits.get("mem_limit")}
    security: dict[str, Any] = {"runAsUser": traits.get("uid")}
    privileged = traits.get("privileged")
    if privileged is not None:
        security["privileged"] = privileged
    security["allowPrivilegeEscalation"] = traits.get("allow_privilege_escalation")
    own = traits.get("container_security_context")
    return {
        "name": "notebook",
        "image": traits.get("image"),
        "resources": {"limits": UNKNOWN if more is UNKNOWN else {**limits, **as_mapping(more)}},
        "env": _environment(traits.get("environment")),
        "volumeMounts": _each_field(_listed(traits.get("volume_mounts"))),
        "securityContext": UNKNOWN if own is UNKNOWN else {**security, **as_mapping(own)},
    }


def _environment(given: Value) -> Value:
    if given is UNKNOWN or isinstance(given, list):
        return cast("Value", given)
    return [
        {"name": key, **as_mapping(cast("Value", value))} if isinstance(value, dict) else {"name": key, "value": value}
        for key, value in as_mapping(given).items()
    ]


def _listed(given: Value) -> Value:
    """A list, given as one or as an object whose keys are not used."""
    if given is UNKNOWN:
        return UNKNOWN
    return list(as_mapping(given).values()) if isinstance(given, dict) else as_list(given)

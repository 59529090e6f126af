"""Users' pods of a hub, as KubeSpawner makes them of the chart's values: no resource of the stack shows them."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from policies.iam_documents import as_list
from policies.kubernetes.hub_values import CHART_NAME, Values, hub_values
from policies.reader import UNKNOWN, Value, as_mapping, read

TRAITS: dict[str, str] = {
    "allow_privilege_escalation": "singleuser.allowPrivilegeEscalation",
    "cpu_limit": "singleuser.cpu.limit",
    "environment": "singleuser.extraEnv",
    "extra_containers": "singleuser.extraContainers",
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


def user_labels(values: Values, release: str) -> dict[str, str]:
    """Labels of users' pods."""
    name = values.get("nameOverride")
    own = {
        key: value for key, value in as_mapping(values.get("singleuser.extraLabels")).items() if value is not UNKNOWN
    }
    app = str(name) if isinstance(name, str) and name else CHART_NAME
    return {**own, "app": app, "component": "singleuser-server", "release": release}


def hub_pods(properties: Value) -> Iterator[tuple[str, Value]]:
    """Each kind of pod that a release's users get, with what it is: one, or one for each profile and each choice in it."""
    values = hub_values(properties)
    if values is None:
        return
    if values.given is UNKNOWN:
        yield "a user's pod", UNKNOWN
        return
    traits = spawner_traits(values)
    yield "a user's pod", _pod(traits)
    profiles = traits.get("profile_list")
    for number, profile in enumerate([UNKNOWN] if profiles is UNKNOWN else as_list(profiles)):
        name = read(profile, "display_name")
        what = f"a user's pod with the profile {name if isinstance(name, str) else number}"
        base = _overridden(traits, read(profile, "kubespawner_override"))
        yield what, _pod(base)
        for option, choice, override in _choices(read(profile, "profile_options")):
            yield f"{what}, {option} {choice}", _pod(_overridden(base, override))


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
        "initContainers": traits.get("init_containers"),
        "containers": _containers(traits),
        "volumes": _listed(traits.get("volumes")),
    }
    extra = traits.get("extra_pod_config")
    if extra is UNKNOWN:
        return UNKNOWN
    return {"metadata": {"labels": traits.get("extra_labels")}, "spec": {**spec, **as_mapping(extra)}}


def _containers(traits: Traits) -> Value:
    extra = traits.get("extra_container_config")
    others = traits.get("extra_containers")
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
        "volumeMounts": _listed(traits.get("volume_mounts")),
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

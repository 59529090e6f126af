"""Write the schema of a pod into the definition of notebooks: `python -m toolchain.notebook_crd CORE > FILE`.

CORE is what an API server answers on `/openapi/v3/api/v1`: what its own pods may be. The result is
`runtime/notebook_operator/crds/notebooks.yaml`. A type that occurs more than once is written once and referred to by a
YAML alias; descriptions are left out, as `kubectl explain pod.spec` has them.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

REFERENCE = "#/components/schemas/"
POD_SPEC = "io.k8s.api.core.v1.PodSpec"

QUANTITY: dict[str, Any] = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
    "x-kubernetes-int-or-string": True,
}
TEXTS: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}
SPECIAL: dict[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": QUANTITY,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
    },
    # Of a claim that lives as long as its pod.
    "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "labels": TEXTS,
            "annotations": TEXTS,
            "finalizers": {"type": "array", "items": {"type": "string"}},
        },
    },
}
"""Types whose schema does not say in structural form what the API server takes."""

KEPT = ("type", "format", "required", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type")
"""What is taken over as it is; which words a field takes is left to the API server that makes the pod."""

UNKEYED = frozenset({"env"})
"""Lists that a pod may hold a key twice in, though they are declared as maps."""

NAME_RULES = [
    {
        "rule": "self.metadata.name.size() <= 52",
        "message": "the name may have at most 52 characters: the names of the notebook's pod and revisions are made of it",
    },
    {
        "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "message": "the name must be lower case letters, digits and hyphens, begin with a letter and not end with a hyphen: "
        "the notebook's Service takes it",
    },
]


class Schemas:
    """The types of an API, in structural form; the same type is the same object, however often it is asked for."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._declared: Mapping[str, Mapping[str, Any]] = document["components"]["schemas"]
        self.types: dict[str, dict[str, Any]] = {}

    def type(self, name: str) -> dict[str, Any]:
        """The type called `name`.

        Raises:
            KeyError: the API has no such type.
        """
        if name not in self.types:
            self.types[name] = SPECIAL.get(name) or self._structural(self._declared[name], name)
        return self.types[name]

    def _structural(self, declared: Mapping[str, Any], field: str) -> dict[str, Any]:
        references = [declared, *declared.get("allOf", [])]
        for reference in references:
            if "$ref" in reference:
                return self.type(reference["$ref"].removeprefix(REFERENCE))
        schema: dict[str, Any] = {key: declared[key] for key in KEPT if key in declared}
        if "properties" in declared:
            schema["properties"] = {key: self._structural(value, key) for key, value in declared["properties"].items()}
        for key in ("items", "additionalProperties"):
            if key in declared:
                schema[key] = self._structural(declared[key], key)
        keys: list[str] = schema.get("x-kubernetes-list-map-keys", [])
        if field in UNKEYED:
            del schema["x-kubernetes-list-type"], schema["x-kubernetes-list-map-keys"]
        elif keys:
            schema["items"] = self._keyed(declared["items"], schema["items"], keys)
        return schema

    def _keyed(self, declared: Mapping[str, Any], items: dict[str, Any], keys: list[str]) -> dict[str, Any]:
        """The items of a list that is a map: a key that may be left out needs its default."""
        optional = [key for key in keys if key not in items.get("required", [])]
        if not optional:
            return items
        reference = next(entry for entry in (declared, *declared.get("allOf", [])) if "$ref" in entry)
        properties = self._declared[reference["$ref"].removeprefix(REFERENCE)]["properties"]
        defaults = {key: {**items["properties"][key], "default": properties[key]["default"]} for key in optional}
        return {**items, "properties": {**items["properties"], **defaults}}


def pod_spec(schemas: Schemas) -> dict[str, Any]:
    """The schema of a notebook's pod: Kubernetes' own, at least one container with an image, and a time to live."""
    spec = schemas.type(POD_SPEC)
    containers: dict[str, Any] = spec["properties"]["containers"]
    item = {**containers["items"], "required": ["image", "name"]}
    lifetime = {
        "type": "integer",
        "format": "int64",
        "minimum": 1,
        "description": "Seconds without activity after which the notebook is stopped, if that is less than the platform's own limit.",
    }
    properties = {
        **spec["properties"],
        "containers": {**containers, "minItems": 1, "items": item},
        "ttlSecondsAfterFinished": lifetime,
    }
    return {**spec, "properties": dict(sorted(properties.items()))}


def status() -> dict[str, Any]:
    """The schema of a notebook's status: Kubeflow's, the generation that it is of, and the address."""
    text = {"type": "string"}
    moment = {"type": "string", "format": "date-time"}
    number = {"type": "integer", "format": "int32"}
    terminated = {"containerID": text, "exitCode": number, "finishedAt": moment, "message": text, "reason": text}
    return {
        "type": "object",
        "properties": {
            "conditions": conditions(),
            "containerState": {
                "type": "object",
                "description": "State of the container that is called as the notebook, else of the first.",
                "properties": {
                    "running": {"type": "object", "properties": {"startedAt": moment}},
                    "terminated": {
                        "type": "object",
                        "required": ["exitCode"],
                        "properties": {**terminated, "signal": number, "startedAt": moment},
                    },
                    "waiting": {"type": "object", "properties": {"message": text, "reason": text}},
                },
            },
            "observedGeneration": {
                "type": "integer",
                "format": "int64",
                "description": "Which state of the spec the status is of.",
            },
            "readyReplicas": {**number, "description": "1 while the notebook answers."},
            "url": {**text, "description": "Where a browser finds the notebook."},
        },
    }


def conditions() -> dict[str, Any]:
    """The schema of a list of conditions."""
    text = {"type": "string"}
    moment = {"type": "string", "format": "date-time"}
    return {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["type", "status"],
            "properties": {
                "type": text,
                "status": text,
                "reason": text,
                "message": text,
                "lastTransitionTime": moment,
                "lastProbeTime": moment,
            },
        },
    }


def definition(schemas: Schemas) -> dict[str, Any]:
    """The definition of notebooks."""
    template = {"type": "object", "required": ["spec"], "properties": {"spec": pod_spec(schemas)}}
    schema = {
        "openAPIV3Schema": {
            "type": "object",
            "description": "A notebook server: a pod with a home, behind an address of its own.",
            "required": ["spec"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                "spec": {"type": "object", "required": ["template"], "properties": {"template": template}},
                "status": status(),
            },
            "x-kubernetes-validations": NAME_RULES,
        }
    }
    columns = [
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Reason", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].reason'},
        {"name": "URL", "type": "string", "jsonPath": ".status.url"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    versions = [
        {
            "name": version,
            "served": True,
            "storage": version == "v1",
            "subresources": {"status": {}},
            "additionalPrinterColumns": columns,
            "schema": schema,
        }
        for version in ("v1", "v1beta1", "v1alpha1")
    ]
    names = {"kind": "Notebook", "listKind": "NotebookList", "plural": "notebooks", "singular": "notebook"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "notebooks.kubeflow.org"},
        "spec": {
            "group": "kubeflow.org",
            "scope": "Namespaced",
            "names": names,
            "conversion": {"strategy": "None"},
            "versions": versions,
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes scalars' siblings on one line, and short aliases instead of repeated types."""

    def ignore_aliases(self, data: Any) -> bool:
        """Repeat what is no longer than an alias would be worth."""
        return not isinstance(data, dict | list) or len(json.dumps(data)) < 60  # noqa: PLR2004


def write(definition_: dict[str, Any]) -> str:
    """The definition as YAML."""
    return yaml.dump(definition_, Dumper=_Dumper, sort_keys=False, width=118, default_flow_style=None)


def main() -> None:
    """Read the API's description from the file that is named and write the definition."""
    document = json.loads(Path(sys.argv[1]).read_text())
    sys.stdout.write("# Generated by toolchain/notebook_crd.py.\n" + write(definition(Schemas(document))))


if __name__ == "__main__":
    main()

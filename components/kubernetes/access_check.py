"""Whether a cluster answers and lets the deployer do what a stack needs, asked before anything is made.

The provider finds out too, but one object at a time, half-way through an update.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import httpx2
import pulumi
import yaml
from lightkube import Client, KubeConfig, SingleConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.models.authorization_v1 import ResourceAttributes, SelfSubjectAccessReviewSpec
from lightkube.resources.authorization_v1 import SelfSubjectAccessReview

from components.kubernetes.rights import Right, missing_rights

SECONDS_TO_ANSWER = 10.0


def find_configuration(settings: Mapping[str, str], environment: Mapping[str, str]) -> SingleConfig:
    """The cluster and the identity that the default provider would use.

    Args:
        settings: the stack's configuration below `kubernetes:`; `kubeconfig` (a path or its content), `context` and
            `cluster` count.
        environment: of the process; `KUBECONFIG` names files, the first with the context counts.

    Raises:
        ConfigError: there is none.
    """
    context = settings.get("context")
    given = settings.get("kubeconfig")
    if given and not Path(given).expanduser().is_file():
        files = [_written_out(given)]  # pyright: ignore[reportUnknownMemberType]
    else:
        listed = given or environment.get("KUBECONFIG") or "~/.kube/config"
        paths = [path for path in listed.split(os.pathsep) if path]
        files = [KubeConfig.from_file(path) for path in paths if Path(path).expanduser().is_file()]
        if not files and not given and "KUBERNETES_SERVICE_HOST" in environment:
            files = [KubeConfig.from_service_account()]
        if not files:
            raise ConfigError(f"there is no file {listed}; name one with KUBECONFIG or kubernetes:kubeconfig")
    usable = [file for file in files if (context or file.current_context) in file.contexts]
    if not usable:
        raise ConfigError(f"no context {context!r} in the kubeconfig" if context else "the kubeconfig has no context")
    chosen = usable[0].get(context)
    if chosen is None or chosen.user is None:
        raise ConfigError(f"context {context or usable[0].current_context!r} of the kubeconfig names no user")
    cluster = settings.get("cluster")
    if cluster and cluster not in usable[0].clusters:
        raise ConfigError(f"no cluster {cluster!r} in the kubeconfig")
    return chosen._replace(cluster=usable[0].clusters[cluster]) if cluster else chosen


def _written_out(text: str) -> KubeConfig:
    """The kubeconfig that the text is.

    Raises:
        ConfigError: it is none; only what looks like a path is repeated, for the text may hold a key.
    """
    shown = f", {text!r}" if text.startswith(("/", "~", ".")) and "\n" not in text else ""
    try:
        content = yaml.safe_load(text)
        return KubeConfig.from_dict(content)  # pyright: ignore[reportUnknownMemberType]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"kubernetes:kubeconfig{shown} is neither a file nor a file's content") from None


def cluster_mistakes(
    configuration: SingleConfig, needed: Sequence[Right], granted: Sequence[Right] = ()
) -> list[pulumi.InputPropertyErrorDetails]:
    """What of the cluster stands in the stack's way: it does not answer, it is too old, or rights are missing."""
    where = f"{configuration.cluster.server} (context {configuration.context_name})"

    def ask(client: Client, right: Right) -> bool:
        attributes = ResourceAttributes(
            group=right.group,
            resource=right.resource,
            verb=right.verb,
            subresource=right.subresource,
            namespace=right.namespace,
        )
        review = SelfSubjectAccessReview(spec=SelfSubjectAccessReviewSpec(resourceAttributes=attributes))
        status = client.create(review).status
        return status is not None and status.allowed

    try:
        client = Client(config=configuration, timeout=httpx2.Timeout(SECONDS_TO_ANSWER))
        missing = missing_rights(needed, granted, partial(ask, client))
    except ApiError as error:
        return [{"property_path": "kubernetes", "reason": f"{where} refuses to say what you may do: {error}"}]
    except (httpx2.HTTPError, ConfigError, OSError) as error:
        return [{"property_path": "kubernetes", "reason": f"no cluster answers at {where}: {error}"}]
    return [{"property_path": "kubernetes", "reason": f"at {where} you may not {right}"} for right in missing]


def stack_configuration() -> SingleConfig:
    """The cluster and the identity that the program's default provider uses.

    Raises:
        pulumi.RunError: there is none.
    """
    settings = pulumi.Config("kubernetes")
    named = {key: settings.get(key) for key in ("kubeconfig", "context", "cluster")}
    try:
        return find_configuration({key: value for key, value in named.items() if value}, os.environ)
    except ConfigError as error:
        raise pulumi.RunError(f"no cluster to deploy to: {error}") from None


def require_no_mistakes(what: str, mistakes: Sequence[str]) -> None:
    """Stop a program before it makes anything.

    Raises:
        pulumi.RunError: there are mistakes; the message has all of them.
    """
    if mistakes:
        lines = "\n".join(f"  - {mistake}" for mistake in mistakes)
        raise pulumi.RunError(f"the {what} cannot be deployed, for {len(mistakes)} reason(s):\n{lines}")

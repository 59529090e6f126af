"""Names, labels and annotations that users, the stack and the operator share."""

import hashlib
import json
import re
from typing import Any

STOPPED = "kubeflow-resource-stopped"
"""Annotation of a notebook: it is stopped while this is there, whatever the value; the operator writes the time."""
LAST_ACTIVITY = "notebooks.kubeflow.org/last-activity"
"""Annotation of a notebook: when somebody last used it, written when that has moved by much or when it is stopped."""
REWRITE_PATH = "notebooks.kubeflow.org/http-rewrite-uri"
"""Annotation of a notebook: path that its server gets instead of the notebook's own, for servers that want `/`."""
REQUEST_HEADERS = "notebooks.kubeflow.org/http-headers-request-set"
"""Annotation of a notebook: JSON object of headers that every request to its server carries."""

HOME_PATH = "notebookPVCMount"
"""Annotation of a notebook: where its home is mounted; empty for none. Default `/home/jovyan`."""
USER_ID = "notebookUid"
"""Annotation of a notebook: uid of its processes; `-1` is the default, 1000."""
GROUP_ID = "notebookGid"
"""Annotation of a notebook: group of its processes and files; `-1` is the default, 100 for files."""

OWN = "notebooks.hubstack.io/"
TIME_TO_LIVE = OWN + "ttl-seconds"
"""Annotation of a notebook: seconds without activity after which it is stopped; goes before the template's field."""
HOME_SIZE = OWN + "home-size"
"""Annotation of a notebook: size of the home that is made, such as `5Gi`; default from the settings."""
HOME_CLAIM = OWN + "home-claim"
"""Annotation of a notebook: claim that is its home instead of one that is made."""
DELETE_HOME = OWN + "delete-home"
"""Annotation of a notebook: `true` deletes the home that was made for it together with it."""
START = OWN + "start"
"""Annotation of a notebook: `jupyter` starts JupyterLab in its image, `image` what the image itself starts."""
CULLED = OWN + "culled"
"""Annotation of a notebook that the operator stopped: the value of `STOPPED`, and why."""
TEMPLATE = OWN + "template"
"""Annotation of a pod: digest of the template that it was made from."""
APPLIED = OWN + "applied"
"""Annotation of what the operator made: digest of what it asked for, by which it sees that it asks for less now."""
HOME_GATE = OWN + "home"
"""Scheduling gate of a pod whose home is not made yet: a scheduler that missed the claim would wait a second."""
REQUEST = OWN + "request"
"""Annotation of a notebook: uid of the request that it was made for."""
DELETE_NAMESPACE = OWN + "delete-namespace"
"""Annotation of a profile: `true` deletes its namespace, with all homes in it, together with it."""

OWNER = "owner"
"""Annotation of a profile's namespace: whose it is."""
PART_OF = "app.kubernetes.io/part-of"
PROFILE_PART = "kubeflow-profile"
MANAGED_BY = "app.kubernetes.io/managed-by"
OPERATOR = "notebook-operator"
NOTEBOOK_NAME = "notebook-name"
STATEFUL_SET = "statefulset"
STACK = "hubstack.stack"
ROLE = "hubstack.role"
NOTEBOOK_ROLE = "notebook"
HOME_ROLE = "home"
PROFILE_ROLE = "profile"

LONGEST_NAMESPACE = 63


def digest(value: Any) -> str:
    """Hash of a plain value, the same for equal ones."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def namespace_names(user: str) -> tuple[str, ...]:
    """Names that a user's namespace may take, best first.

    The user's own name if a namespace may have it as it is; else, and if it is taken, what is left of it, and a hash that
    no other user's name has.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", user.lower()).strip("-")
    unique = hashlib.sha256(user.encode()).hexdigest()
    plain = slug == user and len(slug) <= LONGEST_NAMESPACE and not slug.startswith("kube-") and slug != "default"
    shortened = slug[:40].strip("-") or "user"
    if shortened.startswith("kube-"):
        shortened = f"user-{shortened}"
    hashed = (f"{shortened}-{unique[:8]}", f"{shortened[:20].strip('-')}-{unique[:40]}")
    return (slug, *hashed) if plain else hashed

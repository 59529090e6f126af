"""Reads the engine's texts of the configuration, and says in a sentence each what is wrong with them."""

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, get_args

import pulumi
from pydantic import ValidationError

from components.settings.stack import StackSettings
from components.settings.strict import Strict

_SECRETS = frozenset({"password", "clientSecret"})
"""Keys that the stack file must hold encrypted."""

_TEXT = _SECRETS | {
    *(
        "topology",
        "engine",
        "advertiseAddress",
        "domain",
        "addressPool",
        "confirmDataLoss",
        "egressProfile",
        "hubImage",
        "notebookImage",
    ),
}
"""Keys whose value is text; the engine hands the others over as JSON."""

_OPTIONAL = _SECRETS | {"hubImage", "notebookImage"}
"""Keys whose empty default in `Pulumi.yaml` means that they are not set."""


def parse_settings(
    raw: Mapping[str, str], namespace: str = "hubstack", *, stack: str = "dev", secret_keys: Collection[str] = ()
) -> StackSettings:
    """Read the configuration as the engine hands it over: text, objects and numbers as JSON.

    Keys of other namespaces, such as `aws:region`, belong to their providers and are left alone.

    Args:
        raw: keys with their namespaces, and the values' text.
        namespace: the project's.
        stack: the stack's name, of which names in the cloud are made.
        secret_keys: those that the stack file holds encrypted; a password must be among them.

    Raises:
        pulumi.RunError: something is wrong; the message lists everything that is, without a stack trace.
    """
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    known = list(StackSettings.model_fields)
    for key, text in raw.items():
        space, _, name = key.partition(":")
        if space != namespace:
            continue
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {namespace}:{close[0]}?" if close else f"known keys: {', '.join(known)}"
            mistakes.append(f"{key}: there is no such key; {advice}")
            continue
        if name in _SECRETS and text and key not in secret_keys:
            mistakes.append(f"{key}: it stands in plain text; set it with: pulumi config set --secret {key}")
        if text or name not in _OPTIONAL:
            values[name] = _decoded(name, text)
    try:
        settings = StackSettings.model_validate(values)
    except ValidationError as error:
        mistakes += [_sentence(namespace, dict(detail)) for detail in error.errors(include_url=False)]
    else:
        for error in settings.mistakes(f"{namespace}-{stack}"):
            path, reason = error["property_path"], error["reason"]
            mistakes.append(f"the stack's name: {reason}" if path == "name" else f"{namespace}:{path}: {reason}")
        if not mistakes:
            return settings
    lines = "\n".join(f"  - {mistake}" for mistake in mistakes)
    raise pulumi.RunError(f"the stack's configuration has {len(mistakes)} mistake(s):\n{lines}")


def _decoded(name: str, text: str) -> object:
    if name in _TEXT:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _model_at(path: Sequence[str]) -> type[Strict]:
    """The model that a path of keys and positions in lists leads to."""
    model: type[Strict] = StackSettings
    for step in path:
        found = model.model_fields.get(step)
        # What a key holds may be left out or be a list: the model is somewhere in its type.
        parts: list[Any] = [found.annotation] if found else []
        while parts:
            part = parts.pop()
            if isinstance(part, type) and issubclass(part, Strict):
                model = part
            parts += get_args(part)
    return model


def _sentence(namespace: str, detail: Mapping[str, Any]) -> str:
    path = [str(part) for part in detail["loc"]]
    key = f"{namespace}:{path[0]}" + "".join(f".{part}" for part in path[1:])
    if detail["type"] == "extra_forbidden":
        known = list(_model_at(path[:-1]).model_fields)
        close = difflib.get_close_matches(path[-1], known, n=1)
        advice = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
        return f"{key}: there is no such key; {advice}"
    given = "" if path[0] in _SECRETS else f" (given: {str(detail.get('input'))[:60]!r})"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}{given}"

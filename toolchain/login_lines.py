"""What somebody who has just deployed a stack wants to read."""

from collections.abc import Mapping
from typing import Any


def login_lines(outputs: Mapping[str, Any]) -> list[str]:
    """Addresses and passwords among a stack's outputs, of which no topology has all."""
    lines = [str(outputs["url"])] if outputs.get("url") else []
    users = [f"users {', '.join(outputs['users'])}"] if outputs.get("users") else []
    password = [f"password {outputs['password']}"] if outputs.get("password") else []
    if users or password:
        lines.append("; ".join(users + password))
    if outputs.get("adminPassword"):
        lines.append(f"administrators' password {outputs['adminPassword']}")
    for key in ("contentLinks", "urls"):
        lines += [f"{name}: {address}" for name, address in sorted((outputs.get(key) or {}).items())]
    return lines

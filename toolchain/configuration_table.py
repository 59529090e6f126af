"""The README's table of configuration keys, from `Pulumi.yaml`: `python -m toolchain.configuration_table`."""

from pathlib import Path

import yaml

PULUMI_YAML = Path(__file__).parents[1] / "Pulumi.yaml"


def configuration_table() -> str:
    """The table in Markdown."""
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, entry in yaml.safe_load(PULUMI_YAML.read_text())["config"].items():
        default = entry["default"]
        shown = f"`{default}`" if default not in ("", [], {}) else ""
        rows.append(f"| `hubstack:{key}` | {entry['type']} | {shown} | {entry['description']} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(configuration_table())

"""Stack configuration, read and checked as a whole: every mistake is reported at once.

`Pulumi.yaml` declares each key with its type, default and description; the CLI accepts a mistyped key in silence and
does not look inside objects, so both are checked here.
"""

from components.settings.reading import parse_settings
from components.settings.stack import StackSettings, Topology

__all__ = ["StackSettings", "Topology", "parse_settings"]

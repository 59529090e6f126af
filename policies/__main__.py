"""The policy pack's entry point."""

import sys
from pathlib import Path

# The engine runs the pack's folder as a program; its modules import each other by the package's name.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pulumi_policy import PolicyPack

from policies.pack import POLICIES

PolicyPack(name="hubstack", policies=POLICIES)

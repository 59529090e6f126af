"""The Pulumi engine's host for Python programs, policy packs and plugins."""

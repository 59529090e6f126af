"""Installs the Pulumi CLI, its Python language host and the provider plugins, where downloads may be impossible."""

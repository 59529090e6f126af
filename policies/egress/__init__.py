"""Checks on what code that users run may reach."""

"""Checks on what users and the platform may use."""

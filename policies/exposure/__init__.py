"""Checks on what is handed to containers and to the outside."""

"""Sends each new visitor of a pool of temporary notebooks to a node with room; sessions then stay on that node."""

VERSION = "0.1.0"
"""What `/stats` tells of the redirector itself."""

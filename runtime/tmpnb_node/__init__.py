"""The service of one node of a tmpnb pool: it keeps notebook servers ready and hands one to each new visitor."""

VERSION = "0.1.0"
"""Version of the project that the service tells in its statistics."""

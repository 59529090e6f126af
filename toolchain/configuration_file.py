"""Keeping a stack's configuration file as its owner wrote it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ON_EC2 = re.compile(r"^\s+hubstack:ec2:", re.MULTILINE)
ON_KUBERNETES = re.compile(r"^\s+hubstack:topology: [\"']?(ephemeral|platform)\b", re.MULTILINE)
SALT = re.compile(r"^encryptionsalt: .*\n?", re.MULTILINE)
SECRET = re.compile(r"^\s+(- )?secure: ", re.MULTILINE)


def further_plugins(text: str) -> tuple[str, ...]:
    """What the stack with this configuration needs beside every stack's plugins."""
    needed = (("aws", ON_EC2), ("kubernetes", ON_KUBERNETES))
    return tuple(plugin for plugin, sign in needed if sign.search(text))


@contextmanager
def tidy_configuration(file: Path) -> Iterator[None]:
    """Take out the salt that the CLI writes into a stack's file, unless it was there before or a secret needs it.

    The salt belongs to one checkout's passphrase: committed by accident, it locks every other clone out. The state has
    its own copy, so nothing is lost with it.
    """
    salted = file.exists() and bool(SALT.search(file.read_text()))
    try:
        yield
    finally:
        text = file.read_text() if file.exists() else ""
        if not salted and SALT.search(text) and not SECRET.search(text):
            file.write_text(SALT.sub("", text))

"""References of images that mean the same tomorrow."""

import re

_REFERENCE = re.compile(
    r"(?P<name>([a-zA-Z0-9][a-zA-Z0-9.-]*(:\d+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)"
    r"(:(?P<tag>\w[\w.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def image_mistake(reference: str) -> str | None:
    """What is wrong with an image that nodes pull, or None: it has a digest, or a tag that does not move."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        return f"{reference!r} is no image; write it like registry.example.org/hubstack/operator:1.2"
    if match["digest"]:
        return None
    if not match["tag"]:
        return f"{reference} has no tag; name a version or a digest ({reference}:<version>)"
    if match["tag"] == "latest":
        return f"{reference} moves; name a version or a digest instead of latest"
    return None


def split_image(reference: str) -> tuple[str, str]:
    """Name and tag, which joined by a colon are the image again; a digest is the end of either.

    Raises:
        ValueError: the image has neither a tag nor a digest; `image_mistake` says so in words.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None or not (match["tag"] or match["digest"]):
        raise ValueError(f"{reference!r} has neither a tag nor a digest")
    if not match["digest"]:
        return match["name"], match["tag"]
    if match["tag"]:
        return match["name"], f"{match['tag']}@{match['digest']}"
    kind, _, digest = match["digest"].partition(":")
    return f"{match['name']}@{kind}", digest

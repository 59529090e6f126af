"""The images on a host's engine: those of earlier bundles go, or one update after another would fill the disk."""

from collections.abc import Iterable

import docker
from docker.errors import APIError


def remove_other_images(client: docker.APIClient, wanted: Iterable[str]) -> list[str]:
    """Remove the images that a host does not run, but for those that a container is of still; their names.

    Args:
        client: the host's engine, which nobody else has a use for.
        wanted: the images of what the host runs, by digest or id; all of them are there.

    Raises:
        APIError: the engine does not tell what it has.
    """
    kept = {client.inspect_image(image)["Id"] for image in wanted}
    removed: list[str] = []
    for image in client.images():
        if image["Id"] in kept:
            continue
        try:
            client.remove_image(image["Id"])
        except APIError:
            # In use: by a server that was there before the update and whose visitor has not gone.
            continue
        removed += image["RepoDigests"] or image["RepoTags"] or [image["Id"]]
    return removed

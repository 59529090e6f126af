"""Links that open a repository's content on a hub with nbgitpuller, in the form that its link generator calls JupyterHub's."""

from enum import Enum
from typing import NotRequired, TypedDict
from urllib.parse import quote, urlencode, urlparse

import pulumi


class NotebookApp(str, Enum):
    """What opens the content."""

    LAB = "lab"
    """JupyterLab."""
    NOTEBOOK = "notebook"
    """The classic notebook."""
    RSTUDIO = "rstudio"
    """RStudio, which opens no file."""


_FOLDERS = {NotebookApp.LAB: "lab/tree/", NotebookApp.NOTEBOOK: "tree/"}


class ContentLink(TypedDict):
    """A repository that people open by a link."""

    name: str
    """Key of the link among the outputs."""
    repository: str
    """Its https address, such as `https://github.com/example/course`."""
    branch: NotRequired[str]
    """Branch. Default: the repository's own."""
    path: NotRequired[str]
    """File or folder that is opened. Default: the repository's folder."""
    app: NotRequired[NotebookApp]
    """What opens it. Default `lab`."""


def git_pull_link(
    hub_url: str, repository: str, *, branch: str = "", path: str = "", app: NotebookApp = NotebookApp.LAB
) -> str:
    """The link that logs somebody in, starts a server, pulls `repository` and opens `path` in it.

    Args:
        hub_url: address of the hub, such as `https://hub.example.org`.
        repository: address of the repository.
        branch: branch; empty for the repository's own.
        path: file or folder within the repository; empty for all of it.
        app: what opens it.
    """
    query = {"repo": repository}
    if branch:
        query["branch"] = branch
    query["urlpath"] = _opened(repository, path, app)
    return f"{hub_url.rstrip('/')}/hub/user-redirect/git-pull?{urlencode(query, quote_via=quote, safe='')}"


def content_links(hub_url: str, links: list[ContentLink]) -> dict[str, str]:
    """The links by their names, in the order of these."""
    return {
        link["name"]: git_pull_link(
            hub_url,
            link["repository"],
            branch=link.get("branch", ""),
            path=link.get("path", ""),
            app=NotebookApp(link.get("app", NotebookApp.LAB)),
        )
        for link in sorted(links, key=lambda link: link["name"])
    }


def check_content_links(links: list[ContentLink], path: str = "contentLinks") -> list[pulumi.InputPropertyErrorDetails]:
    """Every mistake in the links, each with what is allowed."""
    errors: list[pulumi.InputPropertyErrorDetails] = []
    names = [link["name"] for link in links]
    for number, link in enumerate(links):

        def wrong(field: str, reason: str, number: int = number) -> None:
            errors.append({"property_path": f"{path}[{number}].{field}", "reason": reason})

        if names.index(link["name"]) != number:
            wrong("name", f"{link['name']} is the name of another link as well")
        address = urlparse(link["repository"])
        if address.scheme != "https" or not address.hostname or not address.path.strip("/"):
            wrong("repository", f"{link['repository']!r} is no https address of a repository")
        elif address.username or address.password:
            # Without the address: it would stand in a log with what is secret in it.
            wrong("repository", "it holds a password or a token, which everybody with the link would have")
        if ".." in link.get("path", "").split("/") or link.get("path", "").startswith("/"):
            wrong("path", f"{link.get('path')!r} leaves the repository")
        app = link.get("app", NotebookApp.LAB)
        known = [one.value for one in NotebookApp]
        if app not in known:
            wrong("app", f"{app!r} is not known; one of {', '.join(known)}")
        elif NotebookApp(app) is NotebookApp.RSTUDIO and link.get("path"):
            wrong("path", "RStudio opens no file; leave it out")
    return errors


def _opened(repository: str, path: str, app: NotebookApp) -> str:
    """What the server opens, relative to its address."""
    if app is NotebookApp.RSTUDIO:
        return "rstudio/"
    folder = urlparse(repository).path.rstrip("/").rpartition("/")[2].removesuffix(".git")
    return f"{_FOLDERS[app]}{folder}/{path.strip('/')}".rstrip("/")

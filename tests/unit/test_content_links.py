"""Links that open content with nbgitpuller."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.content_links import NotebookApp, check_content_links, content_links, git_pull_link

HUB = "https://try.example.org"
COURSE = "https://github.com/example/course.git"


def test_a_link_is_of_the_kind_jupyterhub_and_not_binder():
    link = git_pull_link(HUB, COURSE, branch="main", path="week 1/index.ipynb")

    assert link == (
        "https://try.example.org/hub/user-redirect/git-pull?repo=https%3A%2F%2Fgithub.com%2Fexample%2Fcourse.git"
        "&branch=main&urlpath=lab%2Ftree%2Fcourse%2Fweek%201%2Findex.ipynb"
    )


@pytest.mark.parametrize(
    ("app", "path", "opened"),
    [
        (NotebookApp.LAB, "", "lab/tree/course"),
        (NotebookApp.NOTEBOOK, "a.ipynb", "tree/course/a.ipynb"),
        (NotebookApp.RSTUDIO, "", "rstudio/"),
    ],
)
def test_the_app_of_choice_opens_it(app: NotebookApp, path: str, opened: str):
    query = parse_qs(urlsplit(git_pull_link(f"{HUB}/", COURSE, path=path, app=app)).query)

    assert query == {"repo": [COURSE], "urlpath": [opened]}


@given(st.text(min_size=1).filter(lambda text: text.strip("/") == text), st.text(min_size=1))
def test_whatever_a_path_and_branch_are_called_they_arrive_unchanged(path: str, branch: str):
    link = git_pull_link(HUB, COURSE, branch=branch, path=path)
    query = parse_qs(urlsplit(link).query, keep_blank_values=True, strict_parsing=True)

    assert link.isascii()
    assert query == {"repo": [COURSE], "branch": [branch], "urlpath": [f"lab/tree/course/{path}"]}


def test_links_go_by_their_names():
    links = content_links(
        HUB, [{"name": "b", "repository": COURSE}, {"name": "a", "repository": COURSE, "app": "rstudio"}]
    )  # pyright: ignore[reportArgumentType]

    assert list(links) == ["a", "b"]
    assert links["a"].endswith("urlpath=rstudio%2F")


@pytest.mark.parametrize(
    ("link", "path", "reason"),
    [
        ({"repository": "git@github.com:a/b"}, "repository", "no https address"),
        ({"repository": "https://github.com"}, "repository", "no https address"),
        ({"repository": "https://a:b@github.com/a/b"}, "repository", "password or a token"),
        ({"repository": COURSE, "path": "../x"}, "path", "leaves the repository"),
        ({"repository": COURSE, "path": "/etc"}, "path", "leaves the repository"),
        ({"repository": COURSE, "app": "vim"}, "app", "one of lab, notebook, rstudio"),
        ({"repository": COURSE, "app": "rstudio", "path": "x"}, "path", "opens no file"),
    ],
)
def test_a_link_that_leads_nowhere_is_refused(link: dict[str, str], path: str, reason: str):
    [error] = check_content_links([{"name": "x", **link}])  # pyright: ignore[reportArgumentType]

    assert error["property_path"] == f"contentLinks[0].{path}"
    assert reason in error["reason"]
    assert "a:b@" not in error["reason"]


def test_two_links_of_one_name_are_refused():
    [error] = check_content_links([{"name": "x", "repository": COURSE}, {"name": "x", "repository": COURSE}])

    assert error == {"property_path": "contentLinks[1].name", "reason": "x is the name of another link as well"}

"""An operator of notebooks beside a prepared cluster, once for all the modules here, and namespaces of a test's own."""

import random
from collections.abc import Iterator

import pytest

from tests.engine.cluster import Cluster
from tests.engine.notebook_operator.steps import wait_for_profile
from tests.engine.notebooks import Api, Operator, prepared, profile, running


@pytest.fixture(scope="package")
def api(cluster: Cluster) -> Iterator[Api]:
    """The API server, with what the operator needs; other packages' platforms bring the same, so that it goes before them."""
    found = Api(cluster.kubeconfig)
    with prepared(found):
        yield found


@pytest.fixture(scope="package")
def operator(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with running(api, tmp_path_factory.mktemp("operator")) as process:
        yield process


@pytest.fixture
def tenant(api: Api, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a profile, and of its namespace, that no other test has; both go afterwards."""
    name = f"operator-{random.randrange(16**8):08x}"
    yield name
    for thing in api.list("NotebookRequest"):
        if thing["metadata"]["name"].startswith(name):
            api.delete("NotebookRequest", "", thing["metadata"]["name"])
    api.delete("Profile", "", name)
    api.delete("Namespace", "", name)


@pytest.fixture
def home(api: Api, operator: Operator, tenant: str) -> str:
    """A namespace with a profile that is ready."""
    api.create(profile(tenant))
    wait_for_profile(api, tenant)
    return tenant

"""IAM documents as the checks read them, whoever wrote them."""

import json
from collections.abc import Iterator, Mapping
from typing import cast

from policies.reader import Value, as_mapping


def as_list(value: Value) -> list[Value]:
    """A field that holds one value or a list of them."""
    if value is None:
        return []
    return cast("list[Value]", value) if isinstance(value, list) else [value]


def statements(text: Value) -> Iterator[Mapping[str, Value]]:
    """Statements of a document in JSON; none if it is no document."""
    try:
        document = as_mapping(json.loads(str(text)))
    except ValueError:
        return
    yield from (as_mapping(statement) for statement in as_list(document.get("Statement")))

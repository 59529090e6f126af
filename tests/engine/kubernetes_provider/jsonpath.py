"""The part of kubectl's JSONPath that `pulumi.com/waitFor` needs: fields, indexes, `[*]` and `[?(@.a=="b")]`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

STEP = re.compile(
    r"""\.(?P<field>(?:[\w$-]|\\.)+)
      | \[['"](?P<quoted>[^'"]+)['"]\]
      | \[(?P<index>-?\d+)\]
      | (?P<all>\[\*\]|\.\*)
      | \[\?\(@(?P<path>[^=]+?)\s*==\s*(?P<value>[^)]+)\)\]""",
    re.VERBOSE,
)


def found(expression: str, data: Any) -> list[Any]:
    """The values that an expression such as `{.status.conditions[?(@.type=="Ready")].status}` selects.

    Raises:
        ValueError: the expression has something that is not supported.
    """
    text = expression.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    text = text if text.startswith((".", "[")) else f".{text}"
    values = [data]
    while text:
        step = STEP.match(text)
        if step is None:
            raise ValueError(f"the JSONPath {expression} cannot be read from {text!r} on")
        values = [result for value in values for result in _follow(step, value)]
        text = text[step.end() :]
    return values


def _follow(step: re.Match[str], value: Any) -> Iterator[Any]:
    part = step.groupdict()
    if part["index"] is not None:
        if isinstance(value, list) and -len(value) <= int(part["index"]) < len(value):
            yield value[int(part["index"])]
    elif part["all"]:
        yield from value if isinstance(value, list) else value.values() if isinstance(value, Mapping) else ()
    elif part["path"]:
        wanted = part["value"].strip("'\"")
        items = value if isinstance(value, list) else []
        yield from (item for item in items if wanted in map(as_text, found(part["path"], item)))
    else:
        key = part["quoted"] or re.sub(r"\\(.)", r"\1", part["field"])
        if isinstance(value, Mapping) and key in value:
            yield value[key]


def as_text(value: Any) -> str:
    """A value as kubectl compares it."""
    return str(value).lower() if isinstance(value, bool) else str(value)

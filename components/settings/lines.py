"""Lists that a stack's file may hold as text, a line for each."""

from collections.abc import Callable, Mapping, Sequence


def parse_lines(lines: object, parse: Callable[[Sequence[str]], Mapping[str, object]]) -> object:
    """Read lines, or a list of them, word by word; blank lines and `#` comments are skipped.

    Args:
        lines: the value of the key; what is no text and no list is returned as it is, for its model to refuse.
        parse: what the words of a line, at least one, stand for; it raises ValueError where they stand for nothing.

    Raises:
        ValueError: lines are wrong; each is named by its number.
    """
    if isinstance(lines, str):
        lines = lines.splitlines()
    if not isinstance(lines, list):
        return lines
    found: list[Mapping[str, object]] = []
    mistakes: list[str] = []
    for number, line in enumerate(lines, 1):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        words = str(line).split("#")[0].split()  # pyright: ignore[reportUnknownArgumentType]
        try:
            if words:
                found.append(parse(words))
        except ValueError as error:
            mistakes.append(f"line {number}: {error}")
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return found

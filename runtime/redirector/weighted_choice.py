"""Draws of positions in proportion to weights that change all the time."""

from collections.abc import Sequence


class WeightedChoice:
    """Whole weights by position, kept as a Fenwick tree: a draw and a change take steps like the logarithm of their number."""

    def __init__(self, weights: Sequence[int]) -> None:
        """Start with these weights, none of them below 0."""
        self._weights = list(weights)
        self._tree = [0, *weights]
        for position in range(1, len(self._tree)):
            above = position + (position & -position)
            if above < len(self._tree):
                self._tree[above] += self._tree[position]
        self._first_step = 1 << len(weights).bit_length() >> 1
        self.total = sum(weights)
        """All weights together."""

    def change(self, position: int, weight: int) -> None:
        """Give a position another weight, at least 0."""
        by = weight - self._weights[position]
        if by == 0:
            return
        self._weights[position] = weight
        self.total += by
        tree = self._tree
        position += 1
        while position < len(tree):
            tree[position] += by
            position += position & -position

    def at(self, point: int) -> int:
        """The position that owns a point, where each owns as many points as its weight.

        Args:
            point: 0 to `total` - 1; drawn evenly, it draws positions in proportion to their weights.
        """
        tree, position, step = self._tree, 0, self._first_step
        while step:
            ahead = position + step
            if ahead < len(tree) and tree[ahead] <= point:
                point -= tree[ahead]
                position = ahead
            step >>= 1
        return position

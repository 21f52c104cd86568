"""The process groups that a plan lays out."""

from __future__ import annotations


def wanted(plan: dict, rank: int) -> dict[str, tuple[int, ...]]:
    """The groups of a rank by the rule of `docs/conventions.md`: tensor ranks are neighbours, context
    ranks come next, then replicas and pipeline ranks or the other way round; experts are shared out
    over context ranks first, then over replicas."""
    own, inside = plan["parallelism"], plan["parallelism"]["training"]["mesh"] == "data-inside"
    sizes = [("t", own["tensor"]), ("c", own["context"])]
    outer = [("d", own["data"]), ("p", own["pipeline"])]
    strides, step = {}, 1
    for axis, size in sizes + (outer if inside else outer[::-1]):
        strides[axis] = (step, size)
        step *= size
    at = {axis: rank // stride % size for axis, (stride, size) in strides.items()}

    def along(*axes: str) -> list[int]:
        ranks = [rank - sum(at[axis] * strides[axis][0] for axis in axes)]
        for axis in axes:
            stride, size = strides[axis]
            ranks = [base + i * stride for i in range(size) for base in ranks]
        return ranks

    # Of all ranks with the same dense shards, context ranks first: so many neighbours.
    replicas = along("c", "d")
    first = replicas.index(rank) // own["expert"] * own["expert"]
    found = {
        "tensor": along("t"),
        "pipeline": along("p"),
        "data": along("d"),
        "context": along("c"),
        "expert": replicas[first : first + own["expert"]],
    }
    return {name: tuple(sorted(ranks)) for name, ranks in found.items()}

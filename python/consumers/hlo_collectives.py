"""Collectives of a compiled program of XLA, from its text: which, how many elements, over which groups,
how often."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
OP = re.compile(r"^\s*(?:ROOT )?%?[\w.-]+ = (?P<shape>.+?) (?P<kind>" + "|".join(KINDS) + r")(?:-start)?\(")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?(?P<name>[\w.-]+) \(.*\{$")
CALL = re.compile(r"(?:body|calls|to_apply|condition)=%?([\w.-]+)")
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclasses.dataclass(frozen=True)
class Collective:
    """One op; `times` is how often it runs."""

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    groups: frozenset[tuple[int, ...]]
    times: int

    @property
    def elements(self) -> int:
        """Of its result."""
        return sum(math.prod(shape) for shape in self.shapes)


def turned(sizes: list[int], order: list[int] | None = None) -> np.ndarray:
    """`[2,2]T(1,0)`: numbers in a box, its axes in another order."""
    numbers = np.arange(math.prod(sizes)).reshape(sizes)
    return numbers.transpose(order) if order else numbers


def ints(text: str | None) -> list[int]:
    return [int(n) for n in (text or "").split(",") if n]


def groups_of(line: str) -> frozenset[tuple[int, ...]]:
    """`{{0,1},{2,3}}`, `[2,2]<=[2,2]T(1,0)`, or `mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'b'}`: those
    along axes."""
    listed = re.search(r"(?:replica_groups|source_target_pairs)=\{(\{[\d,{}]*\})\}", line)
    if listed:
        return frozenset(tuple(sorted(ints(row))) for row in re.findall(r"\{([\d,]*)\}", listed[1]))
    box = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"
    made = re.search(r"replica_groups=\[([\d,]+)\]<=" + box, line)
    if made:
        rows = turned(ints(made[2]), ints(made[3])).reshape(ints(made[1]))
        return frozenset(tuple(sorted(row)) for row in rows.tolist())
    ids = rf"(?:, device_ids=\({box}\))?"
    named = re.search(r"replica_groups=mesh\[([^\]]*)\]" + ids + r" \{([^}]*)\}", line)
    if not named:
        raise ValueError(f"a collective without groups: {line.strip()[:200]}")
    axes = [part.split("=") for part in named[1].split(",")]
    sizes, along = [int(size) for _, size in axes], named[4].split(",")
    inside = [i for i, (axis, _) in enumerate(axes) if axis in along]
    if len(inside) != len(along):
        raise ValueError(f"a part of an axis: {named[0]}")
    numbers = turned(ints(named[2]) or sizes, ints(named[3])).reshape(sizes)
    numbers = np.moveaxis(numbers, inside, range(-len(inside), 0))
    rows = numbers.reshape(-1, math.prod(sizes[i] for i in inside))
    return frozenset(tuple(sorted(row)) for row in rows.tolist())


def collectives(text: str) -> list[Collective]:
    """All of a module; those in the body of a loop run once a trip."""
    lines: dict[str, list[str]] = {}
    name, entry = "", ""
    for line in text.splitlines():
        start = COMPUTATION.match(line)
        if start:
            name = start["name"]
            entry = name if line.startswith("ENTRY") else entry
        lines.setdefault(name, []).append(line)
    found: list[Collective] = []

    def walk(computation: str, times: int) -> None:
        for line in lines.get(computation, []):
            op = OP.match(line)
            if op:
                sizes = re.findall(r"[a-z]+\d*\[([\d,]*)\]", op["shape"])
                shapes = tuple(tuple(int(n) for n in size.split(",") if n) for size in sizes)
                found.append(Collective(op["kind"], shapes, groups_of(line), times))
            trips = TRIPS.search(line) if " while(" in line else None
            for called in CALL.findall(line):
                if not op:
                    walk(called, times * (int(trips[1]) if trips else 1))

    walk(entry, 1)
    return found

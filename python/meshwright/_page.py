"""A plan as one self-contained piece of HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Dict, Optional

from ._errors import MeshwrightError

if TYPE_CHECKING:
    from ._plan import Plan

#: Rows of a table before the rest is counted.
_MOST_ROWS = 64


def page(plan: "Plan") -> str:
    """Figures, the timeline, memory by device."""
    names = [(plan.document.get(part) or {}).get("name", "") for part in ("model", "cluster")]
    title = " on ".join(name for name in names if name) or str(plan.document.get("instance", "plan"))
    figures = [
        ("step time", _seconds(plan.step_time_s)),
        ("no plan is below", _seconds(plan.bound)),
        ("largest peak", _bytes(plan.peak_bytes)),
        ("by", plan.get("algorithm") or plan.document.get("algorithm", "")),
    ]
    cells = "".join(
        f"<td style='padding-right:2em'><small>{escape(name)}</small><br/><b>{escape(str(value))}</b></td>"
        for name, value in figures
        if value
    )
    return (
        f"<div style='font-family:sans-serif'><h3>{escape(title)}</h3><table><tr>{cells}</tr></table>"
        f"{_timeline(plan)}{_memory(plan)}</div>"
    )


def _timeline(plan: "Plan") -> str:
    from ._answers import export

    if "model" not in plan.made_for or "value_ns" in plan.document:
        return ""
    try:
        picture = export(plan, "svg")["files"]["svg"]
    except MeshwrightError as failed:
        return f"<p><small>no timeline: {escape(failed.message)}</small></p>"
    return f"<div style='overflow-x:auto'>{picture}</div>"


def _memory(plan: "Plan") -> str:
    rows = plan.memory()
    if not rows:
        return ""
    shown = "".join(_row(own) for own in rows[:_MOST_ROWS])
    rest = len(rows) - _MOST_ROWS
    more = f"<p><small>and {rest} more</small></p>" if rest > 0 else ""
    return f"<table><tr><th>memory</th><th></th><th></th></tr>{shown}</table>{more}"


def _row(own: Dict[str, Any]) -> str:
    limit = own["limit"]
    share = min(own["peak"] / limit, 1.0) if limit else 0.0
    bar = (
        "<div style='width:240px;height:8px;background:#e9e9e4'>"
        f"<div style='width:{240 * share:.0f}px;height:8px;background:#8fa3b8'></div></div>"
    )
    of = f"{_bytes(own['peak'])} of {_bytes(limit)}" if limit else _bytes(own["peak"])
    return f"<tr><td>{escape(own['name'])}</td><td>{bar if limit else ''}</td><td>{of}</td></tr>"


def _seconds(value: Optional[float]) -> str:
    if value is None:
        return ""
    units = [("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)]
    unit, scale = next(((unit, scale) for unit, scale in units if value >= scale), units[-1])
    return f"{value / scale:.4g} {unit}"


def _bytes(value: Optional[int]) -> str:
    if value is None:
        return ""
    units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
    unit, scale = next(((unit, scale) for unit, scale in units if value >= scale), ("B", 1))
    return f"{value / scale:.4g} {unit}"

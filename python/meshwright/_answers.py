"""The verbs."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping

from . import _native
from ._ask import Answer, OnEvent, ask, path_of
from ._errors import Interrupted, error, refused
from ._plan import Plan, of_path


def train(model: Any, *, on_event: OnEvent = None, **fields: Any) -> Plan:
    """Plans a training run of a model on a cluster: degrees, schedule, recomputation, sharding.

    `on_event` hears the request as it was understood, what is tried, every better plan and bound.
    Ctrl-C ends the search within a second and raises `Interrupted`, with the best plan so far as
    `plan`.
    """
    return plan(model, on_event=on_event, task="train", **fields)


def place(model: Any, *, on_event: OnEvent = None, **fields: Any) -> Plan:
    """Places the operators of a model on the devices of a cluster; otherwise as `train`."""
    return plan(model, on_event=on_event, task="place", **fields)


def infer(model: Any, *, on_event: OnEvent = None, **fields: Any) -> Plan:
    """Plans the inference of a model on a cluster; otherwise as `train`."""
    return plan(model, on_event=on_event, task="infer", **fields)


def solve(model: Any, *, on_event: OnEvent = None, **fields: Any) -> Plan:
    """Solves an instance whose file states all costs; otherwise as `train`."""
    return plan(model, on_event=on_event, task="solve", **fields)


def plan(model: Any, *, on_event: OnEvent = None, **fields: Any) -> Plan:
    """As `train`, `place`, `infer` or `solve`, whichever `task` names or the fields mean."""
    asked = {"model": model, **fields}
    try:
        return Plan(ask("plan", asked, on_event).document, asked)
    except Interrupted as stopped:
        if isinstance(stopped.plan, Answer):
            stopped.plan = Plan(stopped.plan.document, asked)
        raise


def simulate(plan: Any, model: Any = None, **fields: Any) -> Dict[str, Any]:
    """Replays a plan: times and memory."""
    return _of_plan("simulate", plan, model, fields)


def verify(plan: Any, model: Any = None, **fields: Any) -> Dict[str, Any]:
    """Checks a plan against every rule, and all that it states: `legal` says how that went."""
    return _of_plan("verify", plan, model, fields)


def explain(plan: Any, model: Any = None, **fields: Any) -> Dict[str, Any]:
    """Where the step goes; why an `op`, a `transfer` or a `device` is as it is."""
    return _of_plan("explain", plan, model, fields)


def compare(a: Any, b: Any, **fields: Any) -> Dict[str, Any]:
    """Two plans, a plan and how it ran (`Run.measure`), or the current setup (launchers' flags, a device map) and a plan."""
    return ask("compare", {"a": of_path(a), "b": of_path(b), **fields}).document


def support(model: Any, **fields: Any) -> Dict[str, Any]:
    """Which ops of a model have a cost rule."""
    return ask("support", {"model": model, **fields}).document


def algorithms() -> Dict[str, Any]:
    """The registry of algorithms."""
    return json.loads(_native.algorithms())


def export(
    plan: Any,
    target: str,
    model: Any = None,
    *,
    output: Any = None,
    to: Any = None,
    launcher: Any = None,
    force: bool = False,
    **fields: Any,
) -> Dict[str, Any]:
    """A plan in an executor's format, as `files` by name.

    `output` writes the one file; `to` a folder with all files that start the plan by `launcher`
    (torchrun, slurm or k8s). Neither replaces what exists without `force`.
    """
    if output is not None and to is not None:
        raise refused("two-outputs", "output is one file and to is a folder", "give one of them")
    if launcher is not None and to is None:
        raise refused("no-folder", "a launcher needs a folder", "name one with to=")
    starter = None if to is None else launcher or "torchrun"
    asked = _with_inputs(plan, model, {"target": target, "launcher": starter, **fields})
    answer = _legal(ask("export", asked))
    if output is not None:
        (text,) = answer.files.values()
        written(_native.write_file(path_of(output), text, bool(force)))
    if to is not None:
        written(_native.write_folder(path_of(to), list(answer.files.items()), bool(force)))
    kept = output if output is not None else to
    document = answer.document if kept is None else {**answer.document, "file": path_of(kept)}
    return {**document, "files": answer.files}


def written(refusal: Any) -> None:
    """Raises why a file could not be written, if it could not."""
    if refusal is not None:
        raise error(json.loads(refusal))


def _of_plan(verb: str, plan: Any, model: Any, fields: Mapping[str, Any]) -> Dict[str, Any]:
    answer = ask(verb, _with_inputs(plan, model, fields))
    # A verdict is what `verify` was asked for.
    return answer.document if verb == "verify" else _legal(answer).document


def _legal(answer: Answer) -> Answer:
    if answer.exit_code == 6:
        raise error({**answer.document, "exit_code": answer.exit_code})
    return answer


def _with_inputs(plan: Any, model: Any, fields: Mapping[str, Any]) -> Dict[str, Any]:
    """A plan of this process knows what it was made for."""
    made_for = plan.made_for if isinstance(plan, Plan) else {}
    stated = {name: value for name, value in fields.items() if value is not None}
    if model is not None:
        stated["model"] = model
    return {**made_for, "plan": of_path(plan), **stated}

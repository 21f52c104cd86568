"""Runs a sharding plan of an exported program on gloo processes and compares with the unsharded program.

    sharded_program.py MODEL.pt2 PLAN.json [--fp32] [--steps 3] [--lr X] [--check] [--all] [--autograd manual|dtensor] [--json OUT]

Each process walks the exported graph. Every tensor is a DTensor; before a node each input is redistributed to the
placement that the plan states for it, the aten op runs on the local parts, and its result is wrapped with the stated
output placement. Backward, `manual` (default): node by node in reverse; the gradient of each output is redistributed to
what the backward entry reads, the local op is differentiated by torch.autograd, and each input's gradient is wrapped with
the placement that the entry states. `dtensor`: one loss.backward() through DTensor.redistribute, to_local(grad_placements)
and from_local(grad_placements).
`--check` compares each value and each gradient with the unsharded program and names the first that differs.
Exit status: 0 equal, 1 different, 2 an op failed.
"""
import argparse
import collections
import json
import math
import os
import pathlib
import sys
import tempfile
import time

import torch
import torch.multiprocessing as mp

import sharded_ops as L
from sharded_process import work


# ---------------------------------------------------------------- unsharded

def reference(program, steps, lr, keep):
    """Losses of each step, gradients of the first, and (keep) values and gradients of all tensors of the first."""
    params = {n: program.sources[n].clone().requires_grad_() for n in program.parameters}
    losses, grads, values, value_grads = [], {}, {}, {}
    for step in range(steps):
        env = {**program.sources, **params}
        for op in program.ops:
            out = L.run_local(program, op, {program.name_of[i]: env[program.name_of[i]] for i in op.node.all_input_nodes},
                              {n: ("R",) for n in op.reads}, [("R",)] * len(op.outputs), L.Where([1], (0,), lambda v, n: v))
            # a cast that changes nothing gives the tensor itself: its gradient is kept apart
            out = [v.view_as(v) if isinstance(v, torch.Tensor) and any(v is env[n] for n in op.reads) else v for v in out]
            env.update(zip(op.outputs, out))
            if op.many:
                env[op.node.name] = out
            if step == 0 and keep:
                for o, v in zip(op.outputs, out):
                    if isinstance(v, torch.Tensor) and v.requires_grad and v.is_floating_point():
                        v.retain_grad()
        loss = program.loss(env[program.loss_of])
        for p in params.values():
            p.grad = None
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            if step == 0:
                grads = {n: p.grad.clone() if p.grad is not None else None for n, p in params.items()}
                if keep:
                    for n, v in env.items():
                        if isinstance(v, torch.Tensor):
                            values[n] = v.detach().clone()
                            if v.grad is not None:
                                value_grads[n] = v.grad.detach().clone()
            for p in params.values():
                if p.grad is not None:
                    p -= lr * p.grad
    return losses, grads, values, value_grads


def choose_rate(program):
    """A rate at which the first step lowers the loss by about a twentieth, by its first-order change."""
    losses, grads, _, _ = reference(program, 1, 0.0, False)
    square = sum(g.pow(2).sum().item() for g in grads.values() if g is not None)
    return 0.05 * abs(losses[0]) / max(square, 1e-30)


def said(p):
    """A placement of `redistributions`, a list or a string, as `show` writes it."""
    return p if isinstance(p, str) else ",".join(p)


def judge(model, plan_path, options):
    """Gives (status, lines, figures)."""
    lines = []
    t = time.time()
    program = L.Program(model, not options["fp32"])
    plan = L.Plan(plan_path, program)
    size = math.prod(plan.mesh)
    if options["lr"] is None:
        options = {**options, "lr": choose_rate(program)}
    with tempfile.TemporaryDirectory(prefix="judge-") as folder:
        losses, grads, values, value_grads = reference(program, options["steps"], options["lr"], options["check"])
        torch.save({"values": values, "value_grads": value_grads}, f"{folder}/reference.pt")
        context = mp.get_context("spawn")
        processes = [context.Process(target=work, args=(r, size, model, plan_path, options, folder)) for r in range(size)]
        for p in processes:
            p.start()
        while any(p.is_alive() for p in processes):
            time.sleep(0.1)
            if any(p.exitcode not in (None, 0) for p in processes):
                time.sleep(1.0)
                for p in processes:
                    if p.is_alive():
                        p.terminate()
        for p in processes:
            p.join()
        head = f"{pathlib.Path(model).name} with {plan_path} on {' x '.join(f'{a} {n}' for a, n in zip(plan.axes, plan.mesh))}, {'fp32' if options['fp32'] else 'fp64'}, {options['autograd']} backward"
        lines.append(head)
        failures = {r: open(f"{folder}/failed{r}").read() for r in range(size) if os.path.exists(f"{folder}/failed{r}")}
        if failures or any(not os.path.exists(f"{folder}/answer{r}.pt") for r in range(size)):
            # ranks whose partner died fail too: those that name an op with another cause first
            order = sorted(failures.items(), key=lambda kv: ("onnection" in kv[1] or "imed out" in kv[1], kv[0]))
            for n in plan.notes[:None if options["all"] else 20]:
                lines.append(f"  note: {n}")
            for r, text in order[:1] or [(None, "a process ended without a word")]:
                lines.append(f"  FAILED on rank {r}: {text}")
            return 2, lines, {"failed": True}
        answers = [torch.load(f"{folder}/answer{r}.pt") for r in range(size)]
    a = answers[0]
    bad = False
    for n in a["notes"][:None if options["all"] else 20]:
        lines.append(f"  note: {n}")
    if len(a["notes"]) > 20 and not options["all"]:
        lines.append(f"  note: ... {len(a['notes']) - 20} more (--all)")
    loss_error = max(abs(x - y) / max(abs(y), 1e-30) for b in answers for x, y in zip(b["losses"], losses))
    if any(math.isnan(x) for b in answers for x in b["losses"]):
        loss_error = math.inf
    largest = max(g.abs().max().item() for g in grads.values() if g is not None)
    errors = {}
    for n, g in grads.items():
        got = a["grads"].get(n)
        if g is None:
            if got is not None and got.abs().max() > 0:
                errors[n] = math.inf
            continue
        if got is None:
            errors[n] = 0.0 if g.abs().max() == 0 else math.inf
            continue
        scale = max(g.abs().max().item(), 1e-6 * largest)
        errors[n] = max(((b["grads"][n] - g).abs().max() / scale).nan_to_num(nan=math.inf).item() for b in answers)
    worst = max(errors.values())
    tolerance = 1e-5 if options["fp32"] else 1e-9
    bad = loss_error > tolerance or worst > (1e-4 if options["fp32"] else 1e-9)
    lines.append(f"  losses unsharded {' '.join(f'{x:.10g}' for x in losses)} (rate {options['lr']:.3g})")
    lines.append(f"  losses by plan   {' '.join(f'{x:.10g}' for x in a['losses'])}")
    lines.append(f"  greatest relative error: losses {loss_error:.3g}, gradients {worst:.3g} of {len(errors)} parameters{'  DIFFERENT' if bad else '  equal'}")
    wrong_ones = sorted(((e, n) for n, e in errors.items() if e > (1e-4 if options["fp32"] else 1e-9)), reverse=True)
    for e, n in wrong_ones[:None if options["all"] else 8]:
        lines.append(f"    gradient of {n}: {e:.3g}")
    if len(wrong_ones) > 8 and not options["all"]:
        lines.append(f"    ... and {len(wrong_ones) - 8} more")
    if options["check"]:
        lines.append(f"  checked each value and gradient: {len(a['mismatches'])} differ" + ("; the first:" if a["mismatches"] else ""))
        for m in a["mismatches"][:None if options["all"] else 3]:
            lines.append("    " + m)
    for k, v in a["adapted"].items():
        lines.append(f"  adapted: {k} ({len(v)} ops, {', '.join(v[:3])})")
    if not options["check"]:
        lines.append("  collectives of a rank in the first step (bytes: the larger of input and output of the call, floats at 4 bytes):")
        for k, (n, b) in sorted(a["totals"].items()):
            lines.append(f"    {k}: {n} calls, {b} bytes")
        planned = collections.defaultdict(lambda: [0, 0])
        for r in plan.redistributions:
            for c in r.get("collectives", []):
                t_ = planned[(c["operation"], c["axis"])]
                t_[0] += r.get("times", 1) or 1
                t_[1] += (r.get("bytes") or 0) * (r.get("times", 1) or 1)
        lines.append("  collectives by the plan (bytes: those of the redistribution, as stated):")
        for (o, x), (n, b) in sorted(planned.items()):
            lines.append(f"    {o} {x}: {n} times, {b} bytes")
        kinds = {"all_gather_into_tensor": "all-gather", "reduce_scatter_tensor": "reduce-scatter", "all_reduce": "all-reduce", "all_to_all_single": "all-to-all"}
        run = {(*k.split("|"), *((kinds.get(kind, kind), axis) for kind, axis, _ in v)) for k, v in a["by_tensor"].items()}
        plans = set()
        for r in plan.redistributions:
            plans.add((plan.first_name(r["tensor"]), said(r["from"]), said(r["to"]), *((c["operation"], c["axis"]) for c in r["collectives"])))
        lines.append(f"  redistributions with collectives: {len(run)} run, {len(plans)} planned, {len(run & plans)} the same by tensor, from, to and collectives{', ALL' if run == plans else ''}")
        for text, some in (("run, not planned", run - plans), ("planned, not run", plans - run)):
            for x in sorted(some)[:None if options["all"] else 6]:
                lines.append(f"    {text}: {x[0]}  {x[1]} -> {x[2]}: {', '.join(' '.join(c) for c in x[3:])}")
        if options["all"]:
            lines.append("  by tensor, as run:")
            for k, v in a["by_tensor"].items():
                lines.append(f"    {k.replace('|', '  ')}: " + ", ".join(f"{kind} {axis} {size}" for kind, axis, size in v))
            lines.append("  by tensor, as planned:")
            for r in plan.redistributions:
                lines.append(f"    {r.get('tensor')}  {r.get('from')}  {r.get('to')}: {r.get('collectives')} {r.get('bytes')} x {r.get('times')}")
    lines.append(f"  {time.time() - t:.1f} s")
    return (1 if bad else 0), lines, {"loss_error": loss_error, "gradient_error": worst, "losses": losses, "plan_losses": a["losses"], "totals": a["totals"],
                                      "by_tensor": a["by_tensor"], "notes": a["notes"], "errors": errors, "mismatches": a["mismatches"]}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("plans", nargs="+")
    p.add_argument("--fp32", action="store_true")
    p.add_argument("--steps", type=int, default=3)
    p.add_argument("--lr", type=float)
    p.add_argument("--check", action="store_true")
    p.add_argument("--all", action="store_true")
    p.add_argument("--trace", action="store_true", help="the Python stack of a failed op")
    p.add_argument("--autograd", choices=["manual", "dtensor"], default="manual")
    p.add_argument("--json")
    a = p.parse_args()
    torch.set_num_threads(1)
    if not a.fp32:
        torch.set_default_dtype(torch.float64)
    worst, document = 0, {}
    for plan in a.plans:
        status, lines, figures = judge(a.model, plan, vars(a))
        print("\n".join(lines), flush=True)
        worst = max(worst, status)
        document[plan] = {"status": status, **figures}
    if a.json:
        json.dump(document, open(a.json, "w"), indent=1, default=str)
    sys.exit(worst)


if __name__ == "__main__":
    main()

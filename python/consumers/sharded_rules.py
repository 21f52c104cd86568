"""Judges every rule of a plan on its own, in one process.

    sharded_rules.py MODEL.pt2 PLAN.json [PLAN.json ...] [--fp32] [--all] [--seed N]

For each op of a plan: its inputs are the whole values of the program, cut by the stated placements (a partial sum is
random summands); the op runs once per rank on its parts; what comes out is put together by the stated placement and
compared with the whole. The same for gradients: a random gradient of the outputs is cut by the placement that the
backward entry reads (else by the output's, R for P), and each gradient is put together by its stated placement.
"""
import argparse
import itertools
import sys
import time
import traceback

import torch

import sharded_ops as L


def sequence(placements, mesh):
    """Axes in an order in which they split what others have left."""
    rest = [axis for axis, p in enumerate(placements) if not L.is_split(p)]
    dims = sorted({p.dim for p in placements if L.is_split(p)})
    return [*rest, *(axis for d in dims for axis in L.order(placements, mesh, d))]


def put(at, axis, i):
    return (*at[:axis], i, *at[axis + 1:])


def pieces(value, placements, mesh, generator, spare=False):
    """coordinate -> part of `value`; P axes hold random summands."""
    parts = {(None,) * len(mesh): value}
    for axis in sequence(placements, mesh):
        p, n, after = placements[axis], mesh[axis], {}
        for at, v in parts.items():
            if p == "R":
                after[at] = v
            elif p == "P":
                if v.dtype == torch.bool:
                    raise ValueError("a partial sum of booleans")
                rest = v
                for i in range(n - 1):
                    if v.is_floating_point():
                        finite = torch.where(torch.isfinite(v), v, torch.zeros_like(v))
                        scale = finite.abs().max() if v.numel() else 1.0
                        x = torch.randn(v.shape, dtype=v.dtype, generator=generator) * (scale if scale > 0 else 1.0)
                    else:
                        x = torch.randint(-3, 4, v.shape, dtype=v.dtype, generator=generator)
                    after[put(at, axis, i)] = x
                    rest = rest - x
                after[put(at, axis, n - 1)] = rest
            else:
                for i in range(n):
                    start, length = L.part(v.shape[p.dim], n, i)
                    after[put(at, axis, i)] = v.narrow(p.dim, start, length)
        parts = after
    out = {}
    for at in itertools.product(*(range(n) for n in mesh)):
        out[at] = parts[tuple(None if p == "R" else i for p, i in zip(placements, at))]
    return out


def together(parts, placements, mesh, tolerance):
    """The whole from coordinate -> part, or raises ValueError."""
    for axis in reversed(sequence(placements, mesh)):
        p, n, after = placements[axis], mesh[axis], {}
        for at in {put(at, axis, None) for at in parts}:
            vs = [parts[put(at, axis, i)] for i in range(n)]
            if p == "R":
                for i, v in enumerate(vs[1:]):
                    w = L.wrong(v, vs[0], tolerance)
                    if w:
                        raise ValueError(f"R on axis {axis}, but rank {i + 1} and rank 0 differ: {w}")
                after[at] = vs[0]
            elif p == "P":
                if len({tuple(v.shape) for v in vs}) > 1:
                    raise ValueError(f"P on axis {axis}, but shapes differ")
                after[at] = sum(vs[1:], vs[0].to(torch.int64) if vs[0].dtype == torch.bool else vs[0])
            else:
                after[at] = torch.cat(vs, dim=p.dim)
        parts = after
    return parts[(None,) * len(mesh)]


class Judge:
    def __init__(self, path, double, seed):
        self.program = program = L.Program(path, double)
        self.tolerance = 1e-9 if double else 2e-5
        self.seed = seed
        with torch.no_grad():
            self.values = dict(program.sources)
            where = L.Where([1], (0,), lambda v, n: v)
            one = ("R",)
            for op in program.ops:
                vals = {program.name_of[i]: self.values[program.name_of[i]] for i in op.node.all_input_nodes}
                out = L.run_local(program, op, vals, {n: one for n in op.reads}, [one] * len(op.outputs), where)
                for n, v in zip(op.outputs, out):
                    self.values[n] = v
                if op.many:
                    self.values[op.node.name] = out
        # tensors that a gradient reaches
        self.moved = set(program.parameters)
        for op in program.ops:
            if set(op.reads) & self.moved:
                self.moved.update(o for o in op.outputs if isinstance(self.values[o], torch.Tensor) and self.values[o].is_floating_point())

    def total(self, local, name):
        t = self.values[name]
        ignore = self.ignore
        return (t != ignore).sum() if not t.is_floating_point() else torch.tensor(t.numel() // t.shape[1])

    def differs(self, parts, placement, mesh, whole):
        """How parts that are put together by a placement differ from the whole; nothing where they do not."""
        try:
            return L.wrong(together(parts, placement, mesh, self.tolerance), whole, self.tolerance)
        except (ValueError, RuntimeError) as x:
            return str(x)

    def op(self, plan, op, report):
        program, mesh = self.program, plan.mesh
        g = torch.Generator().manual_seed(self.seed)
        entry = plan.forward[op.node]
        ins = {n: plan.input_placement(op, n, plan.R) for n in op.reads}
        outs = [plan.output_placement(op, o) for o in op.outputs]
        python = {program.name_of[i]: self.values[program.name_of[i]] for i in op.node.all_input_nodes if program.name_of[i] not in program.meta}
        self.ignore = -100
        if "cross_entropy" in str(op.node.target):
            self.ignore = op.node.args[4] if len(op.node.args) > 4 else op.node.kwargs.get("ignore_index", -100)
        ranks = list(itertools.product(*(range(n) for n in mesh)))

        def local_run(parts, at, placements, out_placements):
            where = L.Where(mesh, at, self.total)
            out = L.run_local(program, op, {**{n: parts[n][at] for n in op.reads}, **python}, placements, out_placements, where)
            self.adapted |= where.adapted
            return out

        def text(names_placements):
            return ", ".join(f"{n} {self.shape(n)} {L.show(p)}" for n, p in names_placements)

        def claim():
            return f"{op.node.target}: {text(ins.items())} -> {text(zip(op.outputs, outs))}"

        self.adapted = set()
        # values that are equal (zeros, ones) would hide a wrong placement: each float is changed a little
        values = {n: self.shaken(self.values[n], g) for n in op.reads}
        one = tuple("R" for _ in mesh)
        with torch.no_grad():
            where = L.Where(mesh, ranks[0], lambda v, n: v)
            expected_out = L.run_local(program, op, {**values, **python}, {n: one for n in op.reads}, [one] * len(op.outputs), where)
        try:
            parts = {n: pieces(values[n], p, mesh, g) for n, p in ins.items()}
            with torch.no_grad():
                results = {at: local_run(parts, at, ins, outs) for at in ranks}
            for k, o in enumerate(op.outputs):
                if not isinstance(self.values[o], torch.Tensor):
                    continue
                if w := self.differs({at: r[k] for at, r in results.items()}, outs[k], mesh, expected_out[k]):
                    report("forward", entry.name, f"{o}: {w}", claim())
        except Exception as x:
            report("forward", entry.name, f"{type(x).__name__}: {str(x).splitlines()[0]}", claim())
        for a in self.adapted:
            self.all_adapted.setdefault(a, []).append(entry.name)

        # gradients
        needed = [n for n in op.reads if n in self.moved and op.node in program.live]
        stated = plan.backward_of(op)
        if not needed or not any(o in self.moved for o in op.outputs):
            return
        leaves = {n: values[n].detach().clone().requires_grad_(n in needed) for n in op.reads}
        where = L.Where(mesh, ranks[0], lambda v, n: v)
        one = tuple("R" for _ in mesh)
        out = L.run_local(program, op, {**leaves, **python}, {n: one for n in op.reads}, [one] * len(op.outputs), where)
        back = [(k, o) for k, (o, v) in enumerate(zip(op.outputs, out)) if isinstance(v, torch.Tensor) and v.requires_grad]
        if not back:
            return
        gy = {o: torch.randn(out[k].shape, dtype=out[k].dtype, generator=g) for k, o in back}
        expected = dict(zip(needed, torch.autograd.grad([out[k] for k, _ in back], [leaves[n] for n in needed], [gy[o] for _, o in back], allow_unused=True)))
        real = {n for n in needed if expected[n] is not None}
        named = set()
        for b, reads, grads, gives in stated:
            gives = {n: p for n in needed if (p := plan.lookup(gives, n)) is not None}
            named |= set(gives)
            if not gives:
                report("backward", b.name, f"no gradient of the op's inputs among its outputs {list(b.outputs)}", claim())
                continue
            gp = {o: plan.lookup(grads, o) or L.of_gradient(outs[k]) for k, o in back}
            lp = {n: plan.lookup(reads, n) or (ins[n] if not grads and not reads else None) for n in op.reads}
            for n in op.reads:
                if lp[n] is None:
                    # not read by this entry: as in the forward pass, unless that does not fit what it gives
                    lp[n] = ins[n]
                    if n in gives and L.of_gradient(gives[n]) != L.of_gradient(ins[n]):
                        lp[n] = tuple(i if g_ == "P" and i in ("R", "P") else L.of_gradient((g_,))[0] for g_, i in zip(gives[n], ins[n]))
            op_out = [L.of_gradient(gp[o]) if o in gp else outs[k] for k, o in enumerate(op.outputs)]
            differs = [n for n in op.reads if lp[n] != ins[n]]

            def claim_back():
                return (f"{op.node.target} backward: reads {text((n, p) for n, p in lp.items())}; " + text((f"{o}.grad", p) for o, p in gp.items())
                        + " -> " + text((f"{n}.grad", p) for n, p in gives.items()) + (f"; other than forward: {differs}" if differs else ""))
            try:
                parts = {n: pieces(values[n], p, mesh, g) for n, p in lp.items()}
                gparts = {o: pieces(gy[o], p, mesh, g) for o, p in gp.items()}
                got = {}
                for at in ranks:
                    local = {n: parts[n][at].detach().clone().requires_grad_(n in gives) for n in op.reads}
                    where = L.Where(mesh, at, self.total)
                    # shapes of views follow the placement of the gradient that comes in
                    outp = [gp[o] if o in gp else outs[k] for k, o in enumerate(op.outputs)]
                    if str(op.node.target) == "aten.linear.default":
                        gr = L.linear_gradients(program, op, local, gparts[op.outputs[0]][at], gives)
                        got[at] = dict(zip(gives, gr))
                        continue
                    o_ = L.run_local(program, op, {**local, **python}, lp, outp, where)
                    gr = torch.autograd.grad([o_[k] for k, _ in back], [local[n] for n in gives], [gparts[o][at] for _, o in back], allow_unused=True)
                    got[at] = {n: v if v is not None else torch.zeros_like(local[n]) for n, v in zip(gives, gr)}
                for n, p in gives.items():
                    reference = expected[n] if expected[n] is not None else torch.zeros_like(self.values[n])
                    if w := self.differs({at: got[at][n] for at in ranks}, p, mesh, reference):
                        report("backward", b.name, f"{n}.grad: {w}", claim_back())
            except Exception as x:
                report("backward", b.name, f"{type(x).__name__}: {str(x).splitlines()[0]}", claim_back())
        missing = real - named
        if missing:
            report("backward", entry.name, f"no placement stated of the gradients of {sorted(missing)}", claim())

    def shaken(self, v, g):
        if not v.is_floating_point() or v.numel() == 0:
            return v
        noise = torch.rand(v.shape, dtype=v.dtype, generator=g)
        constant = bool((v == v.reshape(-1)[0]).all()) and bool(torch.isfinite(v).all())
        return v * (1 + 0.1 * noise) + (0.1 * noise if constant else 0.0)

    def shape(self, n):
        n = n.removesuffix(".grad")
        return str(list(self.program.meta[n][0])) if n in self.program.meta else "?"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("plans", nargs="+")
    p.add_argument("--fp32", action="store_true")
    p.add_argument("--all", action="store_true", help="print each wrong op, not only one of each kind")
    p.add_argument("--seed", type=int, default=11)
    a = p.parse_args()
    torch.set_num_threads(1)
    if not a.fp32:
        torch.set_default_dtype(torch.float64)
    torch.manual_seed(a.seed)
    judge = Judge(a.model, not a.fp32, a.seed)
    bad = 0
    for path in a.plans:
        t = time.time()
        plan = L.Plan(path, judge.program)
        judge.all_adapted = {}
        found, kinds, counts = [], {}, {"forward": 0, "backward": 0}
        print(f"== {path}: mesh {' x '.join(f'{x} {n}' for x, n in zip(plan.axes, plan.mesh))}; {len(plan.forward)} ops with placements of {len(judge.program.ops)} calls, "
              f"{sum(map(len, plan.backward.values()))} backward entries")
        for n in plan.notes[:None if a.all else 20]:
            print("  note:", n)
        if len(plan.notes) > 20 and not a.all:
            print(f"  note: ... {len(plan.notes) - 20} more (--all)")

        def report(which, name, what, claim):
            counts[which] += 1
            key = (which, claim.split(":")[0], what.split(": ", 1)[-1][:24], tuple(x for x in claim.split() if x.startswith(("R", "P", "S(", "_S("))))
            kinds.setdefault(key, []).append(name)
            if a.all or len(kinds[key]) == 1:
                print(f"  WRONG {which} {name}: {what}\n        {claim}")

        for op in judge.program.ops:
            if op.node in plan.forward:
                judge.op(plan, op, report)
        unlisted = [op.node.name for op in judge.program.ops if op.node not in plan.forward]
        if unlisted:
            print(f"  not in the plan: {len(unlisted)} calls, {', '.join(unlisted[:12])}{' ...' if len(unlisted) > 12 else ''}")
        for what, names in judge.all_adapted.items():
            print(f"  adapted: {what} ({len(names)} ops, {', '.join(names[:4])})")
        print(f"  {counts['forward']} wrong forward, {counts['backward']} wrong backward, of {len(kinds)} kinds; {time.time() - t:.1f} s")
        bad += sum(counts.values())
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

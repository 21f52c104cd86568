"""One gloo process of `sharded_program.py`: walks an exported graph on DTensors as a plan states, and counts
collectives."""
import collections
import logging
import os
import traceback
import warnings

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as funcol
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard
from torch.utils._python_dispatch import TorchDispatchMode

import sharded_ops as L

warnings.filterwarnings("ignore")
logging.getLogger("torch.distributed.tensor").setLevel(logging.ERROR)


# ---------------------------------------------------------------- counting

class Counter(TorchDispatchMode):
    """Counts functional collectives by kind, axis and bytes (elements at the size they have in the file)."""

    def __init__(self, axis_of, shrink):
        super().__init__()
        self.axis_of, self.shrink = axis_of, shrink
        self.totals = collections.defaultdict(lambda: [0, 0])
        self.current = None
        self.by_tensor = collections.defaultdict(list)
        self.on = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func._schema.name
        if self.on and name.startswith(("_c10d_functional::", "c10d_functional::", "_dtensor::")) and "wait" not in name and "wrap_tensor" not in name:
            kind = name.split("::")[1]
            axis = next((self.axis_of[a] for a in [*args, *(kwargs or {}).values()] if isinstance(a, str) and a in self.axis_of), "?")
            x, y = args[0], out
            size = max(x.numel(), y.numel() if isinstance(y, torch.Tensor) else 0) * x.element_size()
            if x.dtype == torch.float64 and self.shrink:
                size //= 2
            t = self.totals[(kind, axis)]
            t[0] += 1
            t[1] += size
            if self.current is not None:
                self.by_tensor[self.current].append((kind, axis, size))
        return out


# ---------------------------------------------------------------- one process

class Failed(Exception):
    pass


class Keep(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, keep):
        return x.clone() if keep else torch.zeros_like(x)

    @staticmethod
    def backward(ctx, g):
        return g, None


class Runner:
    def __init__(self, program, plan, rank, options, reference_values):
        self.program, self.plan, self.rank, self.options = program, plan, rank, options
        names = plan.axes
        self.mesh = init_device_mesh("cpu", tuple(plan.mesh), mesh_dim_names=tuple(names))
        self.at = tuple(self.mesh.get_coordinate())
        axis_of = {self.mesh.get_group(i).group_name: a for i, a in enumerate(names)}
        self.counter = Counter(axis_of, program.double)
        self.planned = {}
        for r in plan.redistributions:
            steps = [(names.index(c["axis"]), c["operation"]) for c in r["collectives"]]
            self.planned[plan.first_name(r["tensor"]), L.parse_placements(r["from"]), L.parse_placements(r["to"])] = steps
        self.values, self.grads = reference_values
        self.mismatches, self.notes = [], []
        self.R = plan.R
        self.adapted = collections.defaultdict(set)

    # placements
    def torch_placements(self, p):
        def one(x):
            return Replicate() if x == "R" else Partial() if x == "P" else Shard(x.dim) if x.before == 1 else _StridedShard(x.dim, split_factor=x.before)
        return tuple(map(one, p))

    def strings(self, d):
        return tuple("R" if p.is_replicate() else "P" if p.is_partial() else L.Split(p.dim, getattr(p, "split_factor", 1)) for p in d.placements)

    def wrap(self, local, p, shape, grad=None):
        expected = L.local_shape(shape, p, self.plan.mesh, self.at)
        if list(local.shape) != expected:
            raise Failed(f"the local result is {list(local.shape)}, by its placement {L.show(p)} of {list(shape)} it is {expected}")
        stride = torch.empty(shape, device="meta").stride()
        return DTensor.from_local(local.contiguous(), self.mesh, self.torch_placements(p), run_check=False, shape=torch.Size(shape), stride=stride,
                                  **({"grad_placements": self.torch_placements(grad)} if grad is not None else {}))

    def move(self, d, p, what):
        now = self.strings(d)
        if now == p:
            return d
        self.counter.current = (what, L.show(now), L.show(p))
        try:
            dtype = d.dtype
            # DTensor refuses R -> P: the first rank of the axis keeps the value, the others have nought
            fresh = [a for a, (x, y) in enumerate(zip(now, p)) if y == "P" and x != "P"]
            if fresh:
                between = tuple("R" if a in fresh else x for a, x in enumerate(p))
                d = self.move(d, between, what)
                local = Keep.apply(d.to_local(grad_placements=self.torch_placements(L.of_gradient(between))), all(self.at[a] == 0 for a in fresh))
                return self.wrap(local, p, d.shape, L.of_gradient(p))
            # gloo has no booleans, and R -> P divides: whole numbers go as doubles
            if dtype == torch.bool:
                d = d.to(torch.uint8)
            if not dtype.is_floating_point and any(x == "P" for x in (*p, *now)):
                d = d.to(torch.float64)
            found = self.steps(d, p, what) if self.options["autograd"] == "manual" else None
            if found is None:
                found = d.redistribute(placements=self.torch_placements(p))
            return found if found.dtype == dtype else found.to(dtype)
        finally:
            self.counter.current = None

    def uncounted(self, d, p):
        on, self.counter.on = self.counter.on, False
        try:
            return self.move(d, p, None)
        finally:
            self.counter.on = on

    def steps(self, d, p, what):
        """Without autograd, by the collectives that the plan lists for this tensor."""
        now, shape = self.strings(d), tuple(d.shape)
        way = L.ways(shape, self.plan.mesh, now, p, self.planned[what, now, p]) if (what, now, p) in self.planned else None
        way = way or L.ways(shape, self.plan.mesh, now, p, None)
        if way is None:
            return None
        local = d.to_local().detach()
        for axis, operation, after in way:
            group, n = self.mesh.get_group(axis), self.plan.mesh[axis]
            source, target = (x.dim if L.is_split(x) else None for x in (now[axis], after[axis]))
            if operation is None:
                local = local.chunk(n, target)[self.at[axis]]
            elif operation == "all-reduce":
                local = funcol.all_reduce(local.contiguous(), "sum", group)
            elif operation == "all-gather":
                local = funcol.all_gather_single(local.contiguous(), source, group)
            elif operation == "reduce-scatter":
                local = funcol.reduce_scatter_single(local.contiguous(), "sum", target, group)
            else:
                local = funcol.all_to_all_single(torch.cat(local.chunk(n, target)), None, None, group)
                local = torch.cat(funcol.wait_tensor(local).chunk(n), source)
            local, now = funcol.wait_tensor(local) if operation else local, after
        return self.wrap(local, p, shape)

    def saved(self, name):
        """What the backward pass keeps of a tensor, as the plan makes it."""
        entry = self.plan.stored.get(name)
        if entry is None:
            return self.env[name]
        if name not in self.kept:
            (of, q), = entry.inputs.items()
            if of.endswith(".stored"):
                of, op = of.removesuffix(".stored"), next(op for op in self.program.ops if name in op.outputs)
                p = entry.outputs[f"{name}.stored"]
                values = {self.program.name_of[i]: self.env[self.program.name_of[i]] for i in op.node.all_input_nodes if self.program.name_of[i] not in op.reads}
                values.update({n: torch.zeros(0) for n in op.reads}, **{of: self.read_saved(of, q).to_local()})
                found = L.run_local(self.program, op, values, {of: q}, [p] * len(op.outputs), self.where(op))
                self.kept[name] = self.wrap(found[op.outputs.index(name)], p, self.program.meta[name][0])
            else:
                if (of, q) not in self.cache:
                    self.cache[of, q] = self.move(self.env[of], q, of)
                self.kept[name] = self.cache[of, q]
        return self.kept[name]

    def read_saved(self, name, p):
        name = self.plan.root.get(name, name)
        if (name, p) not in self.kept:
            self.kept[name, p] = self.move(self.saved(name), p, f"{name}.stored")
        return self.kept[name, p]

    def total(self, op, placed=None):
        def total(count, name):
            count = count.clone()
            for axis, p in enumerate((placed or {}).get(name) or self.plan.input_placement(op, name, self.R)):
                if L.is_split(p):
                    dist.all_reduce(count, group=self.mesh.get_group(axis))
            return count
        return total

    def where(self, op, placed=None):
        return L.Where(self.plan.mesh, self.at, self.total(op, placed))

    def fail(self, op, which, x, ins, outs):
        shapes = ", ".join(f"{n} {list(self.program.meta[n][0])} {L.show(p)}" for n, p in ins.items())
        text = x if isinstance(x, str) else f"{type(x).__name__}: {str(x).splitlines()[0] if str(x) else ''}"
        given = ", ".join(f"{o} {list(self.program.meta[o][0]) if o in self.program.meta else ''} {L.show(p)}" for o, p in outs)
        return f"{which} of {op.outputs[0]} ({op.node.target}): {text}\n      claimed: {shapes} -> {given}"

    def compare(self, which, op, name, d, expected, ins, outs):
        whole = self.move(d, self.R, None).to_local()
        w = L.wrong(whole.detach(), expected, 1e-8 if self.program.double else 1e-4)
        if w:
            self.mismatches.append(self.fail(op, which, f"{name} {w}", ins, outs))

    # one step
    def start(self):
        self.rest = {}
        for n, v in self.program.sources.items():
            if not isinstance(v, torch.Tensor):
                continue
            p = self.plan.rest.get(n, self.R)
            self.rest[n] = self.wrap(L.cut(v, p, self.plan.mesh, self.at).clone(), p, v.shape)

    def forward(self, check):
        program, plan = self.program, self.plan
        manual = self.options["autograd"] == "manual"
        env, self.tape, self.cache, self.kept = {}, [], {}, {}
        self.wants = set(program.parameters)
        for n, v in program.sources.items():
            env[n] = self.rest.get(n, v)
        for op in program.ops:
            listed = op.node in plan.forward
            if not listed and op.node not in program.live:
                continue
            follow = not listed and L.is_identity(op.node)
            ins = {}
            for n in op.reads:
                ins[n] = plan.input_placement(op, n, self.R) if not follow else self.strings(env[n])
            outs = [plan.output_placement(op, o) for o in op.outputs] if not follow else [ins[op.reads[0]]]
            pairs = list(zip(op.outputs, outs))
            try:
                gives = {}
                if not manual:
                    for _, _, _, g in plan.backward_of(op):
                        gives.update({n: p for n in op.reads if (p := plan.lookup(g, n)) is not None})
                    if not plan.backward_of(op):
                        gives = {n: L.of_gradient(ins[n]) if follow else self.R for n in op.reads}
                local = {}
                for i in op.node.all_input_nodes:
                    n = program.name_of[i]
                    if n not in ins:
                        local[n] = env[n]
                        continue
                    key = (n, ins[n])
                    if key not in self.cache:
                        self.cache[key] = self.move(env[n], ins[n], n)
                    d = self.cache[key]
                    if manual:
                        local[n] = d.to_local().detach().requires_grad_(n in self.wants)
                    elif n in gives:
                        local[n] = d.to_local(grad_placements=self.torch_placements(gives[n]))
                    else:
                        local[n] = d.to_local().detach()
                where = self.where(op)
                on, self.counter.on = self.counter.on, False  # an op's own work is no collective of the plan
                results = L.run_local(program, op, local, ins, outs, where)
                self.counter.on = on
                for a in where.adapted:
                    self.adapted[a].add(op.outputs[0])
                reads = {}
                if not manual:
                    for _, _, grads, _ in plan.backward_of(op):
                        reads.update(grads)
                for (o, p), v in zip(pairs, results):
                    if not isinstance(v, torch.Tensor):
                        env[o] = v
                        continue
                    if v.requires_grad:
                        self.wants.add(o)
                    if manual:
                        env[o] = self.wrap(v.detach(), p, program.meta[o][0])
                    else:
                        gp = plan.lookup(reads, o) or L.of_gradient(p)
                        env[o] = self.wrap(v, p, program.meta[o][0], gp)
                if op.many:
                    env[op.node.name] = results
                if manual and any(isinstance(v, torch.Tensor) and v.requires_grad for v in results):
                    self.tape.append((op, ins, outs, local, results))
            except Exception as x:
                raise Failed(self.fail(op, "forward", x, ins, pairs)) from x
            if check:
                for o, p in pairs:
                    if isinstance(env[o], DTensor):
                        self.compare("forward", op, o, env[o], self.values[o], ins, pairs)
        self.env = env
        return self.move(env[program.loss_of], self.R, "loss") if not manual else self.uncounted(env[program.loss_of], self.R)

    def gather(self, given, p, what):
        """The sum of contributions (by name, or without one), in placement p: summed as the plan says, else equal placements
        first."""
        if (what, p) in self.arrived:
            return self.arrived[what, p]
        if what not in self.summed:
            self.summed[what] = self.sum(given, what)
        last, parts = self.summed[what]
        sums = {}
        for d in parts:
            k = self.strings(d)
            sums[k] = self.wrap(sums[k].to_local() + d.to_local(), k, d.shape) if k in sums else d
        total = None
        for k, d in sums.items():
            d = self.move(d, p, last)
            total = d if total is None else self.wrap(total.to_local() + d.to_local(), p, d.shape)
        self.arrived[what, p] = total
        return total

    def sum(self, given, what):
        """The name of the last sum, and what is left to add up."""
        known, parts = {name: d for name, d in given if name}, [d for name, d in given if not name]
        last = next(iter(known), what)
        for e in self.plan.sums.get(what.removesuffix(".grad"), ()):
            (last, q), = e.outputs.items()
            read = [self.move(known.pop(n), of, n) for n, of in e.inputs.items() if n in known]
            if read:
                known[last] = self.wrap(sum(d.to_local() for d in read), q, read[0].shape)
        return last, [*known.values(), *parts]

    def backward(self, loss_whole, check):
        program, plan = self.program, self.plan
        contributions = collections.defaultdict(list)
        self.arrived, self.summed = {}, {}
        x = loss_whole.to_local().detach().requires_grad_()
        g, = torch.autograd.grad(program.loss(x), x)
        contributions[program.loss_of].append((f"{program.loss_of}.grad", self.wrap(g, self.R, g.shape)))
        for op, ins, outs, local, results in reversed(self.tape):
            back = [(k, o) for k, (o, v) in enumerate(zip(op.outputs, results)) if isinstance(v, torch.Tensor) and v.requires_grad and contributions[o]]
            if not back:
                continue
            needed = [n for n in op.reads if n in self.wants]
            stated = plan.backward_of(op)
            follow = op.node not in plan.forward and L.is_identity(op.node)
            if follow:
                contributions[op.reads[0]] += contributions[op.outputs[0]]  # a folded copy: its gradients are its source's
                continue
            if not stated:
                if op.node in plan.forward:
                    self.notes.append(f"no backward entry of {op.outputs[0]} ({op.node.target}), though a gradient comes to it: taken as R")
                p = {n: L.of_gradient(ins[n]) if follow else self.R for n in needed}
                stated = [(None, {}, {}, p)]
            for b, reads, grads, gives in stated:
                gives = {n: p for n in needed if (p := plan.lookup(gives, n)) is not None}
                if not gives:
                    continue
                gp = {o: plan.lookup(grads, o) or L.of_gradient(outs[k]) for k, o in back}
                if b is None and not follow:
                    gp = {o: self.R for _, o in back}
                pairs = [(f"{n}.grad", p) for n, p in gives.items()]
                try:
                    gy = {o: self.gather(contributions[o], gp[o], f"{o}.grad") for _, o in back}
                    if check:
                        for _, o in back:
                            if o in self.grads:
                                self.compare("gradient that comes to", op, f"{o}.grad", gy[o], self.grads[o], ins, pairs)
                                self.grads.pop(o)
                    lp = {n: plan.lookup(reads, n) or ins[n] for n in op.reads}
                    for n in op.reads:
                        if plan.lookup(reads, n) is None and n in gives and (grads or reads) and L.of_gradient(gives[n]) != L.of_gradient(ins[n]):
                            lp[n] = tuple(i if g_ == "P" and i in ("R", "P") else L.of_gradient((g_,))[0] for g_, i in zip(gives[n], ins[n]))
                    # Plans give a bias its own backward op.
                    bias_of = None
                    if str(op.node.target).startswith("aten.conv") and len(op.node.args) > 2 and op.node.args[2] is not None:
                        bias_of = program.name_of[op.node.args[2]]
                        if list(gives) == [bias_of]:
                            v = gy[op.outputs[0]].to_local()
                            v = v.sum([d for d in range(v.dim()) if d != 1])
                            contributions[bias_of].append((plan.lookup(b.names, bias_of), self.wrap(v, gives[bias_of], program.meta[bias_of][0])))
                            continue
                    if str(op.node.target) in ("aten.cat.default", "aten.add.Tensor", "aten.sub.Tensor") and not any(n in reads for n in op.reads):
                        lp = {n: lp[n] if n in gives else next(iter(gives.values())) for n in op.reads}
                    if b is not None:
                        for n, p in reads.items():
                            self.read_saved(n, p)
                    same_shape = all(L.of_gradient(outs[k]) == L.of_gradient(gp[o]) for k, o in back)
                    if str(op.node.target) in ("aten.linear.default", "aten.addmm.default"):
                        loc = {n: self.read_saved(n, lp[n]).to_local().detach() for n in op.reads if plan.lookup(reads, n) is not None}
                        got = L.linear_gradients(program, op, loc, gy[op.outputs[0]].to_local(), gives)
                        for (n, p), v in zip(gives.items(), got):
                            contributions[n].append((b and plan.lookup(b.names, n), self.wrap(v, p, program.meta[n][0])))
                        continue
                    if all(lp[n] == ins[n] for n in op.reads) and same_shape:
                        loc, res = local, results
                    else:
                        # the saved values lie otherwise than in the forward pass: the op again, on those parts
                        loc = dict(local)
                        for n in op.reads:
                            # the plan reads nothing of the others: they are no collectives of it
                            d = self.read_saved(n, lp[n]) if plan.lookup(reads, n) is not None else self.uncounted(self.env[n], lp[n])
                            loc[n] = d.to_local().detach().requires_grad_(n in gives)
                        if bias_of and bias_of not in gives and plan.lookup(reads, bias_of) is None:
                            loc[bias_of] = torch.zeros(gy[op.outputs[0]].to_local().shape[1], dtype=loc[bias_of].dtype)
                        res = L.run_local(program, op, loc, lp, [gp[o] if o in gp else outs[k] for k, o in enumerate(op.outputs)], self.where(op, lp))
                    got = torch.autograd.grad([res[k] for k, _ in back], [loc[n] for n in gives], [gy[o].to_local() for _, o in back],
                                              allow_unused=True, retain_graph=True)
                    for (n, p), v in zip(gives.items(), got):
                        if v is None:
                            v = torch.zeros_like(loc[n])
                        contributions[n].append((b and plan.lookup(b.names, n), self.wrap(v, p, program.meta[n][0])))
                except Exception as x:
                    raise Failed(self.fail(op, f"backward ({b.name if b else 'not in the plan'})", x, {**ins, **{}}, pairs)) from x
        out = {}
        for n in program.parameters:
            if contributions[n]:
                out[n] = self.gather(contributions[n], plan.rest.get(n, self.R), f"{n}.grad")
        return out

    def step(self, check):
        if self.options["autograd"] == "manual":
            with torch.enable_grad():
                loss = self.forward(check)
            return loss, self.backward(loss, check)
        for n in self.program.parameters:
            self.rest[n] = self.rest[n].detach().requires_grad_()
        loss = self.forward(check)
        value = self.program.loss(loss.to_local())
        value.backward()
        out = {}
        for n in self.program.parameters:
            if self.rest[n].grad is not None:
                out[n] = self.move(self.rest[n].grad, self.plan.rest.get(n, self.R), f"{n}.grad")
        return loss, out


def work(rank, size, model, plan_path, options, folder):
    try:
        torch.set_num_threads(1)
        if not options["fp32"]:
            torch.set_default_dtype(torch.float64)
        import datetime
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size, timeout=datetime.timedelta(seconds=120))
        program = L.Program(model, not options["fp32"])
        plan = L.Plan(plan_path, program)
        ref = torch.load(f"{folder}/reference.pt", mmap=True)
        r = Runner(program, plan, rank, options, (ref["values"], ref["value_grads"]))
        r.start()
        answer = {"losses": [], "grads": {}, "notes": plan.notes}
        with r.counter:
            for step in range(options["steps"]):
                first = step == 0
                check = first and options["check"]
                r.counter.on = first and not check
                loss, grads = r.step(check)
                r.counter.on = False
                value = program.loss(loss.to_local().detach()).item()
                answer["losses"].append(value)
                with torch.no_grad():
                    if first:
                        for n, g in grads.items():
                            answer["grads"][n] = r.move(g.detach(), r.R, None).to_local().clone()
                    for n, g in grads.items():
                        d = r.rest[n]
                        r.rest[n] = r.wrap(d.to_local().detach() - options["lr"] * g.to_local().detach(), r.strings(d), d.shape)
        answer["totals"] = {f"{k} {a}": v for (k, a), v in r.counter.totals.items()}
        answer["by_tensor"] = {"|".join(map(str, k)): v for k, v in r.counter.by_tensor.items()}
        answer["mismatches"], answer["notes"] = r.mismatches, sorted(set(plan.notes + r.notes))
        answer["adapted"] = {k: sorted(v) for k, v in r.adapted.items()}
        torch.save(answer, f"{folder}/answer{rank}.pt")
        dist.barrier()
        dist.destroy_process_group()
    except Exception as x:
        with open(f"{folder}/failed{rank}", "w") as f:
            f.write(str(x) if isinstance(x, Failed) else "".join(traceback.format_exception(x)[-12:]))
            if isinstance(x, Failed) and x.__cause__ is not None and options["trace"]:
                f.write("".join(traceback.format_exception(x.__cause__)))
        os._exit(3)

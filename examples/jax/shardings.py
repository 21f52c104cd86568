"""Shardings of a plan for JAX: `meshwright export plan.json --target jax -o plan.jax.json`.

    plan = Plan("plan.jax.json")
    params = jax.device_put(params, plan.tree("parameters", params))
    x = jax.lax.with_sharding_constraint(x, plan.activation("residual"))

Of `--algorithm sharding`, before and after each op, by its name and those of tensors:

    w = jax.lax.with_sharding_constraint(w, plan.read("layers.3.mlp.up", "layers.3.mlp.up.weight"))
    y = jax.lax.with_sharding_constraint(x @ w, plan.activation("layers.3.mlp.up"))
"""

import json
import math
import pathlib
import re

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def by_layer(named):
    """`layers.0-3.NAME`, of equal layers, as the name of each of them."""
    found = {}
    for name, own in named.items():
        group = re.match(r"layers\.(\d+)-(\d+)\.", name)
        layers = range(int(group[1]), int(group[2]) + 1) if group else ()
        found |= {f"layers.{n}.{name[group.end():]}": own for n in layers} or {name: own}
    return found


class Plan:
    def __init__(self, path):
        self.file = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        axes, shape = self.file["mesh"]["axes"], self.file["mesh"]["shape"]
        # Rank i of the plan is device i: `jax.make_mesh` would choose an order of its own.
        self.mesh = Mesh(np.array(jax.devices()[: math.prod(shape)]).reshape(shape), axes)
        self.activations = by_layer(self.file["activations"])
        self.reads = {op: by_layer(own) for op, own in by_layer(self.file.get("reads", {})).items()}

    def sharding(self, spec):
        axes = (tuple(own) if isinstance(own, list) else own for own in spec)
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def activation(self, name):
        return self.sharding(self.activations[name])

    def read(self, op, tensor):
        """As an op reads a tensor; `None` of a parameter that it reads as it is at rest."""
        spec = self.reads.get(op, {}).get(tensor, self.activations.get(tensor))
        return None if spec is None else self.sharding(spec)

    def tree(self, state, params):
        """Of `parameters`, `gradients` or one copy of the `optimizer` states: trees as `params`."""
        return jax.tree_util.tree_map_with_path(lambda *leaf: self._of(state, *leaf), params)

    def _of(self, state, path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        rule = next((rule for rule in self.file["rules"] if re.search(rule["path"], name)), None)
        spec = rule and rule[self.file["states"][state]["split"]]
        # Names of a graph are whole, and their dimensions those of the graph.
        if spec == [] or (rule and rule["path"].startswith("^")):
            return self.sharding(spec)
        # Layers that are stacked for `jax.lax.scan` are one dimension more, in front.
        if spec is None or leaf.ndim - len(spec) not in (0, 1):
            raise KeyError(f"no rule of the plan fits {name} {leaf.shape}")
        return self.sharding([None] * (leaf.ndim - len(spec)) + spec)

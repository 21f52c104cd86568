"""Shardings of a plan for JAX: `meshwright export plan.json --target jax -o plan.jax.json`.

    plan = Plan("plan.jax.json")
    params = jax.device_put(params, plan.tree("parameters", params))
    x = jax.lax.with_sharding_constraint(x, plan.activation("residual"))
"""

import json
import math
import pathlib
import re

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class Plan:
    def __init__(self, path):
        self.told = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        axes, shape = self.told["mesh"]["axes"], self.told["mesh"]["shape"]
        # Rank i of the plan is device i: `jax.make_mesh` would choose an order of its own.
        self.mesh = Mesh(np.array(jax.devices()[: math.prod(shape)]).reshape(shape), axes)

    def sharding(self, spec):
        axes = (tuple(own) if isinstance(own, list) else own for own in spec)
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def activation(self, name):
        return self.sharding(self.told["activations"][name])

    def tree(self, state, params):
        """Of `parameters`, `gradients` or one copy of the `optimizer` states: trees as `params`."""
        return jax.tree_util.tree_map_with_path(lambda *leaf: self._of(state, *leaf), params)

    def _of(self, state, path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        rules = (rule for rule in self.told["rules"] if re.search(rule["path"], name))
        spec = next((rule[self.told["states"][state]["split"]] for rule in rules), None)
        # Layers that are stacked for `jax.lax.scan` are one dimension more, in front.
        if spec is None or leaf.ndim - len(spec) not in (0, 1):
            raise KeyError(f"no rule of the plan fits {name} {leaf.shape}")
        return self.sharding([None] * (leaf.ndim - len(spec)) + spec)

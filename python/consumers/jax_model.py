"""Small transformers and their train step in plain JAX, parameters by the names of Hugging Face checkpoints.

What checkpoints fuse is held apart and experts are stacked, as `docs/targets.md` says. Nothing here knows
how a plan splits anything: shardings come from the loader alone.
"""

from __future__ import annotations

import dataclasses
from typing import Callable

import jax
import jax.numpy as jnp

RATE = 1e-3


@dataclasses.dataclass
class Model:
    """What a config says, and what a plan does between parameters."""

    config: dict
    at: Callable  # (array, name of an activation) -> array
    checkpoint: dict

    @property
    def is_gpt2(self) -> bool:
        return self.config["model_type"] == "gpt2"

    @property
    def head_dim(self) -> int:
        config = self.config
        return config["n_embd"] // config["n_head"] if self.is_gpt2 else config["head_dim"]

    def again(self, what: str, function: Callable) -> Callable:
        """With the plan's policy where it goes around this."""
        if self.checkpoint["around"] != what:
            return function
        policy = getattr(jax.checkpoint_policies, self.checkpoint["policy"])
        return jax.checkpoint(function, policy=policy)


def norm(own, name, x):
    x = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6) * own[f"{name}.weight"]
    return x + own[f"{name}.bias"] if f"{name}.bias" in own else x


def product(model, own, name, x):
    """By a weight `[out, in]`, or GPT-2's `[in, out]`."""
    y = jnp.einsum("...h,ho->...o" if model.is_gpt2 else "...h,oh->...o", x, own[f"{name}.weight"])
    return y + own[f"{name}.bias"] if f"{name}.bias" in own else y


def core(q, k, v):
    """Causal attention; fewer heads of keys and values are repeated."""
    k, v = (jnp.repeat(t, q.shape[2] // t.shape[2], axis=2) for t in (k, v))
    scores = jnp.einsum("bqnd,bknd->bnqk", q, k) / q.shape[-1] ** 0.5
    mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    return jnp.einsum("bnqk,bknd->bqnd", jax.nn.softmax(jnp.where(mask, scores, -1e9)), v)


def attention(model, own, x):
    own_name = "attn.c_attn.{}" if model.is_gpt2 else "self_attn.{}_proj"
    parts = []
    for part in "qkv":
        y = product(model, own, own_name.format(part), x)
        y = model.at(y.reshape(*y.shape[:2], -1, model.head_dim), "heads")
        named = f"self_attn.{part}_norm"
        parts.append(norm(own, named, y) if f"{named}.weight" in own else y)
    y = model.at(model.again("attention", core)(*parts), "heads").reshape(*x.shape[:2], -1)
    return product(model, own, "attn.c_proj" if model.is_gpt2 else "self_attn.o_proj", y)


def experts(model, own, x):
    """Every expert takes as many tokens of a sample; those beyond are dropped."""
    n, n_chosen = model.config["num_experts"], model.config["num_experts_per_tok"]
    places = x.shape[1] * n_chosen // n
    shares = jax.nn.softmax(product(model, own, "mlp.gate", x))
    visits = jnp.zeros_like(shares)
    for _ in range(n_chosen):
        visits += jax.nn.one_hot(jnp.argmax(shares - visits, axis=-1), n, dtype=x.dtype)
    place = jnp.cumsum(visits, axis=1) - visits
    sent = visits[..., None] * jax.nn.one_hot(place, places, dtype=x.dtype)
    tokens = model.at(model.at(jnp.einsum("bsec,bsh->ebch", sent, x), "sent"), "experts")
    gate = jnp.einsum("ebch,efh->ebcf", tokens, own["mlp.experts.gate_proj"])
    up = jnp.einsum("ebch,efh->ebcf", tokens, own["mlp.experts.up_proj"])
    y = jnp.einsum("ebcf,ehf->ebch", jax.nn.silu(gate) * up, own["mlp.experts.down_proj"])
    y = model.at(model.at(y, "experts"), "sent")
    return model.at(jnp.einsum("bsec,bse,ebch->bsh", sent, shares, y), "input")


def feed_forward(model, own, x):
    if "mlp.gate.weight" in own:
        return experts(model, own, x)
    if model.is_gpt2:
        y = jax.nn.gelu(product(model, own, "mlp.c_fc", x))
        return product(model, own, "mlp.c_proj", model.at(y, "inner"))
    y = jax.nn.silu(product(model, own, "mlp.gate_proj", x)) * product(model, own, "mlp.up_proj", x)
    return product(model, own, "mlp.down_proj", model.at(y, "inner"))


def block(model, own, x):
    names = ("ln_1", "ln_2") if model.is_gpt2 else ("input_layernorm", "post_attention_layernorm")
    for part, name in zip((attention, feed_forward), names):
        y = part(model, own, model.at(norm(own, name, x), "input"))
        x = model.at(x + model.at(y, "residual"), "residual")
    return x


def loss(model, params, tokens):
    """Mean cross-entropy of the next token."""
    first, layers, last = (
        ("transformer.wte", "transformer.h", "transformer.ln_f")
        if model.is_gpt2
        else ("model.embed_tokens", "model.layers", "model.norm")
    )
    words = params[f"{first}.weight"]
    given = model.at(jax.nn.one_hot(tokens, words.shape[0], dtype=words.dtype), "inner")
    x = model.at(jnp.einsum("bsv,vh->bsh", given, words), "input")
    if model.is_gpt2:
        x = model.at(x + params["transformer.wpe.weight"][: x.shape[1]], "input")
    x = model.at(x, "residual")
    run = model.again("block", lambda own, x: block(model, own, x))
    for i in range(model.config["num_hidden_layers"]):
        start = f"{layers}.{i}."
        own = {name[len(start) :]: leaf for name, leaf in params.items() if name.startswith(start)}
        x = run(own, x)
    x = model.at(norm(params, last, x), "input")
    head = params.get("lm_head.weight", words)
    logits = model.at(jnp.einsum("bsh,vh->bsv", x, head), "inner").astype(jnp.float32)
    gold = model.at(jax.nn.one_hot(jnp.roll(tokens, -1, axis=1), logits.shape[-1]), "inner")
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - jnp.sum(gold * logits, axis=-1))


def step(model, n_micro_batches, split, types):
    """Gradients of all micro-batches, and one update; `split(tree)` puts gradients where they lie."""

    def gradients(params, tokens):
        found = jax.grad(lambda own: loss(model, own, tokens))(params)
        return split({name: leaf.astype(types["gradients"]) for name, leaf in found.items()})

    def run(params, moments, tokens):
        if n_micro_batches == 1:
            return update(params, moments, gradients(params, tokens[0]), types)

        def add(total, micro):
            # Else shared parameters are gathered once, before the loop, and held whole.
            micro, own = jax.lax.optimization_barrier((micro, params))
            return split(jax.tree.map(jnp.add, total, gradients(own, micro))), None

        zero = {name: jnp.zeros(leaf.shape, types["gradients"]) for name, leaf in params.items()}
        return update(params, moments, jax.lax.scan(add, split(zero), tokens)[0], types)

    return run


def update(params, moments, gradients, types):
    """Adam without its corrections, or plain descent, on what copies there are."""
    new, moved = {copy: {} for copy in moments}, {}
    for name, gradient in gradients.items():
        change = gradient = gradient.astype(jnp.float32)
        if "mu" in moments:
            new["mu"][name] = 0.9 * moments["mu"][name] + 0.1 * gradient
            new["nu"][name] = 0.99 * moments["nu"][name] + 0.01 * gradient**2
            change = new["mu"][name] / (jnp.sqrt(new["nu"][name]) + 1e-8)
        has_master = "master" in moments
        now = (moments["master"] if has_master else params)[name] - RATE * change
        if has_master:
            new["master"][name] = now
        moved[name] = now.astype(types["parameters"])
    return moved, new

#!/usr/bin/env python3
"""Plans and prices the runs of docs/published-runs.md again and writes its tables anew.

    cargo build --release && python3 scripts/published_runs.py [docs/published-runs.md]

Takes the program from MESHWRIGHT, or target/release/meshwright. Seconds and bytes are of one step and
one device; nothing is fitted. Without a file the tables go to the terminal.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MESHWRIGHT = os.environ.get("MESHWRIGHT", str(ROOT / "target/release/meshwright"))
# A search of the largest takes a minute or two on two cores.
LIMIT = ["--time-limit", "10m"]


def llama(**more):
    """A config of Llama 3 (Grattafiori et al. 2024, arXiv:2407.21783, table 3)."""
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128256,
        "num_key_value_heads": 8, "max_position_embeddings": 8192, "hidden_act": "silu",
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", **more,
    }


MODELS = {
    "llama-3-8b": llama(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
                        num_attention_heads=32),
    "llama-3-70b": llama(hidden_size=8192, intermediate_size=28672, num_hidden_layers=80,
                         num_attention_heads=64),
    # Jiang et al. 2024, arXiv:2401.04088, table 1.
    "mixtral-8x7b": llama(architectures=["MixtralForCausalLM"], model_type="mixtral",
                          vocab_size=32000, hidden_size=4096, intermediate_size=14336,
                          num_hidden_layers=32, num_attention_heads=32, num_local_experts=8,
                          num_experts_per_tok=2, max_position_embeddings=32768),
    "llama-2-70b": "llama-2-70b.json",
    "deepseek-v3": "deepseek-v3.json",
}

# Hosts, device, links inside, network.
CLUSTERS = {
    "h100x64": (8, "h100_sxm5_80gb", "nvlink4", "pcie5_x16", 8, "ib_ndr_400"),
    "h100x1024": (128, "h100_sxm5_80gb", "nvlink4", "pcie5_x16", 8, "ib_ndr_400"),
    "h100x2048": (256, "h100_sxm5_80gb", "nvlink4", "pcie5_x16", 8, "ib_ndr_400"),
    "h800x2048": (256, "h800_sxm5_80gb", "nvlink4_h800", "pcie5_x16", 8, "ib_ndr_400"),
    "a100x32": (4, "a100_sxm4_80gb", "nvlink3", "pcie4_x16", 4, "ib_hdr_200"),
}
# Bytes of a device where the estimate of memory would refuse what ran.
ROOMY = 400_000_000_000


def run_of(model, cluster, devices, batch, sequence, flags=""):
    """A question: model, cluster, devices, samples of a step, tokens of a sample, more flags."""
    return (model, cluster, devices, batch, sequence, flags.split())


L8 = ("llama-3-8b", "h100x64", 8, 128, 8192)
L2 = ("llama-2-70b", "h100x64", 64, 128, 4096)
L3 = ("llama-3-70b", "h100x64", 64, 128, 8192)
MIX = ("mixtral-8x7b", "a100x32", 32, 128, 8192)
DS512 = ("deepseek-v3", "h100x1024", 512, 4096, 4096)
DS2048 = ("deepseek-v3", "h100x2048", 2048, 15360, 4096)

# Name, question.
PLANS = {
    "Llama 3 8B, 8 H100, 128 x 8,192": run_of(*L8),
    "the same, `--dtype fp8` (8B)": run_of(*L8, "--dtype fp8"),
    "Llama 2 70B, 64 H100, 128 x 4,096": run_of(*L2, "--dtype bf16"),
    "the same, `--dtype fp8` (Llama 2)": run_of(*L2, "--dtype fp8"),
    "Llama 3 70B, 64 H100, 128 x 8,192": run_of(*L3),
    "Mixtral 8x7B, 32 A100, 128 x 8,192": run_of(*MIX),
    "DeepSeek-V3, 512 H100, 4,096 x 4,096": run_of(*DS512),
    "DeepSeek-V3, 2,048 H100, 15,360 x 4,096": run_of(*DS2048),
    "the same, `--dtype fp8` (DeepSeek-V3)": run_of(*DS2048, "--dtype fp8"),
}


def pins(text, **more):
    """`--pin` for each `field=value`, and `--flag value` for the rest."""
    flags = " ".join(f"--pin {pin}" for pin in text.split())
    return " ".join([flags, *(f"--{name.replace('_', '-')} {own}" for name, own in more.items())])


PLAIN = "micro-batch=1 zero=1 recompute=none"
FSDP = "tensor=1 pipeline=1 context=1 expert=4 zero=3 recompute=full micro-batch=2"
DUALPIPE = "tensor=1 pipeline=16 context=1 expert=64 schedule=dualpipe-v " + PLAIN

# Name, source, measured seconds of a step, the plan beside it, the configuration as it ran or the
# nearest that is said in degrees.
PUBLISHED = [
    ("Llama 3.1 8B, 8 H100, bf16: context 2", 1, 12.27, "Llama 3 8B, 8 H100, 128 x 8,192",
     run_of(*L8, pins("tensor=1 pipeline=1 context=2 " + PLAIN, stack="megatron-bridge"))),
    ("the same in fp8", 1, 9.33, "the same, `--dtype fp8` (8B)",
     run_of(*L8, pins("tensor=1 pipeline=1 context=2 " + PLAIN, stack="megatron-bridge", dtype="fp8"))),
    ("Llama 2 70B, 64 H100, fp8: tensor 4, pipeline 4, 20 chunks", 3, 4.74,
     "the same, `--dtype fp8` (Llama 2)",
     run_of(*L2, pins("tensor=4 pipeline=4 context=1 virtual-stages=20 schedule=interleaved " + PLAIN,
                      stack="megatron-bridge", dtype="fp8"))),
    ("Llama 3.1 70B, 64 H100, bf16: tensor 4, pipeline 4, context 2, 5 chunks", 1, 14.66,
     "Llama 3 70B, 64 H100, 128 x 8,192",
     run_of(*L3, pins("tensor=4 pipeline=4 context=2 virtual-stages=5 schedule=interleaved " + PLAIN,
                      stack="megatron-bridge"))),
    ("the same in fp8: tensor 4, pipeline 8, 5 chunks", 1, 9.86, None,
     run_of(*L3, pins("tensor=4 pipeline=8 context=1 virtual-stages=5 schedule=interleaved " + PLAIN,
                      stack="megatron-bridge", dtype="fp8"))),
    ("Mixtral 8x7B, 32 A100, Megatron-LM: tensor 8, expert 8 (priced: 4), unequal routing", 4, 43.1,
     "Mixtral 8x7B, 32 A100, 128 x 8,192",
     run_of(*MIX, pins("tensor=8 pipeline=1 context=1 expert=4 " + PLAIN, expert_skew="zipf:0.8"))),
    ("the same, fully sharded (Galvatron): 2 experts a device, all again, ZeRO 3", 4, 35.3,
     "Mixtral 8x7B, 32 A100, 128 x 8,192", run_of(*MIX, pins(FSDP, expert_skew="zipf:0.8"))),
    ("DeepSeek-V3, 512 H100, bf16: tensor 2, pipeline 8, expert 64 (priced: 32), tokens dropped", 5,
     48.95, "DeepSeek-V3, 512 H100, 4,096 x 4,096",
     run_of(*DS512, pins("tensor=2 pipeline=8 context=1 expert=32 virtual-stages=1 schedule=1f1b "
                         + PLAIN, stack="megatron-bridge-drop"))),
    ("DeepSeek-V3, 1,024 H100, bf16: tensor 2, pipeline 16, expert 64 (priced: 32), tokens dropped", 5,
     52.04, None,
     run_of("deepseek-v3", "h100x1024", 1024, 8192, 4096,
            pins("tensor=2 pipeline=16 context=1 expert=32 virtual-stages=1 schedule=1f1b " + PLAIN,
                 stack="megatron-bridge-drop"))),
    ("DeepSeek-V3, 2,048 H800, fp8 by blocks: pipeline 16, expert 64, ZeRO 1, DualPipe", 6, 19.9,
     "the same, `--dtype fp8` (DeepSeek-V3)",
     run_of("deepseek-v3", "h800x2048", 2048, 15360, 4096,
            "--for any " + pins(DUALPIPE, stack="megatron-bridge-flex-overlap-mxfp8", dtype="fp8"))),
    ("Mixtral 8x7B, 64 H100, bf16: pipeline 4, 8 chunks, expert 8, 256 x 4,096", 7, 2.90, None,
     run_of("mixtral-8x7b", "h100x64", 64, 256, 4096,
            pins("tensor=1 pipeline=4 context=1 expert=8 virtual-stages=8 schedule=interleaved "
                 + PLAIN))),
]

# What differences rest on: name, question.
STEPS = [
    ("Mixtral fully sharded [4], routed evenly", run_of(*MIX, pins(FSDP))),
    ("the same, routed unevenly (`--expert-skew zipf:0.8`)",
     run_of(*MIX, pins(FSDP, expert_skew="zipf:0.8"))),
    ("DeepSeek-V3 on 512, as published [5], but with the default stack",
     run_of(*DS512, pins("tensor=2 pipeline=8 context=1 expert=32 virtual-stages=1 schedule=1f1b "
                         + PLAIN))),
    ("DeepSeek-V3 on 2,048, default plan with exchanges beside work and once to each host "
     "(`--dtype fp8 --stack megatron-bridge-flex-overlap-mxfp8`)",
     run_of(*DS2048, "--dtype fp8 --stack megatron-bridge-flex-overlap-mxfp8")),
    ("DeepSeek's own degrees and schedule [6], nothing beside work",
     run_of("deepseek-v3", "h800x2048", 2048, 15360, 4096,
            "--for any " + pins(DUALPIPE, stack="megatron-bridge-flex", dtype="fp8"))),
]


def cluster(folder, name, memory):
    """Writes a cluster file; its path."""
    hosts, device, inside, host, cards, network = CLUSTERS[name]
    room = f", memory_bytes: {memory}" if memory else ""
    path = folder / f"{name}{'-roomy' if memory else ''}.yaml"
    path.write_text(
        f"name: {path.stem}\nnodes:\n  - {{count: {hosts}, device: {device}, devices: 8{room}, "
        f"scaleup: {inside}, host: {host}, nics: {cards}}}\nnetwork: {{link: {network}}}\n"
    )
    return path


def asked(folder, question, memory=None):
    """What `plan --json` says; None where there is no plan."""
    model, where, devices, batch, sequence, flags = question
    own = MODELS[model]
    path = ROOT / "examples/models" / own if isinstance(own, str) else folder / f"{model}.json"
    if not isinstance(own, str):
        path.write_text(json.dumps(own))
    line = [MESHWRIGHT, "plan", str(path), "--cluster", str(cluster(folder, where, memory)),
            "--devices", str(devices), "--global-batch", str(batch), "--sequence-length", str(sequence),
            *flags, *LIMIT, "--fastest", "--json"]
    ran = subprocess.run(line, capture_output=True, text=True)
    if ran.returncode not in (0, 5):
        sys.stderr.write(ran.stderr)
        return None
    return json.loads(ran.stdout)


def row(cells):
    return "| " + " | ".join(cells) + " |"


def seconds(value):
    return f"{value:.3g} s"


def interval(best, told):
    own = told["plan"]["cost"]["interval"]
    return [own["low_ns"] * 1e-9, own["high_ns"] * 1e-9]


def plans(folder):
    """The first table, and the step of each plan."""
    lines = [row(["model, devices, samples x tokens", "plan", "step, 10-90 %", "tokens/s a GPU",
                  "of peak", "peak memory"]), "|---|---|--:|--:|--:|--:|"]
    steps = {}
    for name, question in PLANS.items():
        told = asked(folder, question)
        best = told["best"]
        low, high = interval(best, told)
        steps[name] = best["step_time_s"]
        lines.append(row([
            re.sub(r" \(.*\)$", "", name), best["degrees"],
            f"{seconds(best['step_time_s'])}, {low:.3g} to {high:.3g}",
            f"{best['tokens_per_s'] / best['n_devices']:,.0f}",
            f"{100 * best['model_flops_utilisation']:.1f} %", f"{best['peak_bytes'] / 2**30:.1f} GiB",
        ]))
    return lines, steps


def published(folder, steps):
    """The second table."""
    lines = [row(["published run", "measured", "plan", "price", "inside"]), "|---|--:|--:|--:|---|"]
    for name, source, measured, beside, question in PUBLISHED:
        told = asked(folder, question, ROOMY)
        step = told["best"]["step_time_s"]
        low, high = interval(told["best"], told)
        off = lambda own: f"{100 * (own / measured - 1):+.0f} %"
        lines.append(row([
            f"{name} [{source}]", seconds(measured), off(steps[beside]) if beside else "",
            f"{seconds(step)}, {off(step)}", "yes" if low <= measured <= high else "no",
        ]))
    return lines


def differences(folder):
    """The third table."""
    lines = [row(["priced", "step"]), "|---|--:|"]
    for name, question in STEPS:
        told = asked(folder, question, ROOMY if "--pin" in question[5] else None)
        lines.append(row([name, seconds(told["best"]["step_time_s"])]))
    return lines


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, steps = plans(folder)
        tables = {"plans": first, "published": published(folder, steps), "differences": differences(folder)}
    if len(sys.argv) < 2:
        print("\n\n".join("\n".join(lines) for lines in tables.values()))
        return
    page = Path(sys.argv[1])
    text = page.read_text()
    for mark, lines in tables.items():
        begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
        head, rest = text.split(begin)
        text = head + begin + "\n" + "\n".join(lines) + "\n\n" + end + rest.split(end, 1)[1]
    page.write_text(text)


if __name__ == "__main__":
    main()

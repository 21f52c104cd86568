"""Steps of fine-tuning by Transformers on one CUDA device: models with random weights, adapters of PEFT.

    python fine_tune.py rows.json [settle|judge]

Two lists of settings, that no figure is settled on what it is judged by. `tuning.csv` holds what one H100 took.
With `--tiny` anything runs on a processor.
"""

import gc, statistics, sys, time, traceback
import bitsandbytes, peft, torch, transformers
from rows import DEV, RESULT, TINY, left, save, sync, write

WHICH = "judge" if "judge" in sys.argv else "settle"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TARGETS = {"all": ALL, "q+v": ["q_proj", "v_proj"], "attention": ALL[:4], "mlp": ALL[4:]}
SHAPES = {
    "llama-1b": dict(hidden_size=2048, num_attention_heads=32, num_key_value_heads=8, intermediate_size=8192, num_hidden_layers=16),
    "llama-3b": dict(hidden_size=3072, num_attention_heads=24, num_key_value_heads=8, intermediate_size=8192, num_hidden_layers=28),
    "llama-8b": dict(hidden_size=4096, num_attention_heads=32, num_key_value_heads=8, intermediate_size=14336, num_hidden_layers=32),
}
#: Model, tokens of a sample, micro-batch, recompute, rank (0 = all parameters), targets, bytes of an adapter's number;
#: then types of frozen weights and optimizers other than bf16 and AdamW.
STEPS = {
    "settle": [
        ("llama-1b", 1024, 4, "none", 16, "all", 2),
        ("llama-1b", 512, 4, "none", 8, "q+v", 4),
        ("llama-1b", 2048, 8, "full", 16, "all", 4),
        ("llama-3b", 768, 4, "none", 32, "q+v", 4),
        ("llama-3b", 4096, 2, "full", 8, "all", 2),
        ("llama-8b", 2048, 2, "full", 8, "all", 2),
        ("llama-8b", 2048, 1, "none", 16, "attention", 2),
        ("llama-1b", 1024, 4, "none", 0, "", 2),
        ("llama-3b", 2048, 2, "full", 0, "", 2),
        ("llama-1b", 1024, 4, "none", 12, "all", 2),
        ("llama-8b", 2048, 2, "full", 16, "all", 4, "nf4"),
        ("llama-8b", 512, 1, "none", 8, "q+v", 2, "nf4"),
        ("llama-3b", 2048, 2, "full", 0, "", 2, "bf16", "adamw-8bit"),
        ("llama-1b", 2048, 2, "none", 0, "", 2, "bf16", "paged-adamw-8bit"),
        ("llama-1b", 2048, 2, "none", 0, "", 2, "bf16", "lion-8bit"),
    ],
    "judge": [
        ("llama-8b", 4096, 1, "full", 8, "all", 2, "nf4"),
        ("llama-8b", 1024, 4, "none", 16, "attention", 2, "nf4"),
        ("llama-3b", 2048, 4, "full", 64, "mlp", 4, "nf4"),
        ("llama-8b", 1024, 2, "full", 0, "", 2, "bf16", "adamw-8bit"),
        ("llama-3b", 4096, 1, "full", 0, "", 2, "bf16", "paged-adamw"),
        ("llama-8b", 4096, 1, "none", 8, "q+v", 2),
        ("llama-8b", 1024, 8, "full", 64, "all", 4),
        ("llama-8b", 512, 2, "none", 8, "all", 2),
        ("llama-3b", 1024, 8, "none", 16, "mlp", 2),
        ("llama-3b", 8192, 1, "full", 16, "all", 4),
        ("llama-3b", 512, 1, "none", 8, "q+v", 2),
        ("llama-1b", 4096, 4, "none", 8, "attention", 4),
        ("llama-1b", 2048, 4, "none", 0, "", 2),
        ("llama-3b", 1024, 4, "none", 0, "", 2),
        ("llama-8b", 2048, 1, "full", 0, "", 2),
        ("llama-1b", 16384, 1, "full", 16, "all", 2),
        ("llama-3b", 2048, 2, "none", 20, "all", 2),
    ],
}


def load(name):
    shape = SHAPES[name]
    if TINY:
        shape = dict(hidden_size=64, num_attention_heads=4, num_key_value_heads=2, intermediate_size=128, num_hidden_layers=2)
    config = transformers.LlamaConfig(
        vocab_size=256 if TINY else 128256, tie_word_embeddings=name != "llama-8b", rope_theta=5e5,
        max_position_embeddings=131072, use_cache=False, **shape
    )
    config._attn_implementation = "sdpa"
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(DEV):
        model = transformers.LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    return model


def adapt(model, rank, targets, width):
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS[targets], task_type="CAUSAL_LM")
    return peft.get_peft_model(model, config, autocast_adapter_dtype=width == 4)


def quantise(model):
    """Linear layers of blocks in NF4 with double quantisation, as `BitsAndBytesConfig` loads them."""
    for layer in model.model.layers:
        for part in (layer.self_attn, layer.mlp):
            for target in ALL:
                old = getattr(part, target, None)
                if old is None:
                    continue
                new = bitsandbytes.nn.Linear4bit(
                    old.in_features, old.out_features, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4",
                    compress_statistics=True, device="meta",
                )
                new.weight = bitsandbytes.nn.Params4bit(
                    old.weight.data.cpu(), requires_grad=False, quant_type="nf4", compress_statistics=True, module=new
                )
                setattr(part, target, new.to(DEV))


def optimizer_of(name, trained):
    if name == "adamw":
        return torch.optim.AdamW(trained, lr=1e-4, fused=DEV == "cuda")
    of = {"adamw-8bit": "AdamW8bit", "paged-adamw": "PagedAdamW32bit", "paged-adamw-8bit": "PagedAdamW8bit", "lion-8bit": "Lion8bit"}
    return getattr(bitsandbytes.optim, of[name])(trained, lr=1e-4)


def step(name, length, batch, recompute, rank, targets, width, base="bf16", optimizer_name="adamw"):
    if TINY:
        length = min(length, 32)
    began = time.time()
    gc.collect()
    if DEV == "cuda":
        torch.cuda.empty_cache()
    torch.manual_seed(0)
    model = load(name)
    model.train()
    if base == "nf4":
        quantise(model)
    if recompute == "full":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if rank:
        model = adapt(model, rank, targets, width)
    if DEV == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = optimizer_of(optimizer_name, trained)
    ids = torch.randint(256, (batch, length), device=DEV)
    resident = torch.cuda.memory_allocated() if DEV == "cuda" else 0
    parts = {}

    def one(note=None):
        # As the Trainer does with `bf16`: the forward pass under autocast.
        with torch.autocast(DEV, torch.bfloat16):
            loss = model(input_ids=ids, labels=ids).loss
        if note is not None and DEV == "cuda":
            note["after_forward"] = torch.cuda.memory_allocated()
        loss.backward()
        if note is not None and DEV == "cuda":
            note["after_backward"] = torch.cuda.memory_allocated()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    one()
    one(parts)
    sync()
    if DEV == "cuda":
        torch.cuda.reset_peak_memory_stats()
    out = []
    for _ in range(6):
        t = time.perf_counter()
        one()
        sync()
        out.append(time.perf_counter() - t)
    if DEV == "cuda":
        parts["peak_allocated"] = torch.cuda.max_memory_allocated()
        parts["peak_reserved"] = torch.cuda.max_memory_reserved()
    median = statistics.median(out)
    save(kind="tune", which=WHICH, model=name, seq=length, micro_batch=batch, recompute=recompute, rank=rank,
         targets=targets, width=width, step_s=median,
         dispersion=statistics.median(abs(x - median) for x in out) / median, base=base,
         optimizer=optimizer_name, resident=resident,
         n_trained=sum(p.numel() for p in trained), took=round(time.time() - began, 1), **parts)


def products():
    """Forward and backward products of an adapter's two layers, by rank."""
    tokens, k = (64, 64) if TINY else (8192, 4096)
    x = torch.randn(tokens, k, device=DEV, dtype=torch.bfloat16)
    for rank in (4, 8, 12, 16, 20, 32, 64, 128):
        a = torch.randn(rank, k, device=DEV, dtype=torch.bfloat16)
        b = torch.randn(k, rank, device=DEV, dtype=torch.bfloat16)
        y = x @ a.t()
        kinds = {"down": lambda: x @ a.t(), "up": lambda: y @ b.t(), "grad_b": lambda: x.t() @ y,
                 "grad_a": lambda: y.t() @ x, "back_up": lambda: x @ b}
        row = {}
        for kind, run in kinds.items():
            def many():
                for _ in range(50):
                    run()
            for _ in range(3):
                run()
            sync()
            t = time.perf_counter()
            many()
            sync()
            row[kind] = (time.perf_counter() - t) / 50
        save(kind="adapter-product", tokens=tokens, k=k, rank=rank, **row)


save(kind="machine", torch=torch.__version__, transformers=transformers.__version__,
     peft=peft.__version__, bitsandbytes=bitsandbytes.__version__, name=torch.cuda.get_device_name() if DEV == "cuda" else "cpu")
if WHICH == "settle":
    products()
for setting in STEPS[WHICH]:
    if left() < 0:
        RESULT["errors"].append([str(setting), "no time"])
        continue
    try:
        step(*setting)
    except Exception:
        RESULT["errors"].append([str(setting), traceback.format_exc()[-1200:]])
        print(traceback.format_exc()[-1200:], flush=True)
write()

"""Second judge of configs: parameters and forward FLOPs as transformers and PyTorch count them.

    python judge_configs.py CASES.json            prints what differs from what CASES.json says
    python judge_configs.py CASES.json --write    writes the counts into it

CASES.json: {name: {"class": ..., "config": {...}, "dims": {...}, "parameters": n, "flops": n}}. The
model is built on the meta device, without weights, by the class that is named; FLOPs are those of
`torch.utils.flop_counter.FlopCounterMode` for an input of the stated dimensions (`batch`,
`sequence`, `image`, `audio`), with attention written out ("eager").
"""

import inspect
import itertools
import json
import sys
import warnings

import torch
from torch.utils.flop_counter import FlopCounterMode
import transformers

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()

# Most parameters of a model that is run for real.
LARGEST = 1_000_000_000


def built(case):
    fields = dict(case["config"])
    fields.pop("architectures", None)
    config = transformers.AutoConfig.for_model(fields.pop("model_type"), **fields)
    cls = getattr(transformers, case["class"])
    # Classes of a part take that part's config.
    if cls.config_class is not None and not isinstance(config, cls.config_class):
        for name in config.sub_configs:
            if isinstance(getattr(config, name, None), cls.config_class):
                config = getattr(config, name)
    config._attn_implementation = "eager"
    with torch.device("meta"):
        model = cls._from_config(config, attn_implementation="eager")
    model.tie_weights()
    return model.eval(), config


def size(config, dims):
    image = dims.get("image") or getattr(config, "image_size", None)
    image = image or getattr(config, "input_size", None)
    if image is None:
        image = config.vision_config.image_size
    return list(image) if isinstance(image, (list, tuple)) else [image, image]


def text_of(config):
    return getattr(config, "text_config", config)


def fed(model, config, dims):
    """Inputs of the forward pass by their names."""
    b, s = dims.get("batch", 1), dims.get("sequence", 1)
    names = inspect.signature(model.forward).parameters
    kind, cls = config.model_type, type(model).__name__

    def ids():
        own = torch.zeros(b, s, dtype=torch.long)
        if isinstance(config.eos_token_id, int) and "SequenceClassification" in cls:
            own[:, -1] = config.eos_token_id
        return own

    own = {}
    if "input_ids" in names and kind != "clap":
        own["input_ids"] = ids()
    if "decoder_input_ids" in names:
        own["decoder_input_ids"] = ids()
    if "token_type_ids" in names and kind in ("bert", "layoutlm"):
        own["token_type_ids"] = ids()
    if "pixel_values" in names and "spatial_shapes" not in names:
        own["pixel_values"] = torch.zeros(b, getattr(config, "num_channels", 3) or 3, *size(config, dims))
    if "input_values" in names:
        own["input_values"] = torch.zeros(b, dims["audio"])
    if "input_features" in names:
        if kind == "whisper":
            frames = 2 * config.max_source_positions
            own["input_features"] = torch.zeros(b, config.num_mel_bins, frames)
        else:
            own["input_features"] = torch.zeros(b, dims["audio"], config.input_feat_per_channel)
    is_part = getattr(config, "encoder_layers", None) or kind == "prophetnet"
    is_fed = cls.endswith("ForCausalLM") and is_part or getattr(config, "add_cross_attention", False)
    if "encoder_hidden_states" in names and is_fed and "decoder_input_ids" not in names:
        rows = config.max_source_positions if kind == "whisper" else s
        own["encoder_hidden_states"] = torch.zeros(b, rows, config.hidden_size)
    if "encoder_outputs" in names and cls.endswith("ForCausalLM"):
        own["encoder_outputs"] = (torch.zeros(b, config.max_source_positions, config.hidden_size),)
    if "spatial_shapes" in names:
        vision = getattr(config, "vision_config", config)
        n, side = vision.num_patches, vision.patch_size
        own["pixel_values"] = torch.zeros(b, n, vision.num_channels * side * side)
        side = int(n**0.5)
        own["spatial_shapes"] = torch.tensor([[side, side]] * b)
        own["pixel_attention_mask"] = torch.ones(b, n, dtype=torch.long)
    if kind == "layoutlmv3":
        own["bbox"] = torch.zeros(b, s, 4, dtype=torch.long)
    if "use_cache" in names:
        own["use_cache"] = False
    return own


def counted(call):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


def flops(model, config, dims, device):
    parts = PARTS.get(type(model).__name__)
    with torch.device(device):
        if parts:
            return sum(counted(part) for part in parts(model, config, dims))
        own = fed(model, config, dims)
        return counted(lambda: model(**own))


def multimodal(model, config, dims):
    """The tower with its projector, then the decoder over as many tokens as were stated."""
    b, s = dims.get("batch", 1), dims["sequence"]
    text = text_of(config)
    if config.model_type == "mllama":
        image = torch.ones(b, 1, config.vision_config.max_num_tiles, 3, *size(config, dims))
        tiles = torch.ones(image.shape[:3], dtype=torch.long)
        ids, one = torch.zeros(b, s, dtype=torch.long), torch.ones(b, 1, dtype=torch.long)
        own = {"pixel_values": image, "aspect_ratio_ids": one, "aspect_ratio_mask": tiles}
        yield lambda: model(input_ids=ids, use_cache=False, **own)
        return
    if config.model_type == "blip-2":
        image = torch.ones(b, 3, *size(config, dims))
        states = []
        yield lambda: states.append(model.vision_model(image).last_hidden_state)
        query = model.query_tokens.expand(b, -1, -1)
        yield lambda: model.qformer(query_embeds=query, encoder_hidden_states=states[0])
        yield lambda: model.language_projection(query)
        ids = torch.zeros(b, s, dtype=torch.long)
        yield lambda: model.language_model(input_ids=ids, use_cache=False)
        return
    if config.model_type.startswith("qwen"):
        vision = config.vision_config
        side = dims["image"] // vision.patch_size
        columns = 3 * vision.temporal_patch_size * vision.patch_size**2
        patches = torch.zeros(b * side * side, columns)
        grid = torch.tensor([[1, side, side]] * b)
        yield lambda: model.model.visual(patches, grid)
        states = torch.zeros(b, s, text.hidden_size)
        yield lambda: model.model.language_model(inputs_embeds=states, use_cache=False)
        yield lambda: model.lm_head(states)
        return
    image = torch.ones(b, 3, *size(config, dims))
    extra = {}
    if config.model_type == "idefics3":
        image = image[:, None]
    if config.model_type in ("mistral3", "pixtral"):
        extra["image_sizes"] = [size(config, dims)] * b
    inner = model.model
    states = torch.zeros(b, s, text.hidden_size)
    yield lambda: inner.get_image_features(image, **extra)
    decoder = getattr(inner, "language_model", None) or inner.text_model
    mask = {} if config.model_type != "gemma3" else {"attention_mask": {
        "full_attention": None, "sliding_attention": None}}
    yield lambda: decoder(inputs_embeds=states, use_cache=False, **mask)
    yield lambda: model.lm_head(states)


PARTS = {
    name: multimodal
    for name in (
        "Blip2ForConditionalGeneration",
        "LlavaForConditionalGeneration",
        "MllamaForConditionalGeneration",
        "Qwen2VLForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen3VLForConditionalGeneration",
        "Mistral3ForConditionalGeneration",
        "Gemma3ForConditionalGeneration",
        "Idefics3ForConditionalGeneration",
        "PaliGemmaForConditionalGeneration",
        "InternVLForConditionalGeneration",
    )
}


def judged(case):
    model, config = built(case)
    own = {"parameters": sum(p.numel() for p in model.parameters())}
    if case.get("flops", True) is not None:
        try:
            own["flops"] = flops(model, config, case["dims"], "meta")
        except (RuntimeError, NotImplementedError):
            # What asks for the value of a tensor runs for real, with weights of whatever was there.
            if own["parameters"] > LARGEST:
                raise
            model = model.to_empty(device="cpu")
            for tensor in itertools.chain(model.parameters(), model.buffers()):
                tensor.data.zero_()
            own["flops"] = flops(model, config, case["dims"], "cpu")
    return own


def main(path, write):
    with open(path) as file:
        cases = json.load(file)
    for name, case in cases.items():
        try:
            own = judged(case)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:300]}")
            continue
        if any(case.get(key) != value for key, value in own.items()):
            print(name, {key: (case.get(key), value) for key, value in own.items()})
        case.update(own)
    if write:
        rows = (f"{json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items())
        with open(path, "w") as file:
            file.write("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1], "--write" in sys.argv[2:])

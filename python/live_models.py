"""Live models of many kinds with random weights, small enough for a laptop; nothing is downloaded."""

from __future__ import annotations

import dataclasses

import torch


@dataclasses.dataclass
class Case:
    """A module, what it is called with, and what is known of it."""

    model: torch.nn.Module
    args: tuple = ()
    kwargs: dict = dataclasses.field(default_factory=dict)
    options: dict = dataclasses.field(default_factory=dict)
    #: Floating-point operations that PyTorch's counter does not see, counted by hand.
    unseen_flops: int = 0
    #: Relative difference of operations that is no fault.
    tolerance: float = 0.0
    trains: bool = True


def ids(*shape, most=100):
    return torch.randint(0, most, shape)


def hf(model_type, kind="AutoModelForCausalLM", length=16, **fields):
    import transformers

    config = transformers.AutoConfig.for_model(model_type, **fields)
    config.use_cache = False
    model = getattr(transformers, kind).from_config(config)
    return Case(model, kwargs={"input_ids": ids(2, length)})


SMALL = {
    "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0,
}


def gpt2():
    return hf("gpt2", vocab_size=128, n_embd=64, n_layer=2, n_head=4, n_positions=64)


def llama():
    return hf("llama", **SMALL, num_key_value_heads=2)


def qwen3():
    return hf("qwen3", **SMALL, num_key_value_heads=2, head_dim=24)


def gemma2():
    return hf("gemma2", **SMALL, num_key_value_heads=2, head_dim=16)


def bert():
    return hf("bert", "AutoModelForMaskedLM", **SMALL)


def t5():
    case = hf("t5", "AutoModelForSeq2SeqLM", vocab_size=128, d_model=64, d_kv=16, d_ff=96,
              num_layers=2, num_heads=4)
    case.kwargs["decoder_input_ids"] = ids(2, 8)
    return case


def whisper():
    import transformers

    config = transformers.WhisperConfig(
        vocab_size=128, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=96, decoder_ffn_dim=96, num_mel_bins=16,
        max_source_positions=32, max_target_positions=32, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1, use_cache=False,
    )
    model = transformers.WhisperForConditionalGeneration(config)
    return Case(model, kwargs={"input_features": torch.randn(2, 16, 64), "decoder_input_ids": ids(2, 8)})


def vit():
    import transformers

    config = transformers.ViTConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        image_size=32, patch_size=8,
    )
    return Case(transformers.ViTForImageClassification(config), args=(torch.randn(2, 3, 32, 32),))


def mixture(model_type, **fields):
    """Experts by grouped products, which the counter does not see: `2 T k 3 h f` a layer."""
    case = hf(model_type, **SMALL, num_key_value_heads=2, **fields)
    return case


def mixtral():
    case = mixture("mixtral", num_local_experts=4, num_experts_per_tok=2)
    case.unseen_flops = 2 * 2 * (2 * 16) * 2 * 3 * 64 * 96
    return case


def qwen3_moe():
    case = mixture("qwen3_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48,
                   head_dim=16)
    case.unseen_flops = 2 * 2 * (2 * 16) * 2 * 3 * 64 * 48
    return case


def deepseek_v3():
    case = hf("deepseek_v3", **SMALL, num_key_value_heads=4, q_lora_rank=24, kv_lora_rank=16,
              qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16, n_routed_experts=4,
              num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=48, n_group=2,
              topk_group=1, first_k_dense_replace=1)
    case.unseen_flops = 2 * (2 * 16) * 2 * 3 * 64 * 48
    return case


def mamba():
    return hf("mamba", vocab_size=128, hidden_size=64, num_hidden_layers=2, state_size=8,
              pad_token_id=0)


def mamba2():
    return hf("mamba2", vocab_size=128, hidden_size=64, num_hidden_layers=2, state_size=16,
              num_heads=4, head_dim=32, n_groups=1, chunk_size=8, pad_token_id=0)


def torchvision(name, size, **fields):
    import torchvision as vision

    model = getattr(vision.models, name)(weights=None, **fields)
    return Case(model, args=(torch.randn(2, 3, size, size),))


def resnet18():
    return torchvision("resnet18", 64)


def mobilenet():
    return torchvision("mobilenet_v3_small", 64)


def efficientnet():
    return torchvision("efficientnet_b0", 64)


def vit_b_16():
    """The whole attention is one kernel in evaluation, of which the counter sees nothing: of 12 layers
    `2 b s 4 d^2` projections and `2 x 2 b s^2 d` scores and values."""
    case = torchvision("vit_b_16", 32, image_size=32)
    b, s, d = 2, 5, 768
    case.unseen_flops = 12 * (2 * b * s * 4 * d * d + 2 * 2 * b * s * s * d)
    return case


def swin():
    return torchvision("swin_t", 64)


def segmentation():
    import torchvision as vision

    model = vision.models.segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None)
    return Case(model, args=(torch.randn(1, 3, 64, 64),))


def detector():
    import torchvision as vision

    model = vision.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    return Case(model, args=([torch.randn(3, 320, 320)],), trains=False, tolerance=0.01)


def timm(name, size=64, **fields):
    import timm as library

    model = library.create_model(name, pretrained=False, **fields)
    return Case(model, args=(torch.randn(2, 3, size, size),))


def convnext():
    return timm("convnext_atto")


def beit():
    return timm("beit_base_patch16_224", 32, img_size=32, depth=2)


def mixer():
    return timm("mixer_s32_224", 224)


def unet():
    import diffusers

    model = diffusers.UNet2DConditionModel(
        sample_size=16, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=8,
        norm_num_groups=8,
    )
    return Case(model, args=(torch.randn(1, 4, 16, 16), torch.tensor(3), torch.randn(1, 7, 32)))


def vae():
    import diffusers

    model = diffusers.AutoencoderKL(
        block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=8,
    )
    return Case(model, args=(torch.randn(1, 3, 32, 32),))


class Recurrent(torch.nn.Module):
    """Two LSTM layers in both directions, which the counter does not see, and a GRU, which it sees."""

    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(12, 16, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = torch.nn.GRU(32, 8, batch_first=True)

    def forward(self, x):
        return self.gru(self.lstm(x)[0])[0]


def recurrent():
    b, s = 3, 7
    lstm = 2 * (2 * b * s * 4 * 16 * (12 + 16)) + 2 * (2 * b * s * 4 * 16 * (32 + 16))
    return Case(Recurrent(), args=(torch.randn(b, s, 12),), unseen_flops=lstm)


class Branching(torch.nn.Module):
    """A branch whose dearer side has two products."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(16, 16)
        self.b = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Linear(32, 16))

    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda y: self.a(y), lambda y: self.b(y), (x,))


def branching():
    x = -torch.ones(4, 16)
    return Case(Branching(), args=(x,), trains=False)


def dynamic():
    case = llama()
    batch = torch.export.Dim("batch", min=1, max=64)
    case.options["dynamic_shapes"] = {"input_ids": {0: batch}}
    return case


class Quantised(torch.nn.Module):
    """A linear layer on weights of 8 bits with a scale a row."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.randint(-127, 127, (32, 16), dtype=torch.int8))
        self.scale = torch.nn.Parameter(torch.rand(32, 1))
        self.head = torch.nn.Linear(32, 8)

    def forward(self, x):
        return self.head(torch.nn.functional.linear(x, self.weight.to(x.dtype) * self.scale))


def quantised():
    return Case(Quantised(), args=(torch.randn(4, 16),))


DETECTORS = {"detector"}

MODELS = {
    function.__name__: function
    for function in (
        gpt2, llama, qwen3, gemma2, bert, t5, whisper, vit, mixtral, qwen3_moe, deepseek_v3, mamba,
        mamba2, resnet18, mobilenet, efficientnet, vit_b_16, swin, segmentation, detector, convnext,
        beit, mixer, unet, vae, recurrent, branching, dynamic, quantised,
    )
}

"""Tiny language models with random weights: the same on every call, without any download."""

from __future__ import annotations

import torch
import transformers

SEED = 20_260
BATCH = 2
SEQUENCE = 16
VOCABULARY = 211
# Tables of positions below 8,192 elements are folded into the graph by the exporter, and with them
# the module that owns them.
POSITIONS = 256

MODELS = {
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=POSITIONS,
            n_embd=48,
            n_layer=4,
            n_head=4,
            bos_token_id=0,
            eos_token_id=0,
            use_cache=False,
            attn_implementation="eager",
        )
    ),
    "bert": lambda: transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=48,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=96,
            max_position_embeddings=POSITIONS,
            attn_implementation="eager",
        )
    ),
    "llama": lambda: transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=POSITIONS,
            tie_word_embeddings=False,
            use_cache=False,
            attn_implementation="eager",
        )
    ),
}


def build(name: str) -> torch.nn.Module:
    """The model of this name in evaluation mode; the same weights every time."""
    torch.manual_seed(SEED)
    model = MODELS[name]().eval()
    # Fresh biases are all zero and fresh norms all one. An exporter merges equal constants, which
    # looks like weight tying; distinct values keep the export honest.
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    model.tie_weights()
    return model


def sample_ids() -> torch.Tensor:
    """Token ids to run the model on."""
    generator = torch.Generator().manual_seed(SEED)
    return torch.randint(0, VOCABULARY, (BATCH, SEQUENCE), generator=generator)

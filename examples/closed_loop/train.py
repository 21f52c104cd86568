"""What is the user's: a model, a loss, samples (`loop.py` starts it with torchrun)."""

import sys

import torch
from torch import nn

import meshwright as mw
from model import Block, Embedding

torch.manual_seed(0)
model = nn.Sequential(Embedding(1000, 128, 256), *(Block(256, 4) for _ in range(6)), nn.LayerNorm(256), nn.Linear(256, 1000, bias=False))
inputs, targets = torch.randint(1000, (16, 64)), torch.randint(1000, (16, 64))
run = mw.torch.run(sys.argv[1], model, lambda output, target: nn.functional.cross_entropy(output.flatten(0, 1), target.flatten()))
run.measure(10, inputs, targets, path=sys.argv[2], force=True)

"""What Megatron-Core's scheduler and layout class make of a parsed config."""

from __future__ import annotations

import types

from megatron.core.pipeline_parallel.schedules import get_pp_rank_microbatches, get_schedule_table
from megatron.core.transformer.enums import LayerType


def order(config, n: int) -> list[list[str]]:
    """Passes of each pipeline rank over so many micro-batches, from its scheduler's tables."""
    n_ranks, n_chunks = config.pipeline_model_parallel_size, config.virtual_pipeline_model_parallel_size
    table = [(i, 0) for i in range(n)]
    if n_chunks is not None:
        table = get_schedule_table(n, n_chunks, config.microbatch_group_size_per_vp_stage)
    rows = []
    for rank in range(n_ranks):
        seen = types.SimpleNamespace(
            pp_group=types.SimpleNamespace(size=lambda: n_ranks, rank=lambda rank=rank: rank),
            virtual_pipeline_model_parallel_size=n_chunks,
        )
        total, _, ahead, _ = get_pp_rank_microbatches(
            n, n_chunks or 1, config.microbatch_group_size_per_vp_stage,
            overlap_moe_expert_parallel_comm=config.overlap_moe_expert_parallel_comm, p2p_communicator=seen,
        )  # fmt: skip
        forward = [f"{chunk * n_ranks + rank}F{i}" for i, chunk in table]
        last = (n_chunks or 1) - 1
        backward = [f"{(last - chunk) * n_ranks + rank}B{i}" for i, chunk in table]
        row = forward[:ahead]
        for i in range(total - ahead):
            row += [forward[ahead + i], backward[i]]
        rows.append(row + backward[total - ahead :])
    return rows


def layers(layout, n_ranks: int, n_chunks: int) -> list[dict[str, int]]:
    """By stage in model order, what its layout class puts there."""
    stages = [layout.layout[rank][chunk] for chunk in range(n_chunks) for rank in range(n_ranks)]
    return [{kind.name: own.count(kind) for kind in LayerType} for own in stages]

//! Rows of tables: shape and time of a kernel.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::engine_tables::{
    AttentionKey, EngineTables, Grid, MlaKey, MoeKey, NumberFormat, Point, TableSource,
};
use ir::measured::CollectiveOperation;
use sha2::{Digest, Sha256};

use super::folder::TableFile;
use crate::parquet::{self, Column, Table};

/// A table of the package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gemm,
    Prefill,
    Decode,
    MlaPrefill,
    MlaDecode,
    MlaBlockPrefill,
    MlaBlockDecode,
    MlaBmm,
    Moe,
    AllReduce,
    Collectives,
}

impl Kind {
    pub(super) const ALL: [Self; 11] = [
        Self::Gemm,
        Self::Prefill,
        Self::Decode,
        Self::MlaPrefill,
        Self::MlaDecode,
        Self::MlaBlockPrefill,
        Self::MlaBlockDecode,
        Self::MlaBmm,
        Self::Moe,
        Self::AllReduce,
        Self::Collectives,
    ];

    /// Family folder and file name without extension.
    pub(super) const fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::Gemm => ("gemm", "gemm_perf"),
            Self::Prefill => ("attention", "context_attention_perf"),
            Self::Decode => ("attention", "generation_attention_perf"),
            Self::MlaPrefill => ("mla", "context_mla_perf"),
            Self::MlaDecode => ("mla", "generation_mla_perf"),
            Self::MlaBlockPrefill => ("mla", "mla_context_module_perf"),
            Self::MlaBlockDecode => ("mla", "mla_generation_module_perf"),
            Self::MlaBmm => ("mla_bmm", "mla_bmm_perf"),
            Self::Moe => ("moe", "moe_perf"),
            Self::AllReduce => ("comm", "custom_allreduce_perf"),
            Self::Collectives => ("comm", "nccl_perf"),
        }
    }

    /// Required columns besides `latency`.
    const fn columns(self) -> &'static [&'static str] {
        const ATTENTION: [&str; 8] = [
            "attn_dtype",
            "kv_cache_dtype",
            "num_heads",
            "num_key_value_heads",
            "head_dim",
            "batch_size",
            "isl",
            "step",
        ];
        const MLA: [&str; 6] =
            ["mla_dtype", "kv_cache_dtype", "num_heads", "batch_size", "isl", "step"];
        const MLA_BLOCK: [&str; 7] =
            ["mla_dtype", "kv_cache_dtype", "gemm_type", "num_heads", "batch_size", "isl", "step"];
        match self {
            Self::Gemm => &["gemm_dtype", "m", "n", "k"],
            Self::Prefill | Self::Decode => &ATTENTION,
            Self::MlaPrefill | Self::MlaDecode => &MLA,
            Self::MlaBlockPrefill | Self::MlaBlockDecode => &MLA_BLOCK,
            Self::MlaBmm => &["bmm_dtype", "op_name", "num_heads", "num_tokens"],
            Self::Moe => &[
                "moe_dtype",
                "num_tokens",
                "hidden_size",
                "inter_size",
                "topk",
                "num_experts",
                "moe_tp_size",
                "moe_ep_size",
                "distribution",
            ],
            Self::AllReduce => &["allreduce_dtype", "num_gpus", "message_size"],
            Self::Collectives => &["nccl_dtype", "op_name", "num_gpus", "message_size"],
        }
    }
}

/// Columns that some files lack.
const OPTIONAL: [&str; 3] = ["window_size", "kernel_source", "backend"];
/// Suffix of all-reduces outside CUDA graphs.
const UNRECORDED: &str = "_eager";
/// MoE kernels for few tokens, measured at the same sizes as the general ones.
const FEW_TOKENS: &str = "moe_torch_flow_min_latency";

/// Rows of a file.
struct Rows<'a> {
    table: &'a Table,
    file: &'a str,
}

impl Rows<'_> {
    fn bad(&self, row: usize, column: &str, expected: &str) -> Diagnostic {
        Diagnostic::input("bad-cell", format!("column `{column}` holds no {expected}"))
            .fact("file", self.file)
            .fact("row", row)
            .fact("column", column)
    }

    /// A string; `None` for a null cell or an absent column.
    fn text(&self, row: usize, column: &str) -> Option<&str> {
        let Some(Column::Text(texts, places)) = self.table.columns.get(column) else { return None };
        places[row].map(|place| texts[place as usize].as_str())
    }

    fn count(&self, row: usize, column: &str) -> Result<u32, Diagnostic> {
        let cell = match self.table.columns.get(column) {
            Some(Column::Whole(cells)) => cells[row],
            _ => None,
        };
        let count = cell.and_then(|cell| u32::try_from(cell).ok());
        count.ok_or_else(|| self.bad(row, column, "number from 0 to 2^32"))
    }

    /// Time in seconds; tables have milliseconds.
    fn seconds(&self, row: usize) -> Result<f64, Diagnostic> {
        let cell = match self.table.columns.get("latency") {
            Some(Column::Real(cells)) => cells[row],
            _ => None,
        };
        let seconds = cell.map(|milliseconds| milliseconds / 1e3);
        let is_time = |seconds: &f64| seconds.is_finite() && *seconds > 0.0;
        seconds.filter(is_time).ok_or_else(|| self.bad(row, "latency", "time above 0"))
    }

    fn number(&self, row: usize, column: &str) -> Option<NumberFormat> {
        self.text(row, column).and_then(NumberFormat::named)
    }

    fn tokens(&self, row: usize) -> Result<u32, Diagnostic> {
        let tokens = self.count(row, "isl")?.checked_add(self.count(row, "step")?);
        tokens.ok_or_else(|| self.bad(row, "step", "number that fits"))
    }

    /// Key and query heads of an attention row; `None` for unknown data types.
    fn heads(&self, row: usize, kind: Kind) -> Result<Option<(AttentionKey, u32)>, Diagnostic> {
        let heads = self.count(row, "num_heads")?;
        let kv_heads = self.count(row, "num_key_value_heads")?;
        let number = match kind {
            Kind::Decode => Some(NumberFormat::Bf16),
            _ => self.number(row, "attn_dtype"),
        };
        let Some((number, cache)) = number.zip(self.number(row, "kv_cache_dtype")) else {
            return Ok(None);
        };
        let has_window = self.table.columns.contains_key("window_size");
        let window = if has_window { self.count(row, "window_size")? } else { 0 };
        let kv_heads = if kv_heads == heads { 0 } else { kv_heads };
        let head_dim = self.count(row, "head_dim")?;
        Ok(Some((AttentionKey { number, cache, kv_heads, head_dim, window }, heads)))
    }

    /// Key of an MLA row, with heads, requests and tokens; `None` for unknown data types.
    fn mla(&self, row: usize, kind: Kind) -> Result<Option<(MlaKey, [u32; 3])>, Diagnostic> {
        let is_block = matches!(kind, Kind::MlaBlockPrefill | Kind::MlaBlockDecode);
        let weights = if is_block { self.number(row, "gemm_type") } else { None };
        let number = match kind {
            // The compute type of decoding follows the cache; tables name another one.
            Kind::MlaDecode | Kind::MlaBlockDecode => Some(NumberFormat::Bf16),
            _ => self.number(row, "mla_dtype"),
        };
        let numbers = number.zip(self.number(row, "kv_cache_dtype"));
        let Some((number, cache)) = numbers.filter(|_| weights.is_some() == is_block) else {
            return Ok(None);
        };
        let (heads, requests) = (self.count(row, "num_heads")?, self.count(row, "batch_size")?);
        let at = [heads, requests, self.tokens(row)?];
        Ok(Some((MlaKey { number, cache, weights }, at)))
    }

    fn experts(&self, row: usize) -> Result<Option<MoeKey>, Diagnostic> {
        let (number, load) = (self.number(row, "moe_dtype"), self.text(row, "distribution"));
        let Some((number, load)) = number.zip(load) else { return Ok(None) };
        if self.text(row, "kernel_source") == Some(FEW_TOKENS) {
            return Ok(None);
        }
        Ok(Some(MoeKey {
            number,
            experts: self.count(row, "num_experts")?,
            per_token: self.count(row, "topk")?,
            hidden: self.count(row, "hidden_size")?,
            inner: self.count(row, "inter_size")?,
            tensor: self.count(row, "moe_tp_size")?,
            expert: self.count(row, "moe_ep_size")?,
            load: load.to_owned(),
        }))
    }

    fn is_recorded(&self, row: usize) -> bool {
        let names = ["kernel_source", "backend"].map(|column| self.text(row, column));
        !names.into_iter().flatten().any(|name| name.ends_with(UNRECORDED))
    }
}

type Points<K, const N: usize> = BTreeMap<K, Vec<Point<N>>>;

/// Rows of all files, by table.
#[derive(Debug, Default)]
pub(super) struct Collected {
    gemm: Points<NumberFormat, 3>,
    /// Default kernel of the engine first, then other kernels.
    prefill: [Points<AttentionKey, 3>; 2],
    decode: [Points<AttentionKey, 3>; 2],
    mla_prefill: Points<MlaKey, 3>,
    mla_decode: Points<MlaKey, 3>,
    mla_bmm: Points<(NumberFormat, bool), 2>,
    moe: Points<MoeKey, 1>,
    all_reduce: Points<u32, 1>,
    collectives: Points<(CollectiveOperation, u32), 1>,
}

impl Collected {
    /// Adds the rows of the `index`-th file.
    ///
    /// # Errors
    /// `unreadable-file`, `size-budget`, `bad-parquet`, `missing-column`, `bad-cell`, each with the
    /// fact `file`.
    pub(super) fn file(
        &mut self,
        file: &TableFile,
        index: usize,
        preferred: &str,
    ) -> Result<TableSource, Diagnostic> {
        let required = file.kind.columns().iter().chain(&["latency"]).copied();
        let names: Vec<&str> = required.clone().chain(OPTIONAL).collect();
        let bytes = file.bytes()?;
        let table = parquet::read(&bytes, &names)
            .map_err(|error| error.fact("file", file.name.as_str()))?;
        for column in required {
            if !table.columns.contains_key(column) {
                let message = format!("the table has no column `{column}`");
                return Err(Diagnostic::input("missing-column", message)
                    .fact("file", file.name.as_str())
                    .fact("column", column)
                    .hint(
                        "install aiconfigurator-core 0.12: other versions may have another layout",
                    ));
            }
        }
        let rows = Rows { table: &table, file: &file.name };
        let source = u16::try_from(index).unwrap_or(u16::MAX);
        for row in 0..table.n_rows {
            self.row(&rows, row, (file.kind, source), preferred)?;
        }
        Ok(TableSource {
            file: file.name.clone(),
            version: file.version.clone(),
            n_rows: table.n_rows as u64,
            n_kept: 0,
            sha256: Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    fn row(
        &mut self,
        rows: &Rows,
        row: usize,
        (kind, source): (Kind, u16),
        preferred: &str,
    ) -> Result<(), Diagnostic> {
        let count = |column| rows.count(row, column);
        let seconds = rows.seconds(row)?;
        match kind {
            Kind::Gemm => {
                let Some(number) = rows.number(row, "gemm_dtype") else { return Ok(()) };
                let at = [count("n")?, count("k")?, count("m")?];
                self.gemm.entry(number).or_default().push((at, seconds, source));
            }
            Kind::Prefill | Kind::Decode => {
                let Some((key, heads)) = rows.heads(row, kind)? else { return Ok(()) };
                let (batch, tokens) = (count("batch_size")?, rows.tokens(row)?);
                let is_other =
                    rows.text(row, "kernel_source").is_some_and(|name| name != preferred);
                let is_other = usize::from(is_other && !preferred.is_empty());
                let (table, at) = match kind {
                    Kind::Prefill => (&mut self.prefill[is_other], [heads, tokens, batch]),
                    _ => (&mut self.decode[is_other], [heads, batch, tokens]),
                };
                table.entry(key).or_default().push((at, seconds, source));
            }
            Kind::MlaPrefill | Kind::MlaBlockPrefill => {
                let Some((key, [heads, batch, tokens])) = rows.mla(row, kind)? else {
                    return Ok(());
                };
                let table = self.mla_prefill.entry(key).or_default();
                table.push(([heads, tokens, batch], seconds, source));
            }
            Kind::MlaDecode | Kind::MlaBlockDecode => {
                let Some((key, at)) = rows.mla(row, kind)? else { return Ok(()) };
                self.mla_decode.entry(key).or_default().push((at, seconds, source));
            }
            _ => return self.other(rows, row, (kind, source), seconds),
        }
        Ok(())
    }

    fn other(
        &mut self,
        rows: &Rows,
        row: usize,
        (kind, source): (Kind, u16),
        seconds: f64,
    ) -> Result<(), Diagnostic> {
        let count = |column| rows.count(row, column);
        match kind {
            Kind::MlaBmm => {
                let of_queries = match rows.text(row, "op_name") {
                    Some("mla_gen_pre") => true,
                    Some("mla_gen_post") => false,
                    _ => return Err(rows.bad(row, "op_name", "product of latent attention")),
                };
                let Some(number) = rows.number(row, "bmm_dtype") else { return Ok(()) };
                let at = [count("num_heads")?, count("num_tokens")?];
                let table = self.mla_bmm.entry((number, of_queries));
                table.or_default().push((at, seconds, source));
            }
            Kind::Moe => {
                let Some(key) = rows.experts(row)? else { return Ok(()) };
                let at = [count("num_tokens")?];
                self.moe.entry(key).or_default().push((at, seconds, source));
            }
            Kind::AllReduce if rows.is_recorded(row) => {
                let at = [count("message_size")?];
                self.all_reduce.entry(count("num_gpus")?).or_default().push((at, seconds, source));
            }
            Kind::Collectives if rows.number(row, "nccl_dtype") == Some(NumberFormat::Bf16) => {
                let operation = match rows.text(row, "op_name") {
                    Some("all_reduce") => CollectiveOperation::AllReduce,
                    Some("all_gather") => CollectiveOperation::AllGather,
                    Some("reduce_scatter") => CollectiveOperation::ReduceScatter,
                    Some("alltoall") => CollectiveOperation::AllToAll,
                    _ => return Ok(()),
                };
                let at = [count("message_size")?];
                let table = self.collectives.entry((operation, count("num_gpus")?));
                table.or_default().push((at, seconds, source));
            }
            _ => {}
        }
        Ok(())
    }

    /// Sorts the rows, and counts the rows in use of each file.
    pub(super) fn into_tables(self, tables: &mut EngineTables) {
        let mut kept = vec![0; tables.sources.len()];
        tables.gemm = grids(self.gemm, &mut kept);
        tables.prefill = grids(taken(self.prefill), &mut kept);
        tables.decode = grids(taken(self.decode), &mut kept);
        tables.mla_prefill = grids(self.mla_prefill, &mut kept);
        tables.mla_decode = grids(self.mla_decode, &mut kept);
        tables.mla_bmm = grids(self.mla_bmm, &mut kept);
        tables.moe = grids(self.moe, &mut kept);
        tables.all_reduce = grids(self.all_reduce, &mut kept);
        tables.collectives = grids(self.collectives, &mut kept);
        for (source, n_kept) in tables.sources.iter_mut().zip(kept) {
            source.n_kept = n_kept;
        }
    }
}

/// Default kernels, and other kernels for keys without one.
fn taken([taken, others]: [Points<AttentionKey, 3>; 2]) -> Points<AttentionKey, 3> {
    let mut all = others;
    all.extend(taken);
    all
}

fn grids<K: Ord, const N: usize>(points: Points<K, N>, kept: &mut [u64]) -> BTreeMap<K, Grid> {
    let grid = |(key, points)| {
        let grid = Grid::of(points);
        for point in 0..grid.len() {
            kept[usize::from(grid.source(point))] += 1;
        }
        (key, grid)
    };
    points.into_iter().map(grid).collect()
}

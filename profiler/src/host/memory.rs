//! Reading, writing and copying memory with all cores.

use std::hint::black_box;

use ir::diagnostic::{Blame, Diagnostic};
use rayon::prelude::*;

/// What is measured.
pub(super) const FAMILIES: [&str; 3] = ["read", "write", "copy"];

/// Elements that one thread takes at a time: 256 KiB.
const CHUNK: usize = 1 << 16;
/// Independent sums, so that additions do not wait for each other.
const LANES: usize = 64;

/// Buffers of one stream.
pub(super) struct Memory {
    family: Family,
    source: Vec<f32>,
    target: Vec<f32>,
}

#[derive(Clone, Copy)]
enum Family {
    Read,
    Write,
    Copy,
}

impl Memory {
    /// Buffers for `bytes` moved in all; a copy reads one half and writes the other.
    pub(super) fn new(family: &str, bytes: u64) -> Result<Self, Diagnostic> {
        let family = match family {
            "read" => Family::Read,
            "write" => Family::Write,
            "copy" => Family::Copy,
            other => {
                let message = format!("the host has no stream `{other}`");
                return Err(Diagnostic::error(Blame::Internal, "internal", message));
            }
        };
        let elements = usize::try_from(bytes / 4).unwrap_or(0);
        let (read, written) = match family {
            Family::Read => (elements, 0),
            Family::Write => (0, elements),
            Family::Copy => (elements / 2, elements / 2),
        };
        Ok(Self { family, source: vec![1.0; read], target: vec![0.0; written] })
    }

    /// Moves the bytes once.
    pub(super) fn run(&mut self) {
        match self.family {
            Family::Read => {
                let sum: f32 = self.source.par_chunks(CHUNK).map(sum).sum();
                black_box(sum);
            }
            Family::Write => {
                let value = black_box(1.0);
                self.target.par_chunks_mut(CHUNK).for_each(|chunk| chunk.fill(value));
            }
            Family::Copy => {
                let pairs = self.target.par_chunks_mut(CHUNK).zip(self.source.par_chunks(CHUNK));
                pairs.for_each(|(target, source)| target.copy_from_slice(source));
            }
        }
        black_box(&self.target);
    }
}

fn sum(chunk: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for row in chunk.chunks_exact(LANES) {
        for (lane, value) in lanes.iter_mut().zip(row) {
            *lane += value;
        }
    }
    lanes.iter().sum()
}

//! Trace events of a training step: a thread per pipeline rank with its passes, one for what it
//! sends, and what follows its last pass.

use std::fmt::Write as _;

use cost_model::ops::judge::replay::Span;
use cost_model::runs::judge::Judged;
use ir::grid::Pass;

use super::micros;
use crate::format::Export;
use crate::svg::pipeline::PipelineSource;

/// The trace.
#[must_use]
pub fn export(source: &PipelineSource<'_>) -> Export {
    let Judged { lowered, timeline, .. } = source.judged;
    let mut text = String::from("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
    text.push_str(
        "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":0,\"args\":{\"name\":\"pipeline\"}}",
    );
    let thread = |rank: usize, sends: bool| 2 * rank + usize::from(sends);
    let mut event = |name: &str, thread: usize, span: Span| {
        if span.end > span.start {
            // Writing to a string can't fail.
            let _ = write!(
                text,
                ",\n{{\"ph\":\"X\",\"name\":\"{name}\",\"pid\":0,\"tid\":{thread},\"ts\":{},\"dur\":{}}}",
                micros(span.start),
                micros(span.end - span.start)
            );
        }
    };
    for (rank, row) in source.grid.rows.iter().enumerate() {
        for (position, cell) in row.iter().enumerate() {
            let pass = match cell.pass {
                Pass::Forward => "forward",
                Pass::Backward => "backward",
                Pass::BackwardInput => "backward-input",
                Pass::BackwardWeight => "backward-weight",
                Pass::Recompute => "recompute",
            };
            let name = format!("{pass} {} of stage {}", cell.micro_batch, cell.stage.0);
            event(&name, thread(rank, false), timeline.cell(lowered, rank, position));
        }
        if let Some(end) = timeline.ends.get(rank) {
            for (stage, span) in &end.overlapped {
                event(&format!("gradients of stage {}", stage.0), thread(rank, true), *span);
            }
            event("gradients left to exchange", thread(rank, false), end.exposed);
            event("gradients of tied parameters", thread(rank, false), end.tied);
            event("optimizer", thread(rank, false), end.optimizer);
        }
    }
    for sent in timeline.transfers(lowered) {
        let name = format!("to rank {}, {} bytes", sent.to, sent.bytes.0);
        event(&name, thread(sent.from as usize, true), sent.span);
    }
    for rank in 0..source.grid.rows.len() {
        for (sends, name) in [(false, "computes"), (true, "sends")] {
            let _ = write!(
                text,
                ",\n{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":0,\"tid\":{},\"args\":\
                 {{\"name\":\"rank {rank} {name}\"}}}}",
                thread(rank, sends)
            );
        }
    }
    text.push_str("\n]}\n");
    text.into()
}

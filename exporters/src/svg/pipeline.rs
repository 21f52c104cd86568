//! A picture of a training step: a row per pipeline rank with its passes as bars, the shares of the step,
//! and the memory of the fullest rank over time.
//!
//! Where passes of a rank are narrower than two pixels, all ranks are drawn in columns of equal time, in
//! which each kind is as high as its share. Past 48 ranks the rest is named in a note.

use cost_model::runs::judge::Judged;
use cost_model::runs::judge::memory::{HoldingKind, changes};
use cost_model::runs::judge::report::RankReport;
use cost_model::runs::judge::windows::{Doing, Part, Shares, levels, parts, shares};
use ir::grid::Grid;
use ir::units::{Bytes, Nanos};
use svg::node::element::{Circle, Group, Path, Title};

use super::{
    BACKWARD, BAR, CHARACTER, COMMUNICATION, EDGE, EMPTY, FADED, FORWARD, INK, LINE, Legend,
    MAX_ROWS, OPTIMIZER, PERSISTENT, RECOMPUTE, RIGHT, ROW, RULE, SIZE, Set, TOP, Time, WEIGHT,
    head, line, rectangle, rounded, row_figures, row_head, text, with_rest, writing_on,
};
use crate::format::Export;

/// A judged step of a training run.
#[derive(Clone, Copy)]
pub struct PipelineSource<'a> {
    /// When everything happens.
    pub judged: &'a Judged<'a>,
    /// Passes by rank.
    pub grid: &'a Grid,
    /// Name of the model.
    pub model: &'a str,
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Nanoseconds that no plan of the search falls below.
    pub bound: Nanos,
}

/// By [`Doing`].
const FILLS: [&str; Doing::ALL.len()] =
    [FORWARD, BACKWARD, BACKWARD, WEIGHT, RECOMPUTE, OPTIMIZER, COMMUNICATION, EMPTY];
/// Kinds of bytes from the bottom up, with their fills.
const LEVELS: [(HoldingKind, &str); HoldingKind::ALL.len()] = [
    (HoldingKind::Persistent, PERSISTENT),
    (HoldingKind::Temporary, RECOMPUTE),
    (HoldingKind::Recomputed, WEIGHT),
    (HoldingKind::Stash, FORWARD),
];
/// Parts of a rank that a column holds on average, and its least and greatest width in pixels.
const IN_COLUMN: (f64, f64, f64) = (16.0, 4.0, 16.0);
/// Least width of the parts of a row on average, in pixels; narrower ones are drawn in columns.
const LEAST: f64 = 2.0;
/// Height of the memory curve.
const HEIGHT: f64 = 132.0;
/// Ratio of limit to peak above which the limit line is left out of the curve and written as text.
const FAR: f64 = 2.5;

/// The picture.
#[must_use]
pub fn export(source: &PipelineSource<'_>) -> Export {
    let report = &source.judged.report;
    let n_ranks = source.grid.rows.len();
    let n_rows = n_ranks.min(MAX_ROWS);
    let time = Time::new(report.step_time.get(), std::iter::empty());
    let all: Vec<Vec<Part>> = (0..n_ranks).map(|rank| parts(source.judged, rank)).collect();
    let columns = n_columns(&all, RIGHT - time.left);
    let legend = legend(&all, time.step);
    let bottom = TOP + ROW * n_rows as f64;
    let memory = bottom + LINE + legend.height() + 10.0;
    let (curve, end) = fullest(source).map_or((None, memory), |(rank, rank_report)| {
        let (drawn, end) = memory_of((source, rank, rank_report), &time, memory);
        (Some(drawn), end)
    });
    let mut subtitle = format!("step {} \u{b7} bound {}", Nanos(time.step), source.bound);
    subtitle.push_str(&match n_ranks {
        1 => " \u{b7} no pipeline".to_owned(),
        n => format!(" \u{b7} {n} pipeline ranks"),
    });
    if let Some(n) = columns {
        let each = Nanos(time.step / n as u64);
        subtitle.push_str(&format!(" \u{b7} each column: shares of {each}"));
    }
    let mut document = head((source.model, source.cluster), &subtitle, &time, (bottom, end));
    for (rank, parts) in all.iter().enumerate().take(n_rows) {
        document = document.add(row(source, rank, parts, (&time, columns)));
    }
    let of = if n_ranks == 1 { "" } else { ", mean of all ranks" };
    let heading = text(&format!("shares of the step{of}"), (EDGE, bottom + 22.0), SIZE, INK).bold();
    document = document.add(heading).add(legend.drawn(bottom + LINE));
    document = curve.into_iter().fold(document, svg::Document::add);
    format!("{}\n", with_rest(document, (n_rows, n_ranks, "ranks"), bottom)).into()
}

/// Columns of a row, where some rank has more parts than can be told apart.
fn n_columns(ranks: &[Vec<Part>], pixels: f64) -> Option<usize> {
    let most = ranks.iter().map(Vec::len).max().unwrap_or(0) as f64;
    let (parts, least, greatest) = IN_COLUMN;
    let width = (parts * pixels / most.max(1.0)).clamp(least, greatest);
    (most > pixels / LEAST).then_some((pixels / width) as usize)
}

/// What all ranks do, with its share of their time.
fn legend(ranks: &[Vec<Part>], step: u64) -> Legend {
    let mut sums = Shares::default();
    for column in ranks.iter().flat_map(|parts| shares(parts, step, 1)) {
        sums.iter_mut().zip(column).for_each(|(sum, ns)| *sum += ns);
    }
    let all = sums.iter().sum::<u64>().max(1) as f64;
    let entry = |doing: &Doing| {
        let share = 100.0 * sums[*doing as usize] as f64 / all;
        let percent = if share < 0.05 { "< 0.1".to_owned() } else { format!("{share:.1}") };
        (format!("{} {percent} %", doing.name()), FILLS[*doing as usize])
    };
    let used = Doing::ALL.iter().filter(|doing| sums[**doing as usize] > 0);
    Legend { entries: used.map(entry).collect() }
}

fn row(
    source: &PipelineSource<'_>,
    rank: usize,
    parts: &[Part],
    (time, columns): (&Time, Option<usize>),
) -> Group {
    let top = TOP + ROW * rank as f64;
    let mut group = row_head(top, &format!("rank {rank}"));
    if let Some(report) = source.judged.report.ranks.get(rank) {
        let busy = 100.0 * report.compute_ns as f64 / time.step as f64;
        group = row_figures(group, top, Some(busy), (report.peak.bytes, report.limit));
    }
    let top = top + (ROW - BAR) / 2.0;
    let bubble = rectangle((time.left, top, RIGHT - time.left, BAR), EMPTY);
    group = group.add(bubble.add(Title::new(Doing::Bubble.name())));
    let is_work = |doing: &Doing| *doing != Doing::Bubble;
    let Some(n) = columns else {
        let work = parts.iter().filter(|part| is_work(&part.doing));
        return work.fold(group, |group, part| bar(group, part, top, time));
    };
    let columns: Vec<Shares> = shares(parts, time.step, n);
    let work: Vec<(usize, &str, &str)> = Doing::ALL
        .into_iter()
        .filter(is_work)
        .map(|doing| (doing as usize, FILLS[doing as usize], doing.name()))
        .collect();
    let high =
        |bytes: u64, column: &Shares| BAR * bytes as f64 / column.iter().sum::<u64>().max(1) as f64;
    group.add(stack(&columns, &work, (time.left, top + BAR), &high))
}

fn bar(group: Group, part: &Part, top: f64, time: &Time) -> Group {
    let (from, to) = (time.x(part.span.start), time.x(part.span.end));
    let gap = if to - from > 3.0 { 0.8 } else { 0.0 };
    let (name, fill) = (part.doing.name(), FILLS[part.doing as usize]);
    let micro_batch = part.cell.map_or_else(String::new, |cell| cell.micro_batch.to_string());
    let duration = Nanos(part.span.end - part.span.start);
    let hover = format!("{name} {micro_batch}");
    let hover = Title::new(format!("{}, {duration}", hover.trim_end()));
    let group = group.add(rectangle((from, top, to - from - gap, BAR), fill).add(hover));
    if to - from <= CHARACTER * micro_batch.len() as f64 + 4.0 || micro_batch.is_empty() {
        return group;
    }
    let middle = ((from + to) / 2.0, top + BAR / 2.0 + 6.0);
    group.add(text(&micro_batch, middle, SIZE, writing_on(fill)).middle())
}

/// Columns from `left` to the end of the step, in each the layers on top of each other. Each layer is a
/// path down to the bottom, the highest first, so that nothing shines through between two.
fn stack<const N: usize>(
    columns: &[[u64; N]],
    layers: &[(usize, &str, &str)],
    (left, bottom): (f64, f64),
    high: &dyn Fn(u64, &[u64; N]) -> f64,
) -> Group {
    let width = (RIGHT - left) / columns.len().max(1) as f64;
    let mut group = Group::new();
    for (at, (layer, fill, name)) in layers.iter().enumerate().rev() {
        if columns.iter().all(|column| column[*layer] == 0) {
            continue;
        }
        let mut path = format!("M{} {}", rounded(left), rounded(bottom));
        let mut last = f64::NAN;
        for (index, column) in columns.iter().enumerate() {
            let sum = layers[..=at].iter().map(|(layer, ..)| column[*layer]).sum();
            let y = rounded(bottom - high(sum, column));
            if y != last {
                path.push_str(&format!("H{}V{y}", rounded(left + width * index as f64)));
                last = y;
            }
        }
        path.push_str(&format!("H{RIGHT}V{}Z", rounded(bottom)));
        group = group.add(Path::new().set("d", path).set("fill", *fill).add(Title::new(*name)));
    }
    group
}

/// The rank with the least room above its peak.
fn fullest<'a>(source: &PipelineSource<'a>) -> Option<(usize, &'a RankReport)> {
    let ranks = source.judged.report.ranks.iter().enumerate();
    ranks.min_by_key(|(_, report)| {
        report.limit.unwrap_or(u64::MAX).saturating_sub(report.peak.bytes)
    })
}

/// Memory of a rank over the step and the parts of its peak, from `top` down; where they end.
fn memory_of(
    (source, rank, report): (&PipelineSource<'_>, usize, &RankReport),
    time: &Time,
    top: f64,
) -> (Group, f64) {
    let (peak, judged) = (report.peak.bytes, source.judged);
    let columns = levels(
        &changes(&judged.lowered, &judged.timeline, rank),
        time.step,
        (RIGHT - time.left) as usize,
    );
    let near = report.limit.filter(|limit| *limit as f64 <= FAR * peak as f64);
    let most = near.unwrap_or(0).max(peak).max(1) as f64;
    let bottom = top + 42.0 + HEIGHT;
    let y = |bytes: f64| bottom - HEIGHT * bytes / most;
    let of = report.limit.map_or_else(String::new, |limit| format!(" of {}", Bytes(limit)));
    let which = if source.grid.rows.len() == 1 { "" } else { ", the fullest" };
    let heading = format!("memory of rank {rank}{which}: peak {}{of}", Bytes(peak));
    let mut group = Group::new()
        .add(line((0.0, top), (super::WIDTH, top), RULE))
        .add(text(&heading, (EDGE, top + 22.0), SIZE, INK).bold());
    for (bytes, label) in byte_ticks(most) {
        let label = text(&label, (time.left - 8.0, y(bytes) + 5.0), SIZE, FADED).end();
        group = group.add(line((time.left, y(bytes)), (RIGHT, y(bytes)), RULE)).add(label);
    }
    let layers = LEVELS.map(|(kind, fill)| (kind as usize, fill, kind.name()));
    let high = |bytes: u64, _: &_| HEIGHT * bytes as f64 / most;
    group = group.add(stack(&columns, &layers, (time.left, bottom), &high));
    if let Some(limit) = near.map(|limit| y(limit as f64)) {
        let dashed = line((time.left, limit), (RIGHT, limit), INK).set("stroke-dasharray", "5 4");
        group = group.add(dashed).add(text("limit", (RIGHT + 10.0, limit + 5.0), SIZE, FADED));
    }
    let at =
        Circle::new().set("cx", rounded(time.x(report.peak.at))).set("cy", rounded(y(peak as f64)));
    let dot = at.set("r", 4).set("fill", INK).add(Title::new(format!("peak {}", Bytes(peak))));
    let legend = parts_of_peak(report);
    (group.add(dot).add(legend.drawn(bottom)), bottom + legend.height())
}

/// Kinds of what lies on a rank at its peak, with their bytes.
fn parts_of_peak(report: &RankReport) -> Legend {
    let entry = |(kind, fill): (HoldingKind, &'static str)| {
        let alive = report.alive.iter().filter(|holding| holding.what == kind);
        let bytes: u64 = alive.map(|holding| holding.bytes).sum();
        (bytes > 0).then(|| (format!("{} {}", kind.name(), Bytes(bytes)), fill))
    };
    Legend { entries: LEVELS.into_iter().filter_map(entry).collect() }
}

/// Round numbers of bytes up to `most`, in units of 1,024: 0 and at most 4 more.
fn byte_ticks(most: f64) -> Vec<(f64, String)> {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"), (0, "B")];
    let unit = units.into_iter().map(|(power, name)| (2f64.powi(power), name));
    let (unit, name) = unit.into_iter().find(|(unit, _)| most >= *unit).unwrap_or((1.0, "B"));
    let power = 10f64.powf((most / unit).log10().floor() - 1.0);
    let mut steps = [2.0, 5.0, 10.0, 20.0, 50.0].into_iter().map(|factor| factor * power);
    let step = steps.find(|step| most / unit / step < 5.0).unwrap_or(most / unit);
    let n = (most / unit / step) as u64;
    let tick = |at: u64| (at as f64 * step * unit, format!("{} {name}", at as f64 * step));
    std::iter::once((0.0, "0".to_owned())).chain((1..=n).map(tick)).collect()
}

#[cfg(test)]
mod tests;

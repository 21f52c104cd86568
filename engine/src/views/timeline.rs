//! Tiles of a timeline: slices where they fit, else equal parts of time with exact sums.

use std::collections::{BTreeMap, HashMap};

use ir::diagnostic::Diagnostic;
use serde::Serialize;

use super::bytes::damaged;
use super::head::{LaneHead, Role};
use super::kind::Kind;
use super::lane::{Lane, Place, Sums};
use super::view::View;
use crate::answer::suggest;

/// Parts of time grow by this factor from zoom to zoom.
const FACTOR: u64 = 4;

/// A window of some lanes.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tile {
    /// Nanoseconds of the step.
    pub step_time_ns: u64,
    /// Start of the window, in nanoseconds.
    pub from_ns: u64,
    /// Its end, not past that of the step.
    pub to_ns: u64,
    /// Length of the parts that rows of several slices cover, a power of 4; they begin at multiples
    /// of it. 0 where every row is one slice.
    pub part_ns: u64,
    /// Names of the kinds that `kind` counts.
    pub kinds: Vec<&'static str>,
    /// What the rows' `what` counts.
    pub things: Vec<ThingTold>,
    /// The lanes.
    pub lanes: Vec<LaneTile>,
}

/// What a slice is about.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ThingTold {
    /// An op, a tensor, a stage; of idle time what is awaited.
    pub name: String,
    /// The device that it comes from, or where it is awaited from.
    pub from: Option<String>,
    /// The device that it goes to.
    pub to: Option<String>,
}

/// A window of a lane. Columns have a number per row; rows follow one another without a gap.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LaneTile {
    /// Its name.
    pub lane: String,
    /// The device that it belongs to.
    pub device: Option<String>,
    /// What it stands for.
    pub role: Role,
    /// Slices of work that start in the window.
    pub n_started: u64,
    /// Nanoseconds of the window by kind; they add up to its length.
    pub ns: BTreeMap<&'static str, u64>,
    /// Rows.
    pub rows: Rows,
}

/// Rows of a lane: a slice, or a part of time with several.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rows {
    /// Start of the row, in nanoseconds.
    pub from_ns: Vec<u64>,
    /// Its end.
    pub to_ns: Vec<u64>,
    /// Slices in it, idle ones counted; 1 where the row is (part of) one slice.
    pub n: Vec<u64>,
    /// Of them, those of work that start in it.
    pub n_started: Vec<u64>,
    /// Kind of its longest slice of work, else of its longest.
    pub kind: Vec<u32>,
    /// What that slice is about.
    pub what: Vec<u32>,
    /// Its micro-batch; null where it is of none.
    pub micro_batch: Vec<Option<u32>>,
    /// Its start, which may lie before the row.
    pub longest_from_ns: Vec<u64>,
    /// Its end, which may lie behind the row.
    pub longest_to_ns: Vec<u64>,
    /// Nanoseconds by kind, of the kinds that any row has.
    pub ns: BTreeMap<&'static str, Vec<u64>>,
}

/// What is asked for.
struct Window {
    from: u64,
    to: u64,
}

impl View<'_> {
    /// What the lanes (by name or device; all, if none is named) do in a window, in at most
    /// `max_slices` rows.
    ///
    /// # Errors
    /// `empty-window`, `unknown-lane`, `too-few-slices`; `bad-view`.
    pub fn timeline(
        &self,
        from_ns: Option<u64>,
        to_ns: Option<u64>,
        lanes: &[String],
        max_slices: usize,
    ) -> Result<Tile, Diagnostic> {
        let window = self.window(from_ns, to_ns)?;
        let heads = self.lanes(lanes)?;
        let opened: Option<Vec<(&LaneHead, Lane<'_>)>> =
            heads.into_iter().map(|head| Some((head, self.lane(head)?))).collect();
        let opened = opened.ok_or_else(damaged)?;
        let part_ns = zoom(&opened, &window, max_slices)?;
        let mut table = Told { view: self, positions: HashMap::new(), things: Vec::new() };
        let tile = |(head, lane): (&LaneHead, Lane<'_>)| table.lane(head, lane, &window, part_ns);
        let lanes: Option<Vec<LaneTile>> = opened.into_iter().map(tile).collect();
        Ok(Tile {
            step_time_ns: self.head.step_time_ns,
            from_ns: window.from,
            to_ns: window.to,
            part_ns,
            kinds: Kind::ALL.map(Kind::name).to_vec(),
            lanes: lanes.ok_or_else(damaged)?,
            things: table.things,
        })
    }

    fn window(&self, from_ns: Option<u64>, to_ns: Option<u64>) -> Result<Window, Diagnostic> {
        let step = self.head.step_time_ns;
        let (from, to) = (from_ns.unwrap_or(0), to_ns.unwrap_or(step));
        let is_asked = from_ns.is_some() || to_ns.is_some();
        if from < to && from < step || !is_asked {
            return Ok(Window { from, to: to.min(step) });
        }
        let message = format!("the window from {from} ns to {to} ns holds nothing of the step");
        Err(Diagnostic::usage("empty-window", message)
            .fact("from_ns", from)
            .fact("to_ns", to)
            .fact("step_time_ns", step)
            .hint(format!("`from_ns` lies before `to_ns` and before {step}, the end of the step")))
    }

    fn lanes(&self, names: &[String]) -> Result<Vec<&LaneHead>, Diagnostic> {
        let all = &self.head.lanes;
        let is_of = |lane: &LaneHead, name: &String| {
            lane.name == *name || lane.device.as_ref() == Some(name)
        };
        if let Some(name) = names.iter().find(|name| !all.iter().any(|lane| is_of(lane, name))) {
            let shown: String = name.chars().take(80).collect();
            let known = all.iter().map(|lane| lane.name.as_str());
            let message = format!("the plan has no lane and no device `{shown}`");
            return Err(Diagnostic::usage("unknown-lane", message).hint(suggest::hint(name, known)));
        }
        let is_asked =
            |lane: &&LaneHead| names.is_empty() || names.iter().any(|name| is_of(lane, name));
        Ok(all.iter().filter(is_asked).collect())
    }

    pub(super) fn lane(&self, head: &LaneHead) -> Option<Lane<'_>> {
        let place = Place { slices: head.slices, sums: head.sums, longest: head.longest };
        Lane::open(self.file, place, head.n, self.head.step_time_ns)
    }
}

/// The least length of parts with which all lanes have at most `most` rows together.
fn zoom(lanes: &[(&LaneHead, Lane<'_>)], window: &Window, most: usize) -> Result<u64, Diagnostic> {
    let counts: Option<Vec<u64>> =
        lanes.iter().map(|(_, lane)| Some(touched(lane, window)?.len() as u64)).collect();
    let counts = counts.ok_or_else(damaged)?;
    let n_rows = |n_parts: u64| counts.iter().fold(0u64, |sum, n| sum + (*n).min(n_parts));
    let most = most as u64;
    if n_rows(u64::MAX) <= most {
        return Ok(0);
    }
    let mut part_ns = 1u64;
    loop {
        let n_parts = (window.to - 1) / part_ns - window.from / part_ns + 1;
        if n_rows(n_parts) <= most {
            return Ok(part_ns);
        }
        part_ns = match part_ns.checked_mul(FACTOR) {
            Some(longer) if n_parts > 1 => longer,
            _ => {
                let message = format!("{} lanes do not fit into {most} slices", lanes.len());
                return Err(Diagnostic::usage("too-few-slices", message)
                    .fact("lanes", lanes.len() as u64)
                    .fact("max_slices", most)
                    .hint(format!(
                        "`max_slices` is at least the number of lanes: {}, or name fewer lanes",
                        lanes.len()
                    )));
            }
        };
    }
}

/// Slices of a lane that a window touches.
fn touched(lane: &Lane<'_>, window: &Window) -> Option<std::ops::Range<usize>> {
    let (first, end) = (lane.from(window.from)?, lane.from(window.to)?);
    let reaches_in = first > 0 && lane.start(first)? > window.from;
    Some(if reaches_in { first - 1 } else { first }..end)
}

/// Things that are told, each once.
struct Told<'v> {
    view: &'v View<'v>,
    positions: HashMap<u32, u32>,
    things: Vec<ThingTold>,
}

impl Told<'_> {
    fn thing(&mut self, position: u32) -> Option<u32> {
        if let Some(known) = self.positions.get(&position) {
            return Some(*known);
        }
        let thing = self.view.names.thing(position)?;
        let name = |position: Option<u32>| match position {
            None => Some(None),
            Some(position) => Some(Some(self.view.names.name(position)?.to_owned())),
        };
        let named = ThingTold {
            name: self.view.names.name(thing.name)?.to_owned(),
            from: name(thing.from)?,
            to: name(thing.to)?,
        };
        let next = u32::try_from(self.things.len()).ok()?;
        self.things.push(named);
        self.positions.insert(position, next);
        Some(next)
    }

    fn lane(
        &mut self,
        head: &LaneHead,
        lane: Lane<'_>,
        window: &Window,
        part_ns: u64,
    ) -> Option<LaneTile> {
        let touched = touched(&lane, window)?;
        let n_parts = match part_ns {
            0 => u64::MAX,
            _ => (window.to.saturating_sub(1)) / part_ns - window.from / part_ns + 1,
        };
        let is_exact = touched.len() as u64 <= n_parts;
        let part_ns = if is_exact { 0 } else { part_ns };
        let mut walk = Walk { lane, told: self, rows: Rows::default(), sums: Vec::new() };
        let first = walk.lane.sums(window.from, lane.from(window.from)?)?;
        let last = match is_exact {
            true => walk.slices(touched, window, first)?,
            false => walk.parts(window, part_ns, first)?,
        };
        let (mut rows, sums) = (walk.rows, walk.sums);
        let total = last.since(&first);
        let mut ns = BTreeMap::new();
        for kind in Kind::ALL {
            let of = |sums: &Sums| sums.ns[kind as usize];
            if of(&total) > 0 {
                ns.insert(kind.name(), of(&total));
                rows.ns.insert(kind.name(), sums.iter().map(of).collect());
            }
        }
        Some(LaneTile {
            lane: head.name.clone(),
            device: head.device.clone(),
            role: head.role,
            n_started: total.n_started,
            ns,
            rows,
        })
    }
}

struct Walk<'t, 'v, 'l> {
    lane: Lane<'l>,
    told: &'t mut Told<'v>,
    rows: Rows,
    sums: Vec<Sums>,
}

impl Walk<'_, '_, '_> {
    /// A row per slice; sums up to the end of the window.
    fn slices(
        &mut self,
        touched: std::ops::Range<usize>,
        window: &Window,
        mut sums: Sums,
    ) -> Option<Sums> {
        for index in touched {
            let slice = self.lane.slice(index)?;
            let from = slice.start.max(window.from);
            let to = self.lane.start(index + 1)?.min(window.to);
            let mut of_slice = Sums::default();
            of_slice.ns[slice.kind as usize] = to.saturating_sub(from);
            of_slice.n_started = u64::from(slice.kind.is_work() && slice.start >= window.from);
            self.row((from, to), index..index + 1, of_slice)?;
            for (sum, ns) in sums.ns.iter_mut().zip(of_slice.ns) {
                *sum = sum.saturating_add(ns);
            }
            sums.n_started = sums.n_started.saturating_add(of_slice.n_started);
        }
        Some(sums)
    }

    /// A row per part; a slice that covers whole ones is one row. Sums up to the end of the window.
    fn parts(&mut self, window: &Window, part_ns: u64, mut sums: Sums) -> Option<Sums> {
        let mut at = window.from;
        let mut next = self.lane.from(at)?;
        while at < window.to {
            let whole = |at: u64| at - at % part_ns;
            let mut to = whole(at).saturating_add(part_ns).min(window.to);
            let mut end = self.lane.from(to)?;
            let reaches_in = next > 0 && self.lane.start(next)? > at;
            let first = if reaches_in { next - 1 } else { next };
            if end.saturating_sub(first) == 1 {
                // As far as this slice is alone.
                let alone = self.lane.start(end)?.min(window.to);
                let further = if alone == window.to { alone } else { whole(alone) };
                if further > to {
                    to = further;
                    end = self.lane.from(to)?;
                }
            }
            let after = self.lane.sums(to, end)?;
            self.row((at, to), first..end.max(first), after.since(&sums))?;
            (at, next, sums) = (to, end, after);
        }
        Some(sums)
    }

    fn row(
        &mut self,
        (from, to): (u64, u64),
        of: std::ops::Range<usize>,
        sums: Sums,
    ) -> Option<()> {
        let longest = self.lane.longest(of.clone())?;
        let slice = self.lane.slice(longest)?;
        let what = self.told.thing(slice.thing)?;
        let rows = &mut self.rows;
        rows.from_ns.push(from);
        rows.to_ns.push(to);
        rows.n.push(of.len() as u64);
        rows.n_started.push(sums.n_started);
        rows.kind.push(slice.kind as u32);
        rows.what.push(what);
        rows.micro_batch.push(slice.micro_batch);
        rows.longest_from_ns.push(slice.start);
        rows.longest_to_ns.push(self.lane.start(longest.checked_add(1)?)?);
        self.sums.push(sums);
        Some(())
    }
}

//! The parts of a profile that calibration adds.

use std::collections::BTreeMap;

use documents::profile::calibrated::{
    CollectiveDocument, CorrectionDocument, FactsDocument, FormDocument, OPERATIONS,
    OverlapDocument, STREAMS, StackDocument,
};
use ir::diagnostic::Diagnostic;
use ir::form::Form;
use ir::measured::GpuFacts;
use ir::nearest;
use ir::profile::{
    CollectiveConstants, CollectiveKey, FormConstants, FormPoint, GroupKey, ModelKind,
    OverlapConstants, Profile, SizeLaw, StackConstants, StackCorrection,
};
use ir::units::Seconds;

use super::ranges::{checked, refused, within};
use super::{bandwidth, start, table};

/// Reads the data sheet and the closed forms of a kind.
pub(super) fn kind(
    profile: &mut Profile,
    name: &str,
    sheet: Option<FactsDocument>,
    documents: BTreeMap<String, FormDocument>,
) -> Result<(), Diagnostic> {
    if let Some(sheet) = sheet {
        profile.facts.insert(name.to_owned(), facts(name, &sheet)?);
    }
    let mut forms = BTreeMap::new();
    for (form_name, document) in documents {
        let owner = format!("{name}: {form_name}");
        let form = known(&form_name, &owner, "forms", Form::ALL.map(|form| (form.name(), form)))?;
        forms.insert(form, constants(form, &owner, document)?);
    }
    if !forms.is_empty() && !profile.facts.contains_key(name) {
        let message = format!("`{name}` has closed forms, but not the `facts` that they refer to");
        return Err(Diagnostic::input("missing-key", message).fact("key", "facts"));
    }
    if !forms.is_empty() {
        profile.forms.insert(name.to_owned(), forms);
    }
    Ok(())
}

/// Reads the collectives and overlaps of a kind.
pub(super) fn together(
    profile: &mut Profile,
    name: &str,
    collectives: Vec<CollectiveDocument>,
    overlaps: Vec<OverlapDocument>,
) -> Result<(), Diagnostic> {
    for document in collectives {
        let owner = format!("{name}: {} on {}", document.operation, document.ranks);
        let (key, constants) = collective(&owner, document)?;
        let of_kind = profile.collectives.entry(name.to_owned()).or_default();
        if of_kind.insert(key, constants).is_some() {
            return Err(twice(&owner));
        }
    }
    for document in overlaps {
        let owner = format!("{name}: overlap on {} GPUs", document.gpus);
        let (key, constants) = overlap(&owner, document)?;
        if profile.overlaps.entry(name.to_owned()).or_default().insert(key, constants).is_some() {
            return Err(twice(&owner));
        }
    }
    Ok(())
}

/// Reads a software stack.
pub(super) fn stack(name: &str, document: StackDocument) -> Result<StackConstants, Diagnostic> {
    for (constant, value) in &document.constants {
        checked(constant, name, *value)?;
    }
    let correction = |c: CorrectionDocument| {
        Ok(StackCorrection {
            hidden: count("hidden", name, c.hidden)?,
            tensor: count("tensor", name, c.tensor)?,
            micro_batch: count("micro_batch", name, c.micro_batch)?,
            factor: checked("factor", name, c.factor)?,
            n_rows: c.rows,
        })
    };
    let model = |kind: &String| {
        known(kind, name, "models", ModelKind::NAMED.map(|(kind, name)| (name, kind)))
    };
    Ok(StackConstants {
        models: document.models.iter().map(model).collect::<Result<_, _>>()?,
        constants: document.constants,
        corrections: document.corrections.into_iter().map(correction).collect::<Result<_, _>>()?,
        provenance: document.provenance.into(),
    })
}

fn facts(owner: &str, sheet: &FactsDocument) -> Result<GpuFacts, Diagnostic> {
    let rate = |key, value| checked(key, owner, value);
    let n = u64::from(sheet.multiprocessors);
    count("multiprocessors", owner, n)?;
    Ok(GpuFacts {
        memory_bandwidth: rate("memory_bytes_per_s", sheet.memory_bytes_per_s)?,
        peak: rate("peak_flops_per_s", sheet.peak_flops_per_s)?,
        n_multiprocessors: sheet.multiprocessors,
        last_level_cache: sheet.cache_bytes.map(|value| rate("cache_bytes", value)).transpose()?,
        clock: sheet.clock_hz.map(|value| rate("clock_hz", value)).transpose()?,
    })
}

fn constants(form: Form, owner: &str, document: FormDocument) -> Result<FormConstants, Diagnostic> {
    let rows = form.constants();
    for name in document.constants.keys() {
        known(name, owner, "constants", rows.iter().map(|row| (row.name, ())))?;
    }
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(value) = document.constants.get(row.name) else {
            let message = format!("`{owner}` lacks the constant `{}`", row.name);
            return Err(Diagnostic::input("missing-key", message).fact("key", row.name));
        };
        values.push(within(row.name, owner, *value, row.least, row.most)?);
    }
    let points = document.points.into_iter().map(|point| measured(form, owner, point));
    Ok(FormConstants {
        values,
        points: points.collect::<Result<_, _>>()?,
        provenance: document.provenance.into(),
    })
}

fn measured(form: Form, owner: &str, mut numbers: Vec<f64>) -> Result<FormPoint, Diagnostic> {
    let n = form.extents().len();
    if numbers.len() != n + 1 {
        let message = format!(
            "a point of `{owner}` has {} numbers; it must have the {n} extents {} and the seconds",
            numbers.len(),
            form.extents().join(", ")
        );
        return Err(Diagnostic::input("profile-value", message).fact("key", "points"));
    }
    let time = numbers.pop().unwrap_or_default();
    for extent in &numbers {
        checked("points", owner, *extent)?;
    }
    let time = Seconds::new(checked("time_s", owner, time)?)
        .ok_or_else(|| refused("points", owner, time, "positive"))?;
    Ok(FormPoint { extents: numbers, time })
}

fn collective(
    owner: &str,
    document: CollectiveDocument,
) -> Result<(CollectiveKey, CollectiveConstants), Diagnostic> {
    let operation = known(&document.operation, owner, "operation", OPERATIONS)?;
    let ranks = count("ranks", owner, document.ranks)?;
    let ranks_per_node = count("ranks_per_node", owner, document.ranks_per_node)?;
    if ranks_per_node > ranks {
        let value = ranks_per_node as f64;
        return Err(refused("ranks_per_node", owner, value, "at most `ranks`"));
    }
    let law = match (document.curve, document.table.is_empty()) {
        (Some(curve), true) => SizeLaw::Curve {
            start_up: start("start_up_s", owner, curve.start_up_s)?,
            bandwidth: bandwidth("bytes_per_s", owner, curve.bytes_per_s)?,
            per_root_s: checked("s_per_root_byte", owner, curve.s_per_root_byte)?,
        },
        (None, false) => SizeLaw::Table(table(owner, &document.table)?),
        _ => {
            let message = format!("`{owner}` must have either a curve or a table");
            return Err(Diagnostic::input("profile-value", message).fact("key", "curve"));
        }
    };
    let key = CollectiveKey { operation, ranks, ranks_per_node, library: document.library };
    Ok((key, CollectiveConstants { law, provenance: document.provenance.into() }))
}

fn overlap(
    owner: &str,
    document: OverlapDocument,
) -> Result<(GroupKey, OverlapConstants), Diagnostic> {
    let key = GroupKey {
        gpus: count("gpus", owner, document.gpus)?,
        ranks_per_node: count("ranks_per_node", owner, document.ranks_per_node)?,
        nodes: count("nodes", owner, document.nodes)?,
    };
    let mut slowdowns = [[0.0; 4]; 4];
    for (slowed, row) in &document.slowdowns {
        let slowed = known(slowed, owner, "slowdowns", STREAMS)?;
        for (beside, factor) in row {
            let beside = known(beside, owner, "slowdowns", STREAMS)?;
            // A stream does not slow itself down.
            let most = if slowed == beside { 0.0 } else { 1e6 };
            let factor = within("slowdowns", owner, *factor, 0.0, most)?;
            slowdowns[slowed as usize][beside as usize] = factor;
        }
    }
    Ok((key, OverlapConstants { slowdowns, provenance: document.provenance.into() }))
}

fn count(key: &'static str, owner: &str, value: u64) -> Result<u64, Diagnostic> {
    checked(key, owner, value as f64).map(|_| value)
}

fn twice(owner: &str) -> Diagnostic {
    Diagnostic::input("duplicate-row", format!("`{owner}` stands in the profile twice"))
}

/// The value of a name, or an error that names the nearest known one.
fn known<T>(
    name: &str,
    owner: &str,
    key: &'static str,
    rows: impl IntoIterator<Item = (&'static str, T)>,
) -> Result<T, Diagnostic> {
    let mut names = Vec::new();
    for (row, value) in rows {
        if row == name {
            return Ok(value);
        }
        names.push(row);
    }
    let message = format!("`{name}` in `{key}` of `{owner}` is not known");
    let diagnostic = Diagnostic::input("unknown-key", message);
    Err(nearest::hint(diagnostic, name, names.iter().copied())
        .fact("known", names.into_iter().map(str::to_owned).collect::<Vec<_>>()))
}

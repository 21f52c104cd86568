//! Replicas that average every so many steps: what is allowed, as documents, and as people read it.

use cost_model::given::synchronisation::{Synchronisation, choices, step};
use documents::plan::averaging::SyncDocument;
use documents::plan::{CommunicationDocument, LossyDocument};
use ir::diagnostic::Diagnostic;
use ir::instance::{AllReplicas, AveragingInstance, Peers, SyncBy};
use ir::units::Bytes;
use planner::given::runner::Solution;

use crate::answer::page::{Column, Page};
use crate::inputs::run::edges::ALL;

/// Keeps of the ways those that are named; how many there were.
///
/// # Errors
/// What is wrong with a name, in words.
fn allow(replicas: &mut AllReplicas, names: &[&str]) -> Result<usize, String> {
    let n = replicas.ways.len();
    if let Some(name) =
        names.iter().find(|name| !replicas.ways.iter().any(|way| way.by.name() == **name))
    {
        let known: Vec<&str> = replicas.ways.iter().map(|way| way.by.name()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(format!("`{name}` is none of the ways of `sync`; these are: {known}"));
    }
    let twice = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
    if let Some((_, name)) = twice {
        return Err(format!("`{name}` is allowed twice"));
    }
    replicas.ways.retain(|way| names.contains(&way.by.name()));
    Ok(n - replicas.ways.len())
}

/// Keeps what `--allow-lossy` allows; how many ways are left out because it names none.
///
/// # Errors
/// `bad-lossy`.
pub fn allow_asked(replicas: &mut AllReplicas, words: &[String]) -> Result<usize, Diagnostic> {
    let ways = replicas.ways.clone();
    let names_of = |word| match word {
        ALL => ways.iter().map(|way| way.by.name()).collect(),
        word => vec![word],
    };
    let names: Vec<&str> = words.iter().flat_map(|word| names_of(word.as_str())).collect();
    let n_left_out = allow(replicas, &names).map_err(|why| {
        Diagnostic::usage("bad-lossy", why)
            .hint("use --allow-lossy for all of them, or name some, without ratios")
    })?;
    Ok(if words.is_empty() { n_left_out } else { 0 })
}

/// Keeps what a document says was allowed.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn allow_stated(
    replicas: &mut AllReplicas,
    stated: &[LossyDocument],
) -> Result<(), String> {
    if let Some(other) = stated.iter().find(|other| other.density != replicas.least_sent) {
        return Err(format!(
            "`communication.lossy` states {} of `{}`, and `least_sent` is {}",
            other.density, other.by, replicas.least_sent
        ));
    }
    let names: Vec<&str> = stated.iter().map(|other| other.by.as_str()).collect();
    allow(replicas, &names).map(|_| ())
}

/// What is said of a plan that sends less, or could.
pub fn warnings(n_left_out: usize, found: &Synchronisation) -> Vec<Diagnostic> {
    let left_out = (n_left_out > 0).then(|| {
        let message =
            "ways to average every so many steps were left out, as they change what is computed";
        Diagnostic::warning("lossy-left-out", message)
            .hint("allow them with --allow-lossy, or take `sync` out of the file")
    });
    let lossy = found.by.map(|by| {
        let message = format!(
            "replicas average by `{}`: the result changes, and convergence is not predicted",
            by.name()
        );
        Diagnostic::warning("lossy", message)
            .fact("sent_share", format!("{:.4}", found.sent_share()))
            .hint("leave --allow-lossy out for exact averages of each step")
    });
    left_out.into_iter().chain(lossy).collect()
}

pub(super) fn communication(
    instance: &AveragingInstance,
    synchronisation: &Synchronisation,
) -> CommunicationDocument {
    let Peers::All(all) = &instance.peers else { return CommunicationDocument::default() };
    let allowed = |way: &ir::instance::SyncWay| LossyDocument {
        by: way.by.name().to_owned(),
        density: all.least_sent,
    };
    let sends_gradients = matches!(synchronisation.by, None | Some(SyncBy::Cser));
    CommunicationDocument {
        sync: Some(SyncDocument {
            by: synchronisation.by.map(|by| by.name().to_owned()),
            every: synchronisation.every,
            r1: sends_gradients.then_some(synchronisation.gradients),
            r2: synchronisation.by.map(|_| synchronisation.models),
            sent_share: synchronisation.sent_share(),
        }),
        lossy: all.ways.iter().map(allowed).collect(),
        ..CommunicationDocument::default()
    }
}

/// # Errors
/// In words, where there is none.
pub(super) fn solution(stated: &CommunicationDocument) -> Result<Solution, String> {
    let sync = stated.sync.as_ref().ok_or("it states no `communication.sync`")?;
    let by = sync.by.as_deref().map(|name| {
        let by = SyncBy::ALL.into_iter().find(|by| by.name() == name);
        by.ok_or_else(|| format!("`{name}` is no way to average"))
    });
    Ok(Solution::Synchronisation(Synchronisation {
        by: by.transpose()?,
        every: sync.every,
        gradients: sync.r1.unwrap_or(1.0),
        models: sync.r2.unwrap_or(1.0),
    }))
}

/// The least step of each way, all gradients in each step first; the one that is chosen is marked.
pub(super) fn table(instance: &AveragingInstance, found: &Synchronisation, page: &Page) {
    let all = choices(instance);
    let of_way = |by: Option<SyncBy>| {
        let choices = all.iter().filter(move |choice| choice.by == by);
        choices.min_by_key(|choice| step(instance, choice))
    };
    let ways = [None].into_iter().chain(SyncBy::ALL.map(Some));
    let best = ways.filter_map(|by| if by == found.by { Some(found) } else { of_way(by) });
    let Peers::All(peers) = &instance.peers else { return };
    let row = |choice: &Synchronisation| {
        let seconds = step(instance, choice).unwrap_or_default().seconds();
        let ratio = |is_sent: bool, ratio: f64| match is_sent {
            true => format!("1/{ratio}"),
            false => "-".to_owned(),
        };
        let sends_gradients = matches!(choice.by, None | Some(SyncBy::Cser));
        vec![
            choice.by.map_or("all gradients", SyncBy::name).to_owned(),
            choice.every.to_string(),
            ratio(sends_gradients, choice.gradients),
            ratio(choice.by.is_some(), choice.models),
            format!("{:.4}", choice.sent_share()),
            format!("{:.3}", seconds * 1e3),
            format!("{:.1} %", 100.0 * peers.compute_s / seconds),
            if choice == found { "chosen".to_owned() } else { String::new() },
        ]
    };
    let columns = [
        Column::Name("averages by"),
        Column::Number("every"),
        Column::Number("gradients"),
        Column::Number("models"),
        Column::Number("models sent"),
        Column::Number("step, ms"),
        Column::Number("computing"),
        Column::Text(""),
    ];
    page.table(&columns, best.map(row).collect());
}

pub(super) fn sentence(instance: &AveragingInstance, synchronisation: &Synchronisation) -> String {
    let Peers::All(all) = &instance.peers else { return String::new() };
    let bytes = instance.bytes.first().copied().unwrap_or_default();
    let sent = Bytes((bytes as f64 * synchronisation.sent_share()) as u64);
    format!(
        "{} replicas send {sent} of a model of {} in a step on average, at least {} were asked for; no step is \
         shorter than the {:.3} ms that they compute; nothing overlaps, and nothing is claimed about \
         convergence",
        instance.nodes.len(),
        Bytes(bytes),
        all.least_sent,
        all.compute_s * 1e3
    )
}

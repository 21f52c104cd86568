//! `explain`, `simulate` and `export` on solutions of instances.

use std::collections::BTreeSet;

use cost_model::given::max_load;
use cost_model::given::tasks::Times;
use exporters::Writer;
use ir::diagnostic::Diagnostic;
use ir::instance::{Instance, LoadInstance, TaskInstance, TimeUnit};
use ir::plan_kind::PlanKind;
use ir::units::{Bytes, Nanos};
use planner::given::runner::Solution;
use serde_json::{Value, json};

use super::text::{self, device_name};
use super::verify::{Found, read};
use super::{averaging, figures, unused};
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::page::Column;
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::suggest;
use crate::kinds::buckets::{self, launchers};
use crate::request::PlanOnModel;
use crate::request::subject::Subject;

/// `simulate`: what each device does.
pub fn simulate(args: &PlanOnModel, instance: Instance, page: &Page) -> CommandResult {
    unused::check(&args.target)?;
    let found = read(&args.plan, instance)?;
    whole(&found, Rows::of(args.target.all), page)?;
    Ok(Exit::DONE)
}

/// `explain`: where the value comes from, or why a node, its output or a device is as it is.
pub fn explain(
    args: &PlanOnModel,
    subject: &Subject,
    instance: Instance,
    page: &Page,
) -> CommandResult {
    unused::check(&args.target)?;
    let found = read(&args.plan, instance)?;
    match subject {
        Subject::Step { .. } | Subject::BreakEven(_) | Subject::WhyNot(_) => {
            whole(&found, Rows::of(args.target.all), page)?
        }
        Subject::Op(name) | Subject::Transfer(name) => node(&found, name, page)?,
        Subject::Device(name) => device(&found, name, page)?,
    }
    Ok(Exit::DONE)
}

fn whole(found: &Found, rows: Rows, page: &Page) -> Result<(), Diagnostic> {
    if let (Instance::Gradients(instance), Solution::Buckets(buckets)) =
        (&found.instance, &found.solution)
    {
        page.warnings(&buckets::warnings(instance, 0, buckets));
        page.document(&buckets::explain(instance, (buckets, found.value), (rows, page))?);
        return Ok(());
    }
    let figures = figures::of(found)?;
    match &found.instance {
        Instance::Averaging(_) => text::print(&found.instance, &found.solution, rows, page),
        _ => figures::print(found, &figures, page),
    }
    page.line(&figures::sentence(found, &figures));
    page.document(&figures::document(found, &figures));
    Ok(())
}

/// Ids of the nodes, as users write them.
fn ids(instance: &Instance) -> Vec<String> {
    match instance {
        Instance::Load(load) => load.nodes.iter().map(|n| n.source_id.to_string()).collect(),
        Instance::Stages(stages) => stages.nodes.iter().map(|n| n.source_id.to_string()).collect(),
        Instance::Profile(profile) => profile.nodes.iter().map(|n| n.id.clone()).collect(),
        Instance::Gradients(instance) => instance.tensors.iter().map(|n| n.name.clone()).collect(),
        Instance::Tasks(instance) => instance.tasks.iter().map(|n| n.name.clone()).collect(),
        Instance::Averaging(instance) => instance.nodes.clone(),
    }
}

/// Device or stage of each node.
fn places(found: &Found) -> Vec<u32> {
    match &found.solution {
        Solution::Devices(devices) => devices.clone(),
        Solution::Stages(stages) => {
            let mut places = vec![0; found.instance.n_nodes()];
            for (stage, at) in stages.iter().zip(0..) {
                stage.nodes.iter().for_each(|(node, _)| places[*node as usize] = at);
            }
            places
        }
        Solution::Buckets(buckets) => {
            let places = (0..).zip(&buckets.lengths);
            places.flat_map(|(at, n)| std::iter::repeat_n(at, *n)).collect()
        }
        Solution::Rounds(_) | Solution::Uploads(_) | Solution::Synchronisation(_) => Vec::new(),
    }
}

fn place_name(instance: &Instance, at: u32) -> String {
    match instance {
        Instance::Load(load) => device_name(load, at as usize),
        Instance::Gradients(_) => format!("bucket {at}"),
        Instance::Tasks(instance) => instance.devices.get(at as usize).cloned().unwrap_or_default(),
        _ => format!("stage {at}"),
    }
}

fn position(what: &str, name: &str, names: &[String]) -> Result<usize, Diagnostic> {
    names.iter().position(|other| other == name).ok_or_else(|| {
        let message = format!("there is no {what} `{name}`");
        Diagnostic::usage("unknown-name", message)
            .hint(suggest::hint(name, names.iter().map(String::as_str)))
    })
}

/// One node: its times where it could be, and what its output costs whom.
fn node(found: &Found, name: &str, page: &Page) -> Result<(), Diagnostic> {
    let ids = ids(&found.instance);
    let at = position("node", name, &ids)?;
    let places = places(found);
    let unit = found.instance.unit();
    let mut facts: Vec<(&str, String, Value)> = Vec::new();
    if let Some(place) = places.get(at) {
        let here = place_name(&found.instance, *place);
        facts.push(("runs on", here.clone(), json!(here)));
    }
    let mut time = |what, time: Option<Nanos>| {
        let text = time.map_or_else(|| "not possible".to_owned(), |time| unit.text(time));
        facts.push((what, text, json!(time.map(Nanos::get))));
    };
    match &found.instance {
        Instance::Load(load) => {
            let node = &load.nodes[at];
            time("time on an accelerator", node.accelerator);
            time("time on a core", Some(node.cpu));
            time("time to move its output", Some(node.transfer));
            facts.push(("holds", node.bytes.to_string(), json!(node.bytes.get())));
            let (to, from) = crossings(load, &places, at);
            facts.push(("its output is moved out of its device for", list(&to), json!(to)));
            facts.push(("moved in for it: the outputs of nodes", list(&from), json!(from)));
        }
        Instance::Profile(profile) => {
            let node = &profile.nodes[at];
            time("forward time", Some(node.forward));
            time("backward time", Some(node.backward));
            facts.push(("is", node.description.clone(), json!(node.description)));
        }
        Instance::Gradients(instance) => {
            let tensor = &instance.tensors[at];
            facts.push(("bytes", Bytes(tensor.bytes).to_string(), json!(tensor.bytes)));
            let ready_s = instance.forward_s + tensor.ready_s;
            facts.push(("is there after", format!("{:.6} ms", ready_s * 1e3), json!(ready_s)));
        }
        Instance::Tasks(instance) => facts.extend(of_task(instance, at, unit)),
        Instance::Averaging(instance) => {
            facts.extend(averaging::of_node(instance, &found.solution, at))
        }
        Instance::Stages(stages) => {
            for configuration in &stages.nodes[at].configurations {
                let name = format!("{} on {}", configuration.name, configuration.degree);
                let time = unit.text(configuration.time);
                facts.push(("may run as", format!("{name}: {time}"), json!(name)));
            }
        }
    }
    let columns = [Column::Name("what"), Column::Text("value")];
    page.table(
        &columns,
        facts.iter().map(|(what, text, _)| vec![(*what).to_owned(), text.clone()]).collect(),
    );
    let document: Vec<Value> =
        facts.iter().map(|(what, _, value)| json!({ "what": what, "value": value })).collect();
    page.document(&json!({ "node": name, "facts": document }));
    Ok(())
}

/// What is known of a task: its size, and what it would take on each device.
fn of_task(instance: &TaskInstance, at: usize, unit: TimeUnit) -> Vec<(&str, String, Value)> {
    let (size, times) = (instance.tasks[at].size, Times::of(instance));
    let on = |(device, name): (usize, &String)| {
        let time = Nanos(times.at(at, device));
        let document = json!({ "device": name, "ns": time.get() });
        ("would take", format!("{name}: {}", unit.text(time)), document)
    };
    let first = ("has the size", size.to_string(), json!(size));
    std::iter::once(first).chain(instance.devices.iter().enumerate().map(on)).collect()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Devices that read a node's output elsewhere, and nodes elsewhere whose outputs it reads.
fn crossings(load: &LoadInstance, places: &[u32], at: usize) -> (Vec<String>, Vec<String>) {
    let here = places[at];
    let mut to = BTreeSet::new();
    let mut from = BTreeSet::new();
    for &(producer, consumer) in &load.edges {
        if producer as usize == at && places[consumer as usize] != here {
            to.insert(places[consumer as usize]);
        }
        if consumer as usize == at && places[producer as usize] != here {
            from.insert(load.nodes[producer as usize].source_id);
        }
    }
    let to = to.into_iter().map(|device| device_name(load, device as usize)).collect();
    (to, from.into_iter().map(|id| id.to_string()).collect())
}

/// The nodes of a device or stage.
fn device(found: &Found, name: &str, page: &Page) -> Result<(), Diagnostic> {
    let figures = figures::of(found)?;
    // A stage goes by its number alone, whatever its degrees.
    let plain = |name: &str| name.split(" (").next().unwrap_or_default().to_owned();
    let names: Vec<String> = figures.iter().map(|figures| plain(&figures.name)).collect();
    let at = position("device", name, &names)?;
    let (ids, places) = (ids(&found.instance), places(found));
    let is_here = |(node, _): &(usize, &String)| match &found.solution {
        Solution::Rounds(rounds) => rounds[at].as_flattened().contains(&(*node as u32)),
        Solution::Uploads(_) => *node == at,
        Solution::Synchronisation(_) => true,
        _ => places[*node] as usize == at,
    };
    let nodes: Vec<&String> = ids.iter().enumerate().filter(is_here).map(|node| node.1).collect();
    figures::print(found, &figures[at..=at], page);
    let shown: Vec<&str> = nodes.iter().map(|id| id.as_str()).collect();
    page.line(&format!("nodes: {}", shown.join(" ")));
    let mut document = figures::document(found, &figures[at..=at]);
    document["nodes"] = json!(nodes);
    page.document(&document);
    Ok(())
}

/// `export`: the solution in the form of the collection that its instance is from.
pub fn export(args: &PlanOnModel, target: &str, instance: Instance) -> Result<Vec<u8>, Diagnostic> {
    unused::check(&args.target)?;
    let found = read(&args.plan, instance)?;
    let writer = exporters::find(PlanKind::Given, target)?.writer;
    if let (Instance::Gradients(gradients), Solution::Buckets(buckets), Writer::Buckets(_)) =
        (&found.instance, &found.solution, writer)
    {
        return launchers::exported(target, gradients, buckets);
    }
    let devices = match &found.solution {
        Solution::Devices(devices) => Some(devices.as_slice()),
        _ => None,
    };
    let loads = match (&found.instance, devices) {
        (Instance::Load(load), Some(devices)) => max_load::loads(load, devices),
        _ => Vec::new(),
    };
    exporters::solution(target, &found.instance, devices, &loads)
}

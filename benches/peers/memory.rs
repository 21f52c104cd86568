//! Step time where memory is scarce: list schedulers, the portfolio and the bound, side by side.

use std::path::{Path, PathBuf};

use ir::units::Bytes;

use crate::{Asked, Ran, head, meshwright, percent, row};

/// Models of the corpus.
const MODELS: [&str; 3] = ["inception_v3", "gnmt", "gpt2_small"];
const MODES: [(&str, &str); 2] = [("inference", ""), ("training", "--dtype bf16")];
/// Limits of a device, in percent of what the whole step takes on one.
const PERCENTS: [u64; 2] = [30, 40];

/// A model in one mode on four devices.
struct Case {
    name: String,
    model: PathBuf,
    flags: String,
    cluster: PathBuf,
}

/// What an algorithm found.
struct Tried {
    ran: Ran,
    /// What stands behind its value.
    note: &'static str,
    seconds: f64,
}

pub(crate) fn run(data: &Path, options: &Asked) {
    let folder = tempfile::tempdir().unwrap();
    let seconds = options.seconds.as_deref().unwrap_or("30");
    let times = "limit: | m-etf ms: | s: | m-sct ms: | s: | auto ms: | s:";
    let gains = "less than m-etf: | less than m-sct: | bound ms: | gap: | found by";
    head(&format!("model | {times} | {gains}"));
    for model in MODELS {
        for (mode, flags) in MODES {
            let name = format!("models/{model}, {mode}");
            if !name.contains(&options.only) {
                continue;
            }
            let case = Case {
                name,
                model: data.join(format!("models/onnx/{model}.onnx")),
                flags: format!("--workload {mode} {flags}"),
                cluster: folder.path().join("cluster.yaml"),
            };
            let whole = peak_of_one(&case);
            let mut needed = None;
            for percent in PERCENTS {
                needed = line(&case, &format!("{percent}"), whole * percent / 100, seconds);
            }
            // Where even the greatest limit is too small: the least that may be enough, and 10 % more.
            for limit in needed.into_iter().flat_map(|least| [least, least + least / 10]) {
                let percent = format!("{:.1}", 100.0 * limit as f64 / whole as f64);
                line(&case, &percent, limit, seconds);
            }
        }
    }
}

/// Plans with an algorithm, on devices with a limit.
fn planned(case: &Case, limit: Option<u64>, algorithm: &str, seconds: &str) -> Ran {
    let memory = limit.map_or_else(String::new, |bytes| format!("memory_bytes: {bytes}, "));
    let device = "device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3";
    let cluster = format!("nodes: [{{{device}, {memory}context_bytes: 0, reserve_bytes: 0}}]\n");
    std::fs::write(&case.cluster, cluster).unwrap();
    let (flags, limit) = (&case.flags, format!("--time-limit {seconds}s"));
    let words = format!("plan {flags} --algorithm {algorithm} {limit} --cluster");
    meshwright(&words, &[&case.cluster, &case.model])
}

/// Peak bytes of the whole step on one device.
fn peak_of_one(case: &Case) -> u64 {
    let ran = planned(case, None, "single", "60");
    let devices = ran.json["report"]["devices"].as_array().unwrap();
    devices.iter().filter_map(|device| device["peak_memory_bytes"].as_u64()).max().unwrap()
}

/// A list scheduler; where greed leaves no room, its variant that keeps room, for ops and then for
/// whole blocks of the model. The seconds are those of all that ran.
fn list(case: &Case, limit: u64, name: &str) -> Tried {
    let room = format!("{name}(variant=room)");
    let recipes = [(name, ""), (&room, " (room)"), (&format!("blocks,{room}"), " (blocks, room)")];
    let mut first = None;
    let mut seconds = 0.0;
    for (recipe, note) in recipes {
        let ran = planned(case, Some(limit), recipe, "10");
        seconds += ran.seconds;
        if ran.error().is_none() || ran.is_infeasible() {
            return Tried { ran, note, seconds };
        }
        first.get_or_insert(ran);
    }
    Tried { ran: first.unwrap(), note: "", seconds }
}

/// One line of the table; what each device needs at least, where it was proved that this limit is
/// too small.
fn line(case: &Case, percent_of_one: &str, limit: u64, seconds: &str) -> Option<u64> {
    let [etf, sct] = ["m-etf", "m-sct"].map(|name| list(case, limit, name));
    let ran = planned(case, Some(limit), "auto", seconds);
    let auto = Tried { seconds: ran.seconds, ran, note: "" };
    let less = |other: &Tried| match (auto.step_s(), other.step_s()) {
        (Some(this), Some(other)) => percent(1.0 - this / other, 1),
        (Some(_), None) => "only plan".to_owned(),
        (None, _) => String::new(),
    };
    let mut cells = vec![format!("{}, {percent_of_one} %", case.name), Bytes(limit).to_string()];
    for tried in [&etf, &sct, &auto] {
        cells.extend([tried.value(), format!("{:.3}", tried.seconds)]);
    }
    cells.extend([less(&etf), less(&sct)]);
    cells.extend(auto.bound());
    row(&cells);
    auto.ran.is_infeasible().then(|| auto.ran.fact("need")?.as_u64())?
}

impl Tried {
    fn step_s(&self) -> Option<f64> {
        self.ran.json["plan"]["cost"]["step_time_s"].as_f64()
    }

    /// Milliseconds, or what did not fit.
    fn value(&self) -> String {
        let op = || self.ran.fact("op").and_then(|op| op.as_str()).unwrap_or("the sum");
        let warnings = self.ran.json["warnings"].as_array().into_iter().flatten();
        let is_fallback = warnings.into_iter().any(|w| w["code"] == "program-not-solved");
        let fallback = if is_fallback { " (fallback)" } else { "" };
        match (self.step_s(), self.ran.error()) {
            (Some(step_s), _) => format!("{:.3}{}{fallback}", step_s * 1e3, self.note),
            _ if self.ran.is_infeasible() => format!("none exists: `{}`", op()),
            (None, code) => format!("{}: {}", code.unwrap_or("no plan"), op()),
        }
    }

    /// Bound, gap and what found the plan.
    fn bound(&self) -> [String; 3] {
        let cost = &self.ran.json["plan"]["cost"];
        let Some((bound_s, gap)) = cost["bound_s"].as_f64().zip(cost["gap"].as_f64()) else {
            return Default::default();
        };
        let method = cost["bound_method"].as_str().unwrap_or_default();
        let algorithm = self.ran.json["algorithm"].as_str().unwrap_or_default();
        [format!("{:.3} ({method})", bound_s * 1e3), percent(gap, 1), algorithm.to_owned()]
    }
}

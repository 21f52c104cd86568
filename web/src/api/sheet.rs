//! A plan as one page that needs no service: script and style of the pages, and the documents that they
//! would ask a service for, as far as there is room.

use std::collections::BTreeMap;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::views::View;
use flate2::Compression;
use flate2::write::GzEncoder;
use ir::diagnostic::{Blame, Diagnostic};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ui::built;
use super::verbs::brief;
use crate::work::figures;

/// Bytes of a page at most.
pub const MOST: usize = 490_000;
/// What stands for the plan's id.
const ID: &str = "plan";
/// Rows of the timeline, the most first: no more than the pages draw at once.
const ROWS: [usize; 9] = [26_000, 18_000, 12_000, 8_000, 4_000, 2_000, 1_000, 500, 250];
/// Points of a memory curve.
const POINTS: [usize; 4] = [800, 400, 200, 100];
/// Share of the room that is left to the timeline once the memory of all devices is there.
const TIMELINE: f64 = 0.6;

/// Script and style of the pages.
///
/// # Errors
/// `no-pages` where the program was built without them.
pub fn shell() -> Result<(&'static str, &'static str), Diagnostic> {
    let text = |name| std::str::from_utf8(built(name)?).ok();
    text("sheet/sheet.js").zip(text("sheet/sheet.css")).ok_or_else(|| {
        let message = "this program was built without its pages, of which a plan's page is made";
        Diagnostic::usage("no-pages", message)
            .hint("build the pages (`make ui`, Node.js 20 or newer), then the program again")
    })
}

/// The page of a plan: what `open` says of it as JSON, and its view file.
///
/// # Errors
/// `no-pages`, `bad-view`; `too-long` where not even its figures fit.
pub fn made(answer: &impl Serialize, view: &[u8], version: &str) -> Result<Vec<u8>, Diagnostic> {
    let (script, style) = shell()?;
    let room = MOST.saturating_sub(page(script, style, "").len()) / 4 * 3;
    let mut stored = Stored { room, taken: 0, all: BTreeMap::new() };
    let view = View::open(view)?;
    let answer = serde_json::to_vec(answer).unwrap_or_default();
    let answer = brief(&answer).unwrap_or_default();
    let status = status(&serde_json::from_slice(&answer).unwrap_or_default());
    // As it stands: no number is read back from text.
    let answer: Option<Box<RawValue>> = serde_json::from_slice(&answer).ok();
    let overview = view.overview();
    if !(stored.keep("", &status, 1.0) && stored.keep("/answer?brief=true", &answer, 1.0)) {
        let message = format!("the figures of the plan do not fit into a page of {MOST} bytes");
        return Err(Diagnostic::error(Blame::Usage, "too-long", message)
            .hint("show it with `meshwright view`"));
    }
    let devices = fullest_first(&view);
    let n = memory(&view, &devices, 1.0 - TIMELINE, &mut stored)?;
    let part_ns = timeline(&view, &mut stored)?;
    // What the timeline leaves is for the others.
    let n_curves = n + memory(&view, &devices[n..], 1.0, &mut stored)?;
    let summary = json!({
        "version": version,
        "n_slices": overview.n_slices,
        "part_ns": part_ns,
        "n_devices": devices.len(),
        "n_curves": n_curves,
    });
    stored.all.extend(to_raw_value(&summary).ok().map(|raw| ("/held".to_owned(), raw)));
    let data = STANDARD.encode(gzip(&serde_json::to_vec(&stored.all).unwrap_or_default()));
    Ok(page(script, style, &data).into_bytes())
}

/// The documents that fit.
struct Stored {
    room: usize,
    taken: usize,
    all: BTreeMap<String, Box<RawValue>>,
}

impl Stored {
    /// Keeps a document of the plan where that leaves it within a share of the room; whether it did.
    fn keep(&mut self, what: &str, document: &impl Serialize, share: f64) -> bool {
        let Ok(document) = to_raw_value(document) else { return false };
        // All together take less than one by one.
        let bytes = gzip(document.get().as_bytes()).len() + what.len() + 40;
        let is_fitting = self.taken + bytes <= (self.room as f64 * share) as usize;
        if is_fitting {
            self.taken += bytes;
            self.all.insert(format!("/v1/plans/{ID}{what}"), document);
        }
        is_fitting
    }
}

/// How the plan stands, as far as its file says.
fn status(answer: &Value) -> Value {
    let mut status = figures::of_file(answer, "");
    let members = json!({
        "id": ID,
        "state": "done",
        "phase": "done",
        "error": null,
        "request": { "workload": answer["plan"]["workload"]["mode"] },
        "files": {},
        "artefacts": ["answer", "plan"],
    });
    if let (Some(status), Value::Object(members)) = (status.as_object_mut(), members) {
        status.extend(members);
    }
    status
}

/// The whole step in as many rows as fit: the length of their parts; `None` where it has too many
/// lanes.
fn timeline(view: &View<'_>, stored: &mut Stored) -> Result<Option<u64>, Diagnostic> {
    for rows in ROWS {
        let tile = match view.timeline(None, None, &[], rows) {
            Err(error) if error.code == "too-few-slices" => return Ok(None),
            tile => tile?,
        };
        if stored.keep(&format!("/timeline?max_slices={rows}"), &tile, 1.0) {
            return Ok(Some(tile.part_ns));
        }
    }
    Ok(None)
}

/// Names of all devices, those with the least room left first.
fn fullest_first(view: &View<'_>) -> Vec<String> {
    let mut devices = view.overview().devices;
    devices.sort_by_key(|device| {
        let free =
            device.limit_bytes.map_or(u64::MAX, |limit| limit.saturating_sub(device.peak_bytes));
        (free, u64::MAX - device.peak_bytes)
    });
    devices.into_iter().map(|device| device.device).collect()
}

/// The memory of devices in as many points as let all fit into a share of the room, or of the first
/// ones: how many.
fn memory(
    view: &View<'_>,
    devices: &[String],
    share: f64,
    stored: &mut Stored,
) -> Result<usize, Diagnostic> {
    let before = (stored.taken, stored.all.clone());
    let mut n = 0;
    for points in POINTS {
        (stored.taken, stored.all) = before.clone();
        n = 0;
        for device in devices {
            let what = format!("/memory?device={}&points={points}", form_encoded(device));
            if !stored.keep(&what, &view.memory(device, points)?, share) {
                break;
            }
            n += 1;
        }
        if n == devices.len() {
            break;
        }
    }
    Ok(n)
}

/// A value of a query, as `URLSearchParams` writes it.
fn form_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'*' | b'-' | b'.' | b'_');
    let one = |b: u8| match b {
        b' ' => "+".to_owned(),
        b if plain(b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(one).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    // Memory takes all that is written.
    let _ = packer.write_all(bytes);
    packer.finish().unwrap_or_default()
}

/// The page. Base64 holds nothing that ends a script, and nothing runs but what has these digests.
fn page(script: &str, style: &str, data: &str) -> String {
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data: blob:; base-uri 'none'; \
         form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>meshwright</title>\n<style>{style}</style>\n</head>\n<body>\n<div id=\"app\"></div>\n\
         <noscript>This page needs JavaScript.</noscript>\n\
         <script type=\"application/gzip\" id=\"documents\">{data}</script>\n\
         <script type=\"module\">{script}</script>\n</body>\n</html>\n",
        digest(script),
        digest(style),
    )
}

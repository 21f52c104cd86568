//! How servers of a fleet are started, a row for each engine, and what routes requests to them: vllm-router
//! 0.1.17, sglang_router 0.3.2, `trtllm-serve disaggregated`.

use documents::plan::fleet::RoleDocument::{Aggregated, Decode, Prefill};
use ir::diagnostic::Diagnostic;
use serde_json::json;

use super::facts::{Facts, is_disaggregated};
use super::routes::{Listens, Ports, Routers, addresses};
use super::source::yaml;
use super::words::{Engine, SGLANG_ENGINE, TRTLLM_ENGINE, VLLM_ENGINE};

/// Ports of routers, for workers that hand requests over and for those that do not.
pub(super) const ROUTERS: [u64; 2] = [9_000, 9_001];

/// How an engine's server is started.
pub(super) struct Server {
    pub(super) engine: &'static Engine,
    pub(super) version: &'static str,
    pub(super) ports: Ports,
    /// What comes before the flags of a type of workers, and one more flag.
    pub(super) beside: fn(&Facts<'_>) -> [&'static str; 2],
    /// Flags of one of several hosts: their number, this one's, and the first one's name.
    /// `None` = it is started on one alone.
    pub(super) of_hosts: Option<fn(usize, usize, &str) -> String>,
    /// Commands of routers, for workers that hand requests over and for those that do not.
    pub(super) routers: Routers,
    /// What stands before devices and flags.
    pub(super) before: fn(&[Vec<Listens>]) -> Result<String, Diagnostic>,
    /// The last line.
    pub(super) start: &'static str,
}

/// The address of a replica.
pub(super) fn url(at: &Listens) -> String {
    format!("http://{}:{}", at.host, at.port)
}

/// Commands of a router with an argument for each worker.
fn routers(
    all: &[Vec<Listens>],
    [start, pairs]: [&str; 2],
    prefill: fn(&Listens) -> String,
) -> [Option<String>; 2] {
    let decode = addresses(all, Decode, |at| format!("--decode {}", url(at)));
    let (prefill, whole) = (addresses(all, Prefill, prefill), addresses(all, Aggregated, url));
    let [pair, alone] = ROUTERS;
    let handing = [prefill.join(" "), decode.join(" ")].join(" ");
    [
        (!prefill.is_empty()).then(|| format!("{start} --port {pair} {pairs} {handing}")),
        (!whole.is_empty())
            .then(|| format!("{start} --port {alone} --worker-urls {}", whole.join(" "))),
    ]
}

pub(super) const VLLM_SERVER: Server = Server {
    engine: &VLLM_ENGINE,
    version: "0.33",
    // NIXL takes a port of each data-parallel rank.
    ports: Ports { http: (8_000, 1), side: 5_600, side_step: |f| u64::from(f.worker.data) },
    beside: |facts| match is_disaggregated(facts.worker) {
        true => [
            " export VLLM_NIXL_SIDE_CHANNEL_PORT=$side \
             VLLM_NIXL_SIDE_CHANNEL_HOST=${VLLM_NIXL_SIDE_CHANNEL_HOST:-$(hostname -I | cut -d' ' -f1)};",
            "",
        ],
        false => ["", ""],
    },
    of_hosts: Some(|n, at, first| {
        let headless = if at > 0 { " --headless" } else { "" };
        format!(
            "--nnodes {n} --node-rank {at} --master-addr \"${{MASTER_ADDR:-{first}}}\"{headless}"
        )
    }),
    routers: |all| {
        let start = "vllm-router --policy round_robin --host 0.0.0.0";
        routers(all, [start, "--vllm-pd-disaggregation"], |at| format!("--prefill {}", url(at)))
    },
    before: |_| Ok(String::new()),
    start: "exec vllm serve \"$3\" --host 0.0.0.0 --port \"$port\" \"${flags[@]}\" \"${of_host[@]}\" \
            \"${@:4}\"\n",
};

pub(super) const SGLANG_SERVER: Server = Server {
    engine: &SGLANG_ENGINE,
    version: "0.5.23",
    // A server takes ports up to 246 behind its own (`PortArgs`).
    // Below those of routers, however many replicas a host has.
    ports: Ports { http: (30_000, 100), side: 8_900, side_step: |_| 1 },
    beside: |facts| match facts.worker.role {
        Prefill => ["", " --disaggregation-bootstrap-port \"$side\""],
        Decode | Aggregated => ["", ""],
    },
    of_hosts: Some(|n, at, first| {
        format!(
            "--nnodes {n} --node-rank {at} --dist-init-addr \"${{MASTER_ADDR:-{first}}}:29500\""
        )
    }),
    routers: |all| {
        let start = "python -m sglang_router.launch_router --policy round_robin --host 0.0.0.0";
        let prefill = |at: &Listens| format!("--prefill {} {}", url(at), at.side);
        routers(all, [start, "--pd-disaggregation"], prefill)
    },
    before: |_| Ok(String::new()),
    start: "exec python -m sglang.launch_server --model-path \"$3\" --host 0.0.0.0 --port \"$port\" \
            \"${flags[@]}\" \"${of_host[@]}\" \"${@:4}\"\n",
};

pub(super) const TRTLLM_SERVER: Server = Server {
    engine: &TRTLLM_ENGINE,
    version: "1.2",
    ports: Ports { http: (8_000, 1), side: 0, side_step: |_| 0 },
    beside: |_| ["", ""],
    of_hosts: None,
    routers: |all| {
        let whole = addresses(all, Aggregated, url);
        let pair = all.iter().flatten().any(|at| at.role == Prefill);
        [
            pair.then(|| "bash trtllm.sh router".to_owned()),
            (!whole.is_empty()).then(|| format!("an HTTP load balancer to {}", whole.join(" "))),
        ]
    },
    before: router,
    start: "exec trtllm-serve \"$3\" --host 0.0.0.0 --port \"$port\" --config \"$config\" \"${@:4}\"\n",
};

/// The file of options of TensorRT-LLM, and the part of the script that routes requests.
fn router(places: &[Vec<Listens>]) -> Result<String, Diagnostic> {
    let address = |at: &Listens| format!("{}:{}", at.host, at.port);
    let [prefill, decode] = [Prefill, Decode].map(|role| addresses(places, role, address));
    let config = "config=$(mktemp --suffix=.yaml)\n";
    if prefill.is_empty() {
        return Ok(config.to_owned());
    }
    let servers = |urls: &[String]| json!({"num_instances": urls.len(), "urls": urls});
    let document = json!({
        "hostname": "0.0.0.0", "port": ROUTERS[0], "backend": "pytorch",
        "context_servers": servers(&prefill), "generation_servers": servers(&decode),
    });
    Ok(format!(
        "{config}if [ \"$1\" = router ]; then\ncat > \"$config\" <<'END'\n{}END\n\
         exec trtllm-serve disaggregated -c \"$config\"\nfi\n",
        yaml(&document)?
    ))
}

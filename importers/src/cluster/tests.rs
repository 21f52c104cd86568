mod strange;

use std::fs;

use ir::chip::Chip;
use ir::cluster::{Check, Cluster, NO_ROUTE};
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::units::{Bytes, Nanos, Watts};

use super::{LinkScope, catalogue, parse, read};

const NODES: &str = "
name: two-nodes
nodes:
  - {count: 2, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, host: pcie4_x16, nics: 4}
network: {link: ib_hdr_200}
";

const EXPLICIT: &str = "
name: explicit
devices:
  - {id: gpu0, kind: rtx_3090}
  - {id: gpu1, kind: rtx_3080_10gb, memory_bytes: 8000000000}
links:
  - {between: [gpu0, gpu1], bytes_per_s: 12.5e9, latency_s: 10e-6}
";

fn cluster(text: &str) -> Cluster {
    parse(text, "test.yaml", None).unwrap()
}

fn refusal(text: &str) -> Diagnostic {
    parse(text, "test.yaml", None).unwrap_err()
}

fn time(cluster: &Cluster, bytes: u64, from: usize, to: usize) -> u64 {
    cluster.transfer_time(Bytes(bytes), DeviceId::new(from), DeviceId::new(to)).unwrap().get()
}

fn tier(cluster: &Cluster, from: usize, to: usize) -> usize {
    cluster.route(DeviceId::new(from), DeviceId::new(to)).unwrap().kind.tier
}

#[test]
fn the_catalogue_parses_and_is_complete() {
    let catalogue = catalogue().unwrap();
    assert_eq!((catalogue.devices.len(), catalogue.links.len()), (100, 39));
    let capped = catalogue.device("h100_sxm5_96gb_hbm2e").unwrap();
    assert_eq!(capped.kind.power.map(Watts::get), Some(500.0));
    let nvlink3 = catalogue.link("nvlink3").unwrap();
    assert_eq!(nvlink3.rate().get(), 222e9);
    assert_eq!(nvlink3.latency_ns, 21_800.0);
    assert_eq!((nvlink3.scope, nvlink3.check), (LinkScope::ScaleUp, Check::Measured));
    assert_eq!(catalogue.link("ici_v4").unwrap().rate().get(), 150e9);
    assert_eq!(catalogue.device("a100_sxm4_80gb").unwrap().kind.check, Check::Recalled);
    assert_eq!(catalogue.device("l40s").unwrap().kind.check, Check::Read);
    for (name, chip) in [("h20_sxm_96gb", Chip::H100), ("tpu_v4", Chip::Other)] {
        assert_eq!(catalogue.device(name).unwrap().kind.chip, chip);
    }
    let has = |chip| catalogue.devices.iter().any(|row| row.kind.chip == chip);
    assert!(Chip::ALL.into_iter().all(has));
    for row in &catalogue.devices {
        assert!(row.kind.memory.is_some() && row.kind.memory_bandwidth.is_some());
        assert!(!row.kind.peak.is_empty(), "{}", row.kind.name);
    }
}

#[test]
fn the_node_form_gives_nvlink_inside_and_the_network_between() {
    let cluster = cluster(NODES);
    assert_eq!(cluster.n_devices(), 8);
    assert_eq!(cluster.devices[5].name, "node1.gpu1");
    // 222 GB/s achieved, 21.8 us: 222,000 bytes take 1 us more.
    assert_eq!(time(&cluster, 222_000, 0, 1), 22_800);
    // 22.5 GB/s achieved, 2 us.
    assert_eq!(time(&cluster, 22_500, 3, 4), 3_000);
    assert_eq!((tier(&cluster, 0, 1), tier(&cluster, 0, 4)), (0, 2));
    assert!(cluster.is_connected());
    let route = cluster.route(DeviceId(0), DeviceId(1)).unwrap();
    assert!(route.kind.source.starts_with("achieved rate"));
    // 80 GiB less 512 MiB less 5 %.
    let limit = cluster.devices[0].memory_limit().unwrap();
    assert_eq!(limit, Bytes(85_899_345_920 - 536_870_912 - 4_294_967_296));
    // Four per host change places; across hosts their neighbours differ.
    assert_eq!(cluster.classes.len(), 2);
    assert_eq!(cluster.classes[1], (4..8).map(DeviceId::new).collect::<Vec<_>>());
}

#[test]
fn the_explicit_form_gives_what_it_says() {
    let cluster = cluster(EXPLICIT);
    // 10 us and 12.5 GB/s: a megabyte takes 80 us more.
    assert_eq!(time(&cluster, 1_000_000, 0, 1), 90_000);
    assert_eq!(time(&cluster, 1_000_000, 1, 0), 90_000);
    assert_eq!(cluster.devices[1].capacity, Some(Bytes(8_000_000_000)));
    assert_eq!(cluster.links.n_tiers, 1);
    assert_eq!(cluster.links.channels.len(), 4);
    assert_eq!(cluster.classes.len(), 2);
    let kind = cluster.route(DeviceId(0), DeviceId(1)).unwrap().kind;
    assert_eq!((kind.name.as_str(), kind.check), ("gpu0-gpu1", Check::Given));
}

#[test]
fn both_forms_mix_and_devices_override() {
    let text = "
nodes: [{device: a100_sxm4_40gb, devices: 2, scaleup: nvlink3}]
devices:
  - {id: node0.gpu1, memory_bytes: 20e9, reserve_bytes: 0, context_bytes: 0}
  - {id: extra, kind: t4}
links: [{between: [node0.gpu0, extra], bytes_per_s: 1e9, latency_s: 1e-6}]
";
    let cluster = cluster(text);
    assert_eq!(cluster.devices[1].memory_limit(), Some(Bytes(20_000_000_000)));
    // extra -> gpu0 (1 us, 1 GB/s) -> gpu1: through the host (5 us) starts sooner than NVLink3
    // (21.8 us), so the path has 6 us and 1 GB/s.
    assert_eq!(time(&cluster, 1_000, 2, 1), 7_000);
    assert_eq!(time(&cluster, 1_000, 1, 2), 7_000);
    assert_eq!(cluster.classes.len(), 3);
}

#[test]
fn devices_of_one_card_share_its_channels() {
    let text = "
nodes: [{count: 2, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, nics: 2}]
network: {link: ib_hdr_200}
";
    let cluster = cluster(text);
    let send = |from: usize, to: usize| {
        cluster.route(DeviceId::new(from), DeviceId::new(to)).unwrap().send
    };
    assert_eq!(send(0, 4), send(1, 5));
    assert_ne!(send(1, 4), send(2, 4));
    assert_ne!(send(0, 1), send(1, 0), "the scale-up tier is not shared");
    assert_eq!(cluster.links.channels[send(2, 4).index()].name, "send node0.nic1 network");
    // Two that share a card don't change places with two that share another.
    assert_eq!(cluster.classes.len(), 4);
}

#[test]
fn a_path_has_the_least_latency_then_the_greatest_width() {
    let text = "
devices:
  - {id: a, kind: t4}
  - {id: b, kind: t4}
  - {id: c, kind: t4}
  - {id: d, kind: t4}
switches: [s]
links:
  - {between: [a, b], bytes_per_s: 10e9, latency_s: 1e-6}
  - {between: [b, d], bytes_per_s: 4e9, latency_s: 2e-6}
  - {between: [a, c], bytes_per_s: 8e9, latency_s: 2e-6}
  - {between: [c, d], bytes_per_s: 8e9, latency_s: 1e-6}
  - {between: [a, s], bytes_per_s: 100e9, latency_s: 2e-6}
  - {from: s, to: d, bytes_per_s: 100e9, latency_s: 2e-6}
";
    let cluster = cluster(text);
    // a-b-d and a-c-d both cost 3 us; a-c-d is wider (8 GB/s); a-s-d costs 4 us.
    assert_eq!(time(&cluster, 8_000, 0, 3), 4_000);
    let kind = cluster.route(DeviceId(0), DeviceId(3)).unwrap().kind;
    assert_eq!(kind.name, "path of 2 links");
    // The direct link wins over any path.
    assert_eq!(time(&cluster, 0, 0, 1), 1_000);
}

#[test]
fn one_way_links_lead_one_way() {
    let text = "
devices: [{id: a, kind: t4}, {id: b, kind: t4}]
links: [{between: [a, b], bytes_per_s: 1e9, directed: true}]
";
    let cluster = cluster(text);
    assert!(cluster.route(DeviceId(0), DeviceId(1)).is_some());
    assert!(cluster.route(DeviceId(1), DeviceId(0)).is_none());
    assert_eq!(cluster.links.pairs[2], NO_ROUTE);
    assert_eq!(cluster.classes.len(), 2, "what only sends is unlike what only receives");
}

#[test]
fn domains_split_hosts_and_join_them() {
    let split = "nodes: [{device: a100_pcie_80gb, devices: 4, scaleup: nvlink3_bridge_pair}]";
    let bridged = cluster(split);
    assert_eq!((tier(&bridged, 0, 1), tier(&bridged, 1, 2)), (0, 1));
    assert_eq!(bridged.route(DeviceId(1), DeviceId(2)).unwrap().kind.name, "pcie4_x16");
    let joined = cluster(
        "
nodes: [{count: 2, device: gb200_gpu_186gb, devices: 2}]
network: {link: ib_ndr_400}
domains: [{link: nvlink5, nodes: [node0, node1]}]
",
    );
    assert_eq!(tier(&joined, 0, 3), 0);
    assert_eq!(joined.classes.len(), 1);
}

#[test]
fn unequal_hosts_use_the_slower_card() {
    let cluster = cluster(
        "
nodes:
  - {name: fast, device: h100_sxm5_80gb}
  - {name: slow, device: t4, network: ethernet_10g}
network: {link: ib_ndr_400}
",
    );
    assert_eq!(cluster.devices[0].name, "fast.gpu0");
    // 50 us and 1.1 GB/s.
    assert_eq!(time(&cluster, 1_100, 0, 1), 51_000);
    assert_eq!(time(&cluster, 1_100, 1, 0), 51_000);
}

#[test]
fn the_network_may_state_rates_by_hosts() {
    let text = |rows: &str| {
        format!(
            "nodes: [{{count: 4, device: h100_sxm5_80gb, devices: 8, scaleup: nvlink4}}]\n\
             network: {{link: ib_ndr_400, by_hosts: [{rows}]}}\n"
        )
    };
    let stated = "{hosts: 2, bytes_per_s: 45e9}, {hosts: 4, bytes_per_s: 20e9, latency_s: 9e-6}";
    let cluster = cluster(&text(stated));
    let rows: Vec<_> = cluster.links.by_hosts.iter().collect();
    let figures = |at: usize| {
        let (hosts, way) = rows[at];
        (*hosts, way.bandwidth.get(), way.latency_ns.round())
    };
    assert_eq!(figures(0), (2, 45e9, 2e3));
    assert_eq!(figures(1), (4, 20e9, 9e3));
    let falling = "{hosts: 4, bytes_per_s: 20e9}, {hosts: 2, bytes_per_s: 45e9}";
    for rows in [falling, "{hosts: 1, bytes_per_s: 45e9}"] {
        assert_eq!(refusal(&text(rows)).code, "count-invalid");
    }
    assert_eq!(refusal(&text("{hosts: 2, bytes_per_s: 0}")).code, "link-rate");
}

#[test]
fn half_duplex_has_one_channel() {
    let cluster = cluster(&EXPLICIT.replace("name: explicit", "duplex: half"));
    assert_eq!(cluster.links.send, cluster.links.receive);
    assert_eq!(cluster.links.channels.len(), 2);
}

#[test]
fn own_kinds_are_exact() {
    let text = "
kinds: [{name: toy, memory_bytes: 1000, memory_bytes_per_s: 1e9, peak_fp32_flops: 1e12}]
devices: [{id: x, kind: toy}, {id: y, kind: toy}]
links: [{between: [x, y], bytes_per_s: 1e9}]
";
    let cluster = cluster(text);
    assert_eq!(cluster.devices[0].memory_limit(), Some(Bytes(1_000)));
    assert_eq!(cluster.classes, vec![vec![DeviceId(0), DeviceId(1)]]);
    assert_eq!(cluster.transfer_time(Bytes(0), DeviceId(0), DeviceId(1)), Some(Nanos(0)));
}

#[test]
fn bad_values_are_refused_by_code() {
    let explicit = |old: &str, new: &str| refusal(&EXPLICIT.replace(old, new)).code;
    for rate in ["0", "-1", ".nan", ".inf"] {
        let code = explicit("12.5e9", rate);
        assert!(code == "link-rate" || code == "yaml-invalid", "{rate}: {code}");
    }
    assert_eq!(explicit("12.5e9", "0"), "link-rate");
    assert_eq!(explicit("10e-6", "-1"), "link-latency");
    assert_eq!(explicit("id: gpu1", "id: gpu0"), "duplicate-device");
    assert_eq!(explicit("[gpu0, gpu1]", "[gpu0, gpu7]"), "unknown-device");
    assert_eq!(explicit("[gpu0, gpu1]", "[gpu0, gpu0]"), "self-link");
    assert_eq!(explicit("12.5e9", "0.5"), "link-rate");
    assert_eq!(explicit("12.5e9", "1e19"), "link-rate");
    assert_eq!(explicit("10e-6", "3601"), "link-latency");
    for id in ["\"\"", "' '", "'a,b'", "'a=b'"] {
        assert_eq!(explicit("id: gpu1", &format!("id: {id}")), "name-invalid");
    }
    assert_eq!(explicit("8000000000", "1.5"), "size-invalid");
    assert_eq!(explicit("8000000000", "1000"), "no-memory-left");
    assert_eq!(refusal("name: x").code, "no-devices");
    assert_eq!(refusal("").code, "no-devices");
    assert_eq!(refusal("nodes: [{device: t4, devices: 70000}]").code, "count-invalid");
    assert_eq!(refusal("nodes: [{device: t4, count: 20000, devices: 4}]").code, "too-many-devices");
    assert_eq!(refusal("nodes: [{device: t4, count: 5000}]").code, "too-many-devices");
    assert_eq!(refusal("nodes: [").code, "yaml-invalid");
    assert_eq!(refusal(&"[".repeat(100_000)).code, "yaml-invalid");
    assert_eq!(refusal("nodes: [{devices: 1}]").code, "missing-key");
}

#[test]
fn unknown_names_come_with_the_nearest() {
    let key = refusal(&NODES.replace("scaleup:", "scale_up:"));
    assert_eq!(key.code, "unknown-key");
    assert!(key.hints.iter().any(|hint| hint.contains("`scaleup`")), "{:?}", key.hints);
    assert!(
        key.facts
            .iter()
            .any(|(name, value)| { *name == "line" && *value == ir::diagnostic::Value::Count(4) })
    );
    let kind = refusal(&NODES.replace("a100_sxm4_80gb", "a100_sxm_80gb"));
    assert_eq!(kind.code, "unknown-kind");
    assert!(kind.hints[0].contains("`a100_sxm4_80gb`"), "{:?}", kind.hints);
    let link = refusal(&NODES.replace("scaleup: nvlink3", "scaleup: nvlnk3"));
    assert_eq!(link.code, "unknown-link");
    assert!(link.hints[0].contains("`nvlink3`"), "{:?}", link.hints);
}

#[test]
fn several_documents_need_a_choice() {
    let text = format!("{NODES}---{EXPLICIT}");
    let error = refusal(&text);
    assert_eq!(error.code, "several-clusters");
    assert!(error.message.contains("`two-nodes`, `explicit`"));
    assert_eq!(parse(&text, "f", Some("explicit")).unwrap().n_devices(), 2);
    assert_eq!(parse(&text, "f", Some("explicite")).unwrap_err().code, "no-such-cluster");
    let folder = std::env::temp_dir().join(format!("meshwright-cluster-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("clusters.yaml");
    fs::write(&path, &text).unwrap();
    let chosen = read(format!("{}#two-nodes", path.display()).as_ref());
    let missing = read(&folder.join("none.yaml"));
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(chosen.unwrap().0.n_devices(), 8);
    assert_eq!(missing.unwrap_err().code, "cluster-unreadable");
}

#[test]
fn four_thousand_devices_are_fine() {
    let text = "
nodes: [{count: 512, device: h100_sxm5_80gb, devices: 8, scaleup: nvlink4, nics: 8}]
network: {link: ib_ndr_400}
";
    let cluster = cluster(text);
    assert_eq!((cluster.n_devices(), cluster.classes.len()), (4_096, 512));
    assert_eq!(cluster.links.kinds.len(), 2);
    // Each pair is there, whatever was looked at.
    let pair = |from: usize, to: usize| cluster.links.pairs[from * 4_096 + to];
    let pairs = [pair(0, 0), pair(0, 7), pair(0, 8), pair(4_095, 4_088), pair(4_095, 0)];
    assert_eq!(pairs, [ir::cluster::NO_ROUTE, 0, 1, 0, 1]);
}

#[test]
fn more_devices_have_the_ways_of_their_places() {
    let text = |hosts: usize| {
        format!(
            "
nodes: [{{count: {hosts}, device: h100_sxm5_80gb, devices: 8, scaleup: nvlink4, nics: 4}}]
network: {{link: ib_ndr_400}}
"
        )
    };
    let (large, small) = (cluster(&text(2_048)), cluster(&text(2)));
    assert_eq!((large.n_devices(), large.links.pairs.len()), (16_384, 2_048 * 2_048));
    assert_eq!(large.islands().len(), 1);
    assert_eq!(large.classes.len(), 2_048 * 4, "two devices of a card change places");
    // The two forms agree on every pair of the first and, moved there, of the last two hosts.
    for from in 0..16 {
        for to in 0..16 {
            let ends = |base: usize| (DeviceId::new(base + from), DeviceId::new(base + to));
            let way = |cluster: &Cluster, (a, b)| cluster.route(a, b).map(|r| r.kind.clone());
            assert_eq!(way(&large, ends(0)), way(&small, ends(0)));
            assert_eq!(way(&large, ends(16_368)), way(&small, ends(0)));
        }
    }
    assert_eq!(large.ways(true).len(), 1);
    assert_eq!(large.ways(false).len(), 1);
    // A named device has ways of its own.
    let named = format!(
        "{}links: [{{between: [node0.gpu0, node9.gpu1], bytes_per_s: 1e9, latency_s: 1e-6}}]",
        text(1_024)
    );
    let named = cluster(&named);
    assert_eq!(named.links.pairs.len(), 1_026 * 1_026);
    let kind = |a, b| named.route(DeviceId::new(a), DeviceId::new(b)).unwrap().kind.name.clone();
    assert_eq!(kind(0, 73), "node0.gpu0-node9.gpu1");
    assert_eq!((kind(0, 1), kind(1, 2)), ("nvlink4".to_owned(), "nvlink4".to_owned()));
    assert_eq!((kind(0, 74), kind(1, 73)), ("ib_ndr_400".to_owned(), "ib_ndr_400".to_owned()));
}

#[test]
fn messages_speak_of_the_file() {
    let message = |old: &str, new: &str| {
        let error = refusal(&EXPLICIT.replace(old, new));
        error.message
    };
    let twice = message("kind: rtx_3090", "kind: rtx_3090, kind: t4");
    assert_eq!(twice, "the key `kind` stands twice");
    let huge = message("12.5e9", "1e300");
    assert!(huge.contains("1e300") && huge.contains("out of range"), "{huge}");
    assert!(message("8000000000", "x").contains("a number is needed"));
    let count = refusal("nodes: [{device: t4, count: -1}]").message;
    assert!(count.contains("a whole number"), "{count}");
    let pair = "{between: [gpu1, gpu0], bytes_per_s: 1e9}\n  - {between";
    assert!(message("{between", pair).contains("another link joins already"));
    let near = refusal(&EXPLICIT.replace("[gpu0, gpu1]", "[gpu0, gpu7]"));
    assert!(near.hints[0].contains("`gpu1`"), "{:?}", near.hints);
}

#[test]
fn a_network_link_joins_no_devices_of_a_host() {
    let error = refusal(&NODES.replace("scaleup: nvlink3", "scaleup: ib_hdr_200"));
    assert_eq!(error.code, "link-scope");
    assert!(error.hints[0].contains("nvlink3") && !error.hints[0].contains("ib_"));
}

#[test]
fn clusters_without_names_of_their_own_are_told_by_position() {
    let first = NODES.replace("name: two-nodes", "name: explicit");
    let same = refusal(&format!("{first}---{EXPLICIT}"));
    assert!(same.message.ends_with("number 1 `explicit`, number 2 `explicit`"), "{}", same.message);
    let unnamed = refusal(&format!("{}---{EXPLICIT}", first.replace("name: explicit", "")));
    assert!(unnamed.message.contains("number 1 without a name"), "{}", unnamed.message);
    assert!(unnamed.hints[0].contains("`name`"));
}

/// A cluster without its spares is the cluster of a file that never had them.
#[test]
fn spares_are_left_out_as_if_they_were_not_there() {
    let hosts = |more: &str| {
        format!(
            "name: c\nnodes:\n{more}  - {{name: a, count: 2, device: a100_sxm4_80gb, devices: 4, scaleup: \
             nvlink3, nics: 2}}\n  - {{name: b, device: a100_sxm4_80gb, devices: 2}}\nnetwork: {{link: \
             ib_hdr_200}}\n"
        )
    };
    let spare = "  - {name: s, count: 2, device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3, nics: 2, \
                 spare: true}\n";
    assert_eq!(cluster(&hosts(spare)), cluster(&hosts("")));

    let singles = |more: [&str; 2]| {
        format!(
            "name: c\ndevices:\n  - {{id: a, kind: t4}}\n{}  - {{id: b, kind: t4, memory_bytes: 8GB}}\nlinks:\n  \
             - {{between: [a, b], bytes_per_s: 1e9, latency_s: 1e-5}}\n{}",
            more[0], more[1]
        )
    };
    let spare = [
        "  - {id: s, kind: t4, spare: true}\n",
        "  - {between: [b, s], bytes_per_s: 1e9, latency_s: 1e-5}\n",
    ];
    let (with, without) = (cluster(&singles(spare)), cluster(&singles(["", ""])));
    assert_eq!((&with.devices, &with.classes), (&without.devices, &without.classes));
    for from in with.device_ids() {
        for to in with.device_ids() {
            let way = |cluster: &Cluster| cluster.route(from, to).map(|way| way.kind.clone());
            assert_eq!(way(&with), way(&without));
        }
    }
}

#[test]
fn a_cluster_of_spares_alone_is_refused() {
    let error =
        parse("nodes:\n  - {device: t4, devices: 2, spare: true}\n", "test", None).unwrap_err();
    assert_eq!(error.code, "no-devices");
    let some = cluster(
        "nodes:\n  - {device: t4, devices: 2, spare: true}\ndevices:\n  - {id: node0.gpu1, spare: false}\n",
    );
    assert_eq!(some.devices.len(), 1);
}

use super::*;

const H100: &str =
    "\u{1b}[4mGPU0\tGPU1\tGPU2\tGPU3\tNIC0\tNIC1\tNIC2\tCPU Affinity\tNUMA Affinity\u{1b}[0m
GPU0\t X \tNV18\tNV18\tNV18\tPIX\tNODE\tSYS\t0-47\t0
GPU1\tNV18\t X \tNV18\tNV18\tNODE\tPXB\tSYS\t0-47\t0
GPU2\tNV18\tNV18\t X \tNV18\tSYS\tSYS\tSYS\t48-95\t1
GPU3\tNV18\tNV18\tNV18\t X \tSYS\tSYS\tSYS\t48-95\t1
NIC0\tPIX\tNODE\tSYS\tSYS\t X \tNODE\tSYS

Legend:
  X    = Self
";
const LIST: &str = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2)\n\
    GPU 2: NVIDIA H100 80GB HBM3 (UUID: GPU-3)\nGPU 3: NVIDIA H100 80GB HBM3 (UUID: GPU-4)\n";

fn of(texts: &[&str]) -> Result<Draft, Diagnostic> {
    let mut told = Told::default();
    texts.iter().try_for_each(|text| told.add(text, "file"))?;
    told.written(&catalogue().unwrap())
}

fn blanks(draft: &Draft) -> Vec<&str> {
    draft.blank.iter().map(|(key, _)| key.as_str()).collect()
}

#[test]
fn what_is_not_said_is_left_blank() {
    let draft = of(&[H100]).unwrap();
    assert_eq!(
        blanks(&draft),
        ["nodes[0].count", "nodes[0].device", "nodes[0].scaleup", "network.link"]
    );
    assert!(draft.text.contains("devices: 4") && draft.text.contains("nics: 2"), "{}", draft.text);
    // A blank file is refused by the key, not planned.
    assert!(super::super::parse(&draft.text, "file", None).is_err());
}

#[test]
fn files_complete_each_other() {
    let hosts = "worker-1 slots=4\nworker-2 slots=4 # b\n";
    let draft = of(&[H100, LIST, hosts]).unwrap();
    assert_eq!(blanks(&draft), ["network.link"]);
    let text = draft.text.replace("{link: }", "{link: ib_ndr_400}");
    let cluster = super::super::parse(&text, "file", None).unwrap();
    assert_eq!(cluster.devices.len(), 8);
    assert!(text.contains("h100_sxm5_80gb") && text.contains("nvlink4"), "{text}");
}

#[test]
fn hostfiles_of_all_kinds() {
    for (text, groups) in [
        ("a slots=8\nb slots=8\n", vec![(2, Some(8))]),
        ("a:4\nb:4\nc:2\n", vec![(1, Some(2)), (2, Some(4))]),
        ("n01\nn01\nn02\nn02\n", vec![(2, Some(2))]),
        ("node[001-003,7]\n", vec![(4, None)]),
        ("10.0.0.1 slots=8 max_slots=8\n", vec![(1, Some(8))]),
    ] {
        let mut told = Told::default();
        told.add(text, "file").unwrap();
        let wanted: Vec<_> = groups.into_iter().map(|(n, devices)| (Some(n), devices)).collect();
        assert_eq!(told.groups().unwrap(), wanted, "{text}");
    }
}

#[test]
fn faults_have_codes() {
    for (texts, code) in [
        (vec!["{\"a\": 1}"], "invalid-hostfile"),
        (vec![""], "invalid-hostfile"),
        (vec!["a slots=0"], "invalid-hostfile"),
        (vec!["node[1-99999999]"], "invalid-hostfile"),
        (vec!["node[3-1]"], "invalid-hostfile"),
        (vec!["GPU0 GPU1\nGPU0 X NV1\n"], "invalid-topology"),
        (vec![H100, "a slots=8\n"], "contradiction"),
    ] {
        assert_eq!(of(&texts).unwrap_err().code, code, "{texts:?}");
    }
}

#[test]
fn names_of_drivers_are_kinds() {
    for (name, nvlinks, wanted) in [
        ("NVIDIA A100-SXM4-80GB", 12, "a100_sxm4_80gb"),
        ("NVIDIA A100 80GB PCIe", 0, "a100_pcie_80gb"),
        ("NVIDIA GeForce RTX 4090", 0, "rtx_4090"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 0, "rtx_4070_ti_super"),
        ("Tesla V100-SXM2-16GB", 6, "v100_sxm2_16gb"),
        ("NVIDIA L40S", 0, "l40s"),
        ("NVIDIA B200", 18, "b200_sxm_180gb"),
    ] {
        let topology = Topology { devices: 1, nvlinks, domain: 1, cards: 0 };
        let told =
            Told { topology: Some(topology), names: vec![name.to_owned()], ..Told::default() };
        let catalogue = catalogue().unwrap();
        let Kind::Known(row) = told.kind(&catalogue) else { panic!("{name}") };
        assert_eq!(row.kind.name, wanted, "{name}");
    }
}

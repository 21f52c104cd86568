//! The commands of docs/networks.md print what the page says.

use std::process::Command;

#[test]
fn the_page_of_networks_is_what_its_commands_print() {
    let root = env!("CARGO_MANIFEST_DIR");
    let page = std::fs::read_to_string(format!("{root}/docs/networks.md")).unwrap();
    let shown: Vec<&str> =
        page.split("```console\n").skip(1).map(|own| own.split("```").next().unwrap()).collect();
    assert!(shown.len() >= 6, "{page}");
    // Later commands read what earlier ones wrote.
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(format!("{root}/examples"), folder.path().join("examples")).unwrap();
    for own in shown {
        let own = own.replace("\\\n", " ");
        let (line, printed) = own.split_once('\n').unwrap();
        let words = line.strip_prefix("$ meshwright ").unwrap().split_whitespace();
        let ran = Command::new(env!("CARGO_BIN_EXE_meshwright"))
            .args(words)
            .current_dir(folder.path())
            .env("COLUMNS", "90")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), printed, "{line}");
    }
}

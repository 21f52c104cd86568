//! The commands of docs/networks.md print what the page says.

use std::process::Command;

#[test]
fn the_page_of_networks_is_what_its_commands_print() {
    let root = env!("CARGO_MANIFEST_DIR");
    let page = std::fs::read_to_string(format!("{root}/docs/networks.md")).unwrap();
    let shown: Vec<&str> =
        page.split("```console\n").skip(1).map(|own| own.split("```").next().unwrap()).collect();
    assert!(shown.len() >= 3, "{page}");
    for own in shown {
        let (command, after) = own.split_once("\\\n").unwrap();
        let (rest, printed) = after.split_once('\n').unwrap();
        let line = format!("{} {rest}", command.strip_prefix("$ meshwright ").unwrap());
        let ran = Command::new(env!("CARGO_BIN_EXE_meshwright"))
            .args(line.split_whitespace())
            .current_dir(root)
            .env("COLUMNS", "90")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), printed, "{line}");
    }
}

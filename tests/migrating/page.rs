//! The diffs of `docs/migrating.md` are those of the programs. `LAMEDUCK_MIGRATING=update` in the environment writes them anew.

use std::fs;
use std::path::Path;

use similar::TextDiff;

const PROGRAMS: [&str; 4] = ["chat", "grpc", "mtls", "proxy"];

#[test]
fn the_pages_diffs_are_those_of_the_programs() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migrating.md");
    let written = fs::read_to_string(&page).unwrap();
    let mut right = written.clone();
    for program in PROGRAMS {
        right = with_diff(&right, program);
    }

    if std::env::var("LAMEDUCK_MIGRATING").is_ok_and(|it| it == "update") {
        fs::write(&page, right).unwrap();
        return;
    }
    let difference = TextDiff::from_lines(&written, &right)
        .unified_diff()
        .to_string();
    assert!(
        difference.is_empty(),
        "write it anew with LAMEDUCK_MIGRATING=update:\n{difference}"
    );
}

/// The page with the block of this program as it should be.
fn with_diff(page: &str, program: &str) -> String {
    let file = |name: &str| format!("tests/migrating/{program}/{name}.rs");
    let head = format!("```diff\n--- {}\n", file("before"));
    let start = page
        .find(&head)
        .unwrap_or_else(|| panic!("{head} is not on the page"));
    let length = page[start..].find("\n```\n").expect("the block ends") + "\n```\n".len();
    let (before, after) = (read(&file("before")), read(&file("after")));
    let diff = TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(2)
        .header(&file("before"), &file("after"))
        .to_string();
    format!(
        "{}```diff\n{diff}```\n{}",
        &page[..start],
        &page[start + length..]
    )
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(path).unwrap()
}

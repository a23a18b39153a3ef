//! The fragments of manifests that the pages show: their times fit the plan that they give.

use crate::checks::times;
use crate::parse;

const PAGES: [&str; 2] = ["README.md", "docs/kubernetes.md"];

#[test]
fn fragments_of_pods_in_the_pages_fit_their_plans() {
    for page in PAGES {
        let text = std::fs::read_to_string(format!("{}/{page}", env!("CARGO_MANIFEST_DIR")));
        let mut seen = 0;

        for fragment in fragments(&text.unwrap()) {
            let objects = parse(fragment).unwrap_or_else(|error| panic!("{page}: {error}"));
            let pods = objects
                .iter()
                .filter_map(|it| it.pointer("/spec/template/spec").or(it.get("spec")))
                .filter(|it| it.get("containers").is_some());
            for pod in pods {
                assert_eq!(times(pod), Vec::<String>::new(), "{page}: {fragment}");
                seen += 1;
            }
        }

        assert!(seen > 0, "{page} shows none");
    }
}

/// What stands between three backticks with `yaml` and three without.
fn fragments(page: &str) -> impl Iterator<Item = &str> {
    page.split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
}

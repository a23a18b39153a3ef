//! Tables, and verdicts against the targets.

use std::cell::RefCell;

/// A table in Markdown, for a terminal and for a page.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Table {
            head: head.map(str::to_owned).to_vec(),
            rows: Vec::new(),
        }
    }

    pub fn row<const N: usize>(&mut self, row: [String; N]) {
        assert_eq!(N, self.head.len(), "a row has the table's columns");
        let known = |cell: String| match cell.as_str() {
            "NaN" => "?".to_owned(),
            _ => cell,
        };
        self.rows.push(row.map(known).to_vec());
    }

    pub fn print(&self) {
        let width = |column: usize| {
            let all = self.rows.iter().chain([&self.head]);
            all.map(|row| row[column].chars().count()).max()
        };
        let widths: Vec<usize> = (0..self.head.len()).filter_map(width).collect();
        let print = |row: &[String]| {
            let mut line = String::from("|");
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let fill = " ".repeat(width - cell.chars().count());
                // Names to the left, figures to the right.
                line += &match column {
                    0 => format!(" {cell}{fill} |"),
                    _ => format!(" {fill}{cell} |"),
                };
            }
            println!("{line}");
        };
        print(&self.head);
        let rule = widths
            .iter()
            .enumerate()
            .map(|(column, width)| match column {
                0 => "-".repeat(width + 2),
                _ => format!("{}:", "-".repeat(width + 1)),
            });
        println!("|{}|", rule.collect::<Vec<_>>().join("|"));
        self.rows.iter().for_each(|row| print(row));
        println!();
    }
}

thread_local! { static MISSED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) } }

/// Says whether a figure keeps to its target.
pub fn at_most(what: &str, figure: f64, target: f64, unit: &str) {
    // Not so when it is not known.
    let kept = figure <= target;
    let verdict = if kept { "kept" } else { "MISSED" };
    let line = format!("{what}: {figure:.3}{unit}, target at most {target:.3}{unit}");
    println!("{verdict:>6}  {line}");
    if !kept {
        MISSED.with_borrow_mut(|missed| missed.push(line));
    }
}

/// Something has missed its target, and has said so itself.
pub fn note_missed(what: &str) {
    MISSED.with_borrow_mut(|missed| missed.push(what.to_owned()));
}

/// What has missed its target so far.
pub fn missed() -> Vec<String> {
    MISSED.with_borrow(Clone::clone)
}

pub fn heading(text: &str) {
    println!("\n## {text}\n");
}

/// Measures each of `names` so many times, in turns: what else the machine does meets all of them.
pub fn in_turns<T>(names: &[&str], runs: usize, mut measure: impl FnMut(&str) -> T) -> Vec<Vec<T>> {
    let mut measured: Vec<Vec<T>> = names.iter().map(|_| Vec::new()).collect();
    for _ in 0..runs {
        for (name, measured) in names.iter().zip(&mut measured) {
            measured.push(measure(name));
        }
    }
    measured
}

/// Best, median and worst of several runs.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub best: f64,
    pub median: f64,
    pub worst: f64,
}

impl Spread {
    /// Not one run was good.
    pub const UNKNOWN: Spread = Spread {
        best: f64::NAN,
        median: f64::NAN,
        worst: f64::NAN,
    };

    /// NaN is a run that came to nothing.
    pub fn of(mut runs: Vec<f64>) -> Self {
        runs.retain(|run| !run.is_nan());
        runs.sort_by(f64::total_cmp);
        assert!(!runs.is_empty(), "no run came to anything");
        Spread {
            best: runs[0],
            median: runs[runs.len() / 2],
            worst: runs[runs.len() - 1],
        }
    }
}

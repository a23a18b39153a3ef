//! The machine alone, against a model of the parts around it: any sequence of what may happen to a connection keeps the rules.
//!
//! ```console
//! $ cargo test --all-features --lib net::exit
//! $ LAMEDUCK_SEQUENCES=1000000 cargo test --release --all-features --lib net::exit
//! ```
//!
//! The first plays 20,000 sequences, the same each time; the second more of them. A sequence that breaks a rule is printed
//! without the steps that it does not need, as a line for [`regressions`].

mod drawn;
mod facts;
mod regressions;
mod rules;
mod world;

use std::time::Instant;

use drawn::{Setup, Step};
use world::World;

/// How many are played when nobody asks for more.
const SEQUENCES: u64 = 20_000;

/// Plays it to its end. What it breaks, if anything.
fn play(setup: Setup, steps: &[Step]) -> Option<String> {
    let mut world = World::new(setup);
    for step in steps {
        world.play(*step);
        if world.rules.broken.is_some() {
            return world.rules.broken;
        }
    }
    world.settle();
    // What it was, it ends as soon as nothing keeps it.
    world.play(Step::Close { quarters: 4 });
    world.behave();
    world.play(Step::Wait(20_000));
    world.settle();
    world.judge_gone();
    world.rules.broken
}

#[test]
fn every_sequence_keeps_the_rules() {
    let asked = std::env::var("LAMEDUCK_SEQUENCES").ok();
    let sequences = asked.map_or(SEQUENCES, |it| it.parse().expect("a number of sequences"));
    let began = Instant::now();
    for seed in 0..sequences {
        let (setup, steps) = drawn::draw(seed);
        if play(setup, &steps).is_some() {
            let steps = drawn::shrink(&steps, |fewer| play(setup, fewer).is_some());
            let rule = play(setup, &steps).expect("it was broken");
            panic!("broken by sequence {seed}: {rule}\n    ({setup:?}, &{steps:?}),");
        }
    }
    println!("{sequences} sequences in {:?}", began.elapsed());
}

#[test]
fn sequences_that_once_broke_a_rule_keep_it() {
    let broken = regressions::SEQUENCES.iter().enumerate();
    let broken = broken.filter_map(|(index, (setup, steps))| Some((index, play(*setup, steps)?)));
    assert_eq!(broken.collect::<Vec<_>>(), []);
}

//! The pods over time, drawn with letters.

use std::fmt::Write;

use crate::deployment::{Moment, Pods, Rollout, fullest};

/// So many lines at most, the last moment's not counted.
const LINES: usize = 30;

/// So many letters a line.
const WIDTH: u64 = 60;

const LEGEND: &str =
    "O old, o old and not ready, N new and ready, s new and starting, x terminating";

/// A line for each moment at which something changed, or for the fullest one of some seconds.
pub(crate) fn chart(rollout: &Rollout) -> String {
    let pods_per_letter = rollout.peak().pods.total().div_ceil(WIDTH);
    let mut chart = format!("{:>10} {:>6}\n", "from", "pods");
    for moment in lines(&rollout.moments) {
        let _ = writeln!(
            chart,
            "{:>8.1} s {:>6}  {}",
            moment.at.as_secs_f64(),
            moment.pods.total(),
            bar(moment.pods, pods_per_letter)
        );
    }
    let scale = match pods_per_letter {
        1 => String::new(),
        pods => format!("; a letter is {pods} pods"),
    };
    let _ = writeln!(chart, "{:17}  {LEGEND}{scale}", "");
    chart
}

fn lines(moments: &[Moment]) -> Vec<Moment> {
    if moments.len() <= LINES {
        return moments.to_vec();
    }
    let mut seconds = 1;
    loop {
        let slot = |moment: &Moment| moment.at.as_secs() / seconds;
        let mut lines: Vec<Moment> = moments
            .chunk_by(|one, next| slot(one) == slot(next))
            .map(fullest)
            .collect();
        if lines.len() <= LINES {
            lines.extend(moments.last().filter(|&last| lines.last() != Some(last)));
            return lines;
        }
        seconds *= 2;
    }
}

fn bar(pods: Pods, pods_per_letter: u64) -> String {
    let mut bar = String::new();
    let (mut so_far, mut drawn) = (0, 0);
    for (letter, pods) in [
        ("O", pods.old),
        ("o", pods.old_unready),
        ("N", pods.ready),
        ("s", pods.starting),
        ("x", pods.terminating),
    ] {
        // From the sum, so that the whole bar has its right length.
        so_far += pods;
        let end = so_far.div_ceil(pods_per_letter);
        bar.extend((drawn..end).map(|_| letter));
        drawn = end;
    }
    bar
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn moment(millis: u64, old: u64, ready: u64, terminating: u64) -> Moment {
        Moment {
            at: Duration::from_millis(millis),
            pods: Pods {
                old,
                ready,
                terminating,
                ..Pods::default()
            },
        }
    }

    #[test]
    fn bar_has_a_letter_for_each_pod() {
        let pods = Pods {
            old: 3,
            old_unready: 1,
            starting: 2,
            ready: 4,
            terminating: 5,
        };

        assert_eq!(bar(pods, 1), "OOOoNNNNssxxxxx");
    }

    #[test]
    fn bar_of_many_pods_keeps_its_length() {
        let pods = moment(0, 10, 10, 10).pods;

        assert_eq!(bar(pods, 4), "OOONNxxx");
    }

    #[test]
    fn few_moments_have_a_line_each() {
        let moments: Vec<Moment> = (0..30).map(|n| moment(n * 10, 30 - n, n, 0)).collect();

        assert_eq!(lines(&moments), moments);
    }

    #[test]
    fn lines_of_many_moments_keep_the_fullest_and_the_last() {
        let mut moments: Vec<Moment> = (0..100).map(|n| moment(n * 500, 10, 0, 0)).collect();
        moments[41].pods.terminating = 7;
        moments[99].pods.old = 9;

        let lines = lines(&moments);

        assert!(lines.len() <= LINES + 1, "{}", lines.len());
        assert!(lines.contains(&moments[41]));
        assert_eq!(lines.last(), moments.last());
    }
}

//! The playing of a drill: scenario by scenario, run by run.

use fastrand::Rng;

use crate::error::DrillError;
use crate::judge::judge;
use crate::outcome::{Outcome, Score};
use crate::round::Stage;
use crate::scenario::Scenario;
use crate::settings::Settings;
use crate::survey::Survey;
use crate::target::Target;
use crate::unknown;

pub(crate) struct Play<'a> {
    pub(crate) target: &'a Target,
    pub(crate) settings: &'a Settings,
    pub(crate) say: &'a (dyn Fn(&str) + Send + Sync),
}

impl Play<'_> {
    pub(crate) async fn play(&self) -> Result<Outcome, DrillError> {
        let survey = self.survey().await?;
        (self.say)(&format!("the server speaks {}", survey.speaks));
        let scenarios = unknown::playable(self.settings, &survey)?;
        let mut scores = Vec::new();
        for scenario in scenarios {
            scores.push(self.play_scenario(&survey, scenario).await?);
        }
        let unknown = unknown::unknown(self.settings, &survey);
        Ok(Outcome::new(survey.speaks, self.settings, scores, unknown))
    }

    async fn survey(&self) -> Result<Survey, DrillError> {
        if let Target::Program(program) = self.target {
            if !program.knows_its_port() {
                return Err(DrillError::NoPort);
            }
        }
        let settings = self.settings;
        let (running, startup) = self.target.accepting(settings).await?;
        let survey = Survey::new(&running, startup, settings).await?;
        running.kill();
        running.left().await;
        Ok(survey)
    }

    async fn play_scenario(
        &self,
        survey: &Survey,
        scenario: Scenario,
    ) -> Result<Score, DrillError> {
        let stage = Stage {
            target: self.target,
            settings: self.settings,
            survey,
            scenario,
            say: self.say,
        };
        let mut score = Score::new(scenario);
        let mut random = Rng::with_seed(self.settings.seed);
        let mut closes_after = None;
        for run in 1..=self.settings.runs {
            let round = stage.play(random.fork(), closes_after).await?;
            let judged = judge(scenario, run, &round);
            closes_after = judged.closed_after.or(closes_after);
            score.add(round.book.told, judged);
            self.tell(&score);
        }
        Ok(score)
    }

    fn tell(&self, score: &Score) {
        (self.say)(&format!(
            "{}: stopped {} of {} times, {} requests, {} lost",
            score.scenario,
            score.departures.len(),
            self.settings.runs,
            score.requests(),
            score.losses.len(),
        ));
    }
}

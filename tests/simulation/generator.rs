//! From a seed to a scenario.

use std::sync::Arc;
use std::time::Duration;

use lameduck::{Phase, Plan, Signal};

use crate::dice::Dice;
use crate::scenario::{
    Act, Awaited, ConnectionSpec, End, Fate, GuardKind, GuardSpec, Hold, HookSpec, Id, RequestSpec,
    Scenario, Script, Step, TaskSpec, Why, ms,
};

/// The clock on which a scenario is to be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Paused,
    Real,
}

/// What was added later is drawn apart, so that each seed keeps all else.
const APART: u64 = 0x0061_7061_7274;

/// The time of a long Release on real time.
const PATIENT: Duration = ms(500);

/// The scenario of a seed: always the same.
pub(crate) fn scenario(seed: u64, clock: Clock) -> Scenario {
    let mut dice = Dice::new(seed);
    let mut apart = Dice::new(seed ^ APART);
    let drawn = match clock {
        Clock::Paused => plan(&mut dice),
        Clock::Real => short_plan(&mut dice),
    };
    let plan = match clock {
        Clock::Real if apart.percent(6) => patient_plan(&mut apart),
        _ => drawn,
    };
    let length = plan.deadline(Phase::Exit).as_millis() as u64;
    let trigger_at = dice.below(length / 2 + 20);
    let mut generator = Generator {
        clock,
        trigger_at,
        length,
        deadlines: Phase::ALL
            .iter()
            .map(|&phase| plan.deadline(phase).as_millis() as u64)
            .collect(),
        dice,
        apart,
        ids: 0,
        hooks: Vec::new(),
        removed: Vec::new(),
        tasks: Vec::new(),
        groups: Vec::new(),
        current: None,
        on_connection: false,
    };
    let mut acts = generator.acts();
    acts.extend(generator.arranged(&plan));
    acts.sort_by_key(|(at, _)| *at);
    let dice = &mut generator.dice;
    let run_at = match dice.below(10) {
        0 => trigger_at + dice.below(length + 1),
        1 => trigger_at,
        2 => dice.below(trigger_at + 1),
        _ => 0,
    };
    let parent = dice.percent(15);
    let fate = generator.fate(run_at);
    let in_main = generator.apart.percent(30);
    Scenario {
        seed,
        plan,
        run_at,
        fate,
        in_main,
        parent,
        acts,
    }
}

/// A plan that the builder accepts.
fn plan(dice: &mut Dice) -> Plan {
    match dice.below(20) {
        0 => return Plan::immediate(),
        1 => return Plan::local(),
        2 => return Plan::builder().build().expect("the default fits"),
        _ => {}
    }
    drawn_plan(dice, |dice| match dice.below(8) {
        0 => 0,
        1 => dice.below(10),
        2 => 30_000,
        3 => dice.below(60_000),
        _ => 20 + dice.below(800),
    })
}

/// One that is over soon.
fn short_plan(dice: &mut Dice) -> Plan {
    drawn_plan(dice, |dice| match dice.below(10) {
        0 => 0,
        1 => dice.below(10),
        _ => 20 + dice.below(130),
    })
}

/// One whose Release is so long that it shows whether somebody held it.
fn patient_plan(dice: &mut Dice) -> Plan {
    let mut part = || ms(dice.below(60));
    let plan = Plan::builder().lame_duck(part()).drain(part());
    let plan = plan.close(part()).exit(part()).reserve(ms(50));
    let plan = plan.release(PATIENT).grace_period(PATIENT * 2);
    plan.build().expect("it fits")
}

fn drawn_plan(dice: &mut Dice, grace: impl Fn(&mut Dice) -> u64) -> Plan {
    loop {
        let grace = grace(dice);
        let mut builder = Plan::builder().grace_period(ms(grace));
        let part = |dice: &mut Dice, of: u64| match dice.below(6) {
            0 | 1 => Some(Duration::ZERO),
            2 => Some(ms(dice.below(of / 3 + 1))),
            3 => Some(Duration::from_micros(dice.below(of * 300 + 1))),
            _ => None,
        };
        if let Some(time) = part(dice, grace) {
            builder = builder.lame_duck(time);
        }
        if let Some(time) = part(dice, grace) {
            builder = builder.drain(time);
        }
        if let Some(time) = part(dice, grace) {
            builder = builder.close(time);
        }
        if let Some(time) = part(dice, grace) {
            builder = builder.release(time);
        }
        if let Some(time) = part(dice, grace) {
            builder = builder.exit(time);
        }
        if let Some(time) = part(dice, grace / 4) {
            builder = builder.reserve(time);
        }
        if let Some(time) = part(dice, grace / 6) {
            builder = builder.pre_stop(time);
        }
        if let Some(time) = part(dice, grace / 6) {
            builder = builder.spread(time);
        }
        if let Some(time) = part(dice, grace / 6) {
            builder = builder.long_spread(time);
        }
        if let Some(time) = part(dice, grace / 6) {
            builder = builder.linger(time);
        }
        builder = builder.long_phase(dice.of(&[
            Phase::LameDuck,
            Phase::Drain,
            Phase::Close,
            Phase::Close,
        ]));
        if let Ok(plan) = builder.build() {
            return plan;
        }
    }
}

struct Generator {
    dice: Dice,
    /// See [`APART`].
    apart: Dice,
    clock: Clock,
    /// When the shutdown is triggered at the latest,
    trigger_at: u64,
    /// how long it takes at most,
    length: u64,
    /// and when its phases end at the latest. All in milliseconds.
    deadlines: Vec<u64>,
    ids: Id,
    hooks: Vec<(String, Phase)>,
    /// The names of hooks that somebody removes.
    removed: Vec<String>,
    tasks: Vec<String>,
    groups: Vec<Id>,
    /// The phase of the hook whose script is written.
    current: Option<Phase>,
    /// The script of a connection is written: a panic there would be its owner's.
    on_connection: bool,
}

impl Generator {
    fn acts(&mut self) -> Vec<(u64, Act)> {
        let mut acts = Vec::new();
        if self.dice.percent(50) {
            let at = self.early();
            acts.push((at, Act::Layer));
        }
        for _ in 0..self.dice.of(&[0, 0, 1, 1, 2]) {
            let at = self.early();
            acts.push((at, self.listen()));
        }
        for _ in 0..self.dice.below(16) {
            let at = self.moment();
            let act = self.act(2);
            acts.push((at, act));
        }
        // Many at once, so that not all of them can be named.
        if self.dice.percent(3) {
            let at = self.early();
            for _ in 0..15 + self.dice.below(15) {
                acts.push((at, self.guard(true)));
            }
        }
        acts.push((self.trigger_at, self.shutdown()));
        for _ in 0..self.dice.of(&[0, 0, 0, 1, 2]) {
            let at = self.moment();
            acts.push((at, self.shutdown()));
        }
        acts.sort_by_key(|(at, _)| *at);
        acts
    }

    /// On real time: what hardly ever happens by chance.
    fn arranged(&mut self, plan: &Plan) -> Vec<(u64, Act)> {
        match self.clock {
            Clock::Paused => Vec::new(),
            Clock::Real if plan.duration(Phase::Release) >= PATIENT => vec![(0, self.late_hook())],
            Clock::Real if self.apart.percent(8) => self.busy_threads(),
            Clock::Real => Vec::new(),
        }
    }

    /// A hook whose own time is up long before that of Release.
    fn late_hook(&mut self) -> Act {
        let timeout = self.apart.below(50);
        let mut hook = self.plain_hook(Phase::Release, Step::Sleep(timeout + 1_000));
        hook.timeout = Some(timeout);
        hook.script.bomb = self.apart.percent(50);
        Act::Hook(Arc::new(hook))
    }

    /// A blocking hook that gets no thread before its phase is over, and then gets one.
    fn busy_threads(&mut self) -> Vec<(u64, Act)> {
        let phase = self.apart.of(Phase::ALL);
        // Long enough for the rules to tell.
        let busy = self.deadlines[phase as usize] + 100 + self.apart.below(100);
        let hog = || (self.trigger_at, Act::Hog(busy));
        let mut acts = vec![hog(), hog()];
        let mut hook = self.plain_hook(phase, Step::Sleep(1));
        hook.blocking = true;
        acts.push((0, Act::Hook(Arc::new(hook))));
        acts
    }

    fn plain_hook(&mut self, phase: Phase, step: Step) -> HookSpec {
        let id = self.id();
        HookSpec {
            id,
            name: format!("h{id}"),
            phase,
            after: Vec::new(),
            timeout: None,
            blocking: false,
            script: Script {
                stillborn: false,
                steps: vec![step],
                end: End::Done,
                on_drop: None,
                bomb: false,
                bomb_behind: false,
            },
        }
    }

    fn fate(&mut self, run_at: u64) -> Fate {
        match self.dice.below(100) {
            0..4 => Fate::Dropped,
            4..20 => {
                // Before the trigger, in any phase, or too late to matter.
                let at = match self.dice.below(10) {
                    0 => run_at,
                    1..=3 => self.dice.below(self.trigger_at + 1),
                    4..=6 => self.trigger_at + self.dice.below(self.length * 5 / 4 + 2),
                    7 => self.trigger_at,
                    _ => self.trigger_at + self.dice.of(&self.deadlines.clone()),
                };
                let after = at.saturating_sub(run_at);
                Fate::RunDropped { after }
            }
            _ => Fate::Run,
        }
    }

    fn id(&mut self) -> Id {
        self.ids += 1;
        self.ids
    }

    /// Some time before the shutdown, as a rule.
    fn early(&mut self) -> u64 {
        match self.dice.below(10) {
            0 => self.moment(),
            1..=5 => 0,
            _ => self.dice.below(self.trigger_at + 1),
        }
    }

    /// Any time, and often the very time at which something else happens.
    fn moment(&mut self) -> u64 {
        match self.dice.below(10) {
            0..=3 => self.dice.below(self.trigger_at + 1),
            4..=6 => self.trigger_at + self.dice.below(self.length * 5 / 4 + 2),
            7 => self.trigger_at,
            _ => {
                let boundary = self.trigger_at + self.dice.of(&self.deadlines.clone());
                (boundary + self.dice.below(3)).saturating_sub(1)
            }
        }
    }

    /// How long something takes.
    fn span(&mut self) -> u64 {
        match self.dice.below(10) {
            0 => 0,
            1 => 1,
            2..=5 => self.dice.below(self.length / 5 + 2),
            6 | 7 => self.dice.below(self.length + 2),
            8 => self.trigger_at + self.dice.of(&self.deadlines.clone()),
            _ => self.dice.of(&self.deadlines.clone()),
        }
    }

    /// `depth`: how deep what is done may lead to other things that are done.
    fn act(&mut self, depth: u32) -> Act {
        match self.dice.below(100) {
            0..28 => self.hook(depth),
            28..31 => self.remove(),
            31..45 => self.task(depth),
            45..70 => self.guard(false),
            70..80 if !self.groups.is_empty() => self.connect(depth),
            70..88 => Act::Request(RequestSpec {
                id: self.id(),
                handler: self.span(),
                body: self.span(),
            }),
            88..91 => Act::NotReady {
                id: self.id(),
                hold: self.span(),
            },
            91..93 => Act::StaleRequest,
            93..95 => Act::CancelParent,
            95..97 => self.listen(),
            97 if self.clock == Clock::Real => Act::Hog(self.span()),
            _ => self.shutdown(),
        }
    }

    fn shutdown(&mut self) -> Act {
        let (id, why) = (self.id(), self.why());
        match self.clock {
            Clock::Real if self.dice.percent(30) => Act::ShutdownOutside(id, why),
            _ => Act::Shutdown(id, why),
        }
    }

    fn remove(&mut self) -> Act {
        let name = self.known_hook();
        self.removed.push(name.clone());
        Act::Remove(self.id(), name)
    }

    fn why(&mut self) -> Why {
        match self.dice.below(4) {
            0 => Why::Signal(Signal::Terminate),
            1 => Why::Signal(Signal::Interrupt),
            _ => Why::Requested(self.id()),
        }
    }

    fn listen(&mut self) -> Act {
        let id = self.id();
        self.groups.push(id);
        let closes_after = match self.dice.below(10) {
            0..=6 => Some(0),
            7 => None,
            _ => Some(self.span()),
        };
        Act::Listen { id, closes_after }
    }

    fn hook(&mut self, depth: u32) -> Act {
        let id = self.id();
        // Whoever registers a hook from a hook often means the phase that runs.
        let phase = match self.current {
            Some(phase) if self.dice.percent(50) => phase,
            _ => self.dice.of(Phase::ALL),
        };
        let same: Vec<_> = self.hooks.iter().filter(|hook| hook.1 == phase).collect();
        let mut after = Vec::new();
        if !same.is_empty() {
            for _ in 0..self.dice.of(&[0, 0, 1, 1, 2]) {
                let at = self.dice.below(same.len() as u64) as usize;
                after.push(same[at].0.clone());
            }
        }
        if self.dice.percent(4) {
            after.push(self.known_hook());
        }
        let name = match self.dice.below(100) {
            0..4 => self.known_hook(),
            4..24 if !self.removed.is_empty() => {
                let at = self.dice.below(self.removed.len() as u64) as usize;
                self.removed[at].clone()
            }
            _ => format!("h{id}"),
        };
        self.hooks.push((name.clone(), phase));
        let timeout = self.dice.percent(20).then(|| self.span());
        let blocking = self.clock == Clock::Real && self.dice.percent(25);
        let outer = self.current.replace(phase);
        let on_connection = std::mem::take(&mut self.on_connection);
        let mut script = self.script(depth, false);
        self.on_connection = on_connection;
        self.current = outer;
        if blocking {
            self.let_block(&mut script);
        }
        Act::Hook(Arc::new(HookSpec {
            id,
            name,
            phase,
            after,
            timeout,
            blocking,
            script,
        }))
    }

    /// What blocks waits for nobody, and comes to an end by itself: nobody else can end it.
    fn let_block(&mut self, script: &mut Script) {
        for step in &mut script.steps {
            if matches!(step, Step::Await(_) | Step::Forever) {
                *step = Step::Sleep(self.span());
            }
        }
    }

    fn known_hook(&mut self) -> String {
        if self.hooks.is_empty() {
            return "nobody".to_owned();
        }
        let at = self.dice.below(self.hooks.len() as u64) as usize;
        self.hooks[at].0.clone()
    }

    fn task(&mut self, depth: u32) -> Act {
        let id = self.id();
        let name = if !self.tasks.is_empty() && self.dice.percent(12) {
            let at = self.dice.below(self.tasks.len() as u64) as usize;
            self.tasks[at].clone()
        } else {
            format!("t{id}")
        };
        self.tasks.push(name.clone());
        let on_connection = std::mem::take(&mut self.on_connection);
        let mut script = self.script(depth, true);
        self.on_connection = on_connection;
        if self.dice.percent(60) {
            script.steps.insert(0, Step::Await(Awaited::Stop));
        }
        // A failure is a trigger, and would be the first one in most scenarios.
        if self.dice.percent(60) {
            script.end = End::Done;
            script.stillborn = false;
            script.bomb_behind = false;
        }
        Act::Task(Arc::new(TaskSpec { id, name, script }))
    }

    fn guard(&mut self, plain: bool) -> Act {
        let id = self.id();
        let kind = match self.dice.below(5) {
            0 | 1 => GuardKind::Plain,
            2 | 3 => GuardKind::Named,
            _ => GuardKind::Long,
        };
        let hold = self.hold();
        let mut clones = Vec::new();
        if !plain {
            for _ in 0..self.dice.of(&[0, 0, 0, 1, 2]) {
                clones.push((self.span(), self.id(), self.hold()));
            }
        }
        Act::Guard(Arc::new(GuardSpec {
            id,
            kind,
            hold,
            clones,
            bomb: !self.on_connection && self.dice.percent(5),
        }))
    }

    fn hold(&mut self) -> Hold {
        match self.dice.below(20) {
            0 => Hold::Forever,
            1..=4 => Hold::Owned,
            _ => Hold::For(self.span()),
        }
    }

    fn connect(&mut self, depth: u32) -> Act {
        let id = self.id();
        let group = self.dice.of(&self.groups.clone());
        let on_connection = std::mem::replace(&mut self.on_connection, true);
        let mut script = self.script(depth, false);
        self.on_connection = on_connection;
        script.stillborn = false;
        if self.dice.percent(60) {
            script.steps.push(Step::Await(Awaited::Moment));
        }
        if matches!(script.end, End::Panicked | End::Unprintable) {
            script.end = End::Done;
        }
        Act::Connect(Arc::new(ConnectionSpec { id, group, script }))
    }

    fn script(&mut self, depth: u32, task: bool) -> Script {
        let mut steps = Vec::new();
        for _ in 0..self.dice.of(&[0, 0, 1, 1, 1, 2, 3]) {
            let step = self.step(depth, task);
            steps.push(step);
        }
        let end = match self.dice.below(10) {
            0 if self.dice.percent(30) => End::Unprintable,
            0 => End::Failed,
            1 => End::Panicked,
            _ => End::Done,
        };
        Script {
            stillborn: self.dice.percent(2),
            steps,
            end,
            on_drop: (depth > 0 && self.dice.percent(10)).then(|| self.act(depth - 1)),
            bomb: !self.on_connection && self.dice.percent(15),
            bomb_behind: self.apart.percent(5),
        }
    }

    fn step(&mut self, depth: u32, task: bool) -> Step {
        match self.dice.below(100) {
            0..50 => Step::Sleep(self.span()),
            50..58 => Step::Yield,
            58..80 if depth > 0 => Step::Act(self.act(depth - 1)),
            80..84 => Step::Forever,
            84..88 => Step::Await(Awaited::Phase(self.dice.of(Phase::ALL))),
            88..91 => Step::Await(Awaited::Token(self.dice.of(Phase::ALL))),
            91..95 => Step::Await(Awaited::Moment),
            95..97 => Step::Await(Awaited::Report),
            _ if task => Step::Await(Awaited::Stop),
            _ => Step::Sleep(1),
        }
    }
}

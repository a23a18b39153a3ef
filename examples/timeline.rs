//! Draws what happens from `kubectl delete pod` to the end of the process, as a picture: docs/kubernetes.svg.
//!
//! ```console
//! $ cargo run --example timeline > docs/kubernetes.svg
//! ```
//!
//! The process's part is drawn from its [`Plan`]; what stands for the cluster is what docs/kubernetes.md says of it, with
//! sources. A plan of your own is another line in `main`.

use std::fmt::Write;
use std::time::Duration;

use lameduck::{Phase, Plan, PlanError};

fn main() -> Result<(), PlanError> {
    let plan = Plan::builder().build()?;

    print!("{}", draw(&plan));
    Ok(())
}

fn draw(plan: &Plan) -> String {
    let mut picture = Picture::new(plan.budget());

    picture.title(&format!(
        "From kubectl delete to the end of the process, with a grace period of {} s",
        plan.grace_period().as_secs()
    ));
    picture.axis();
    draw_cluster(&mut picture, plan);
    draw_senders(&mut picture, plan);
    draw_process(&mut picture, plan);
    picture.finish()
}

fn draw_cluster(picture: &mut Picture, plan: &Plan) {
    let end = plan.budget();

    picture.heading("The cluster");
    picture.row("API server, +0 s");
    picture.mark(Duration::ZERO, "the pod has a deletionTimestamp");
    picture.row("EndpointSlice, +6 ms");
    let conditions = "ready=false, terminating=true, serving=readiness";
    picture.bar(secs(0.006), end, "cluster", conditions);
    picture.row("kubelet, +5 ms");
    let grace_period = "SIGTERM, then the grace period: nobody is told how much is left of it";
    picture.bar(secs(0.005), end, "cluster", grace_period);
}

/// Who, until when surely, until when perhaps, and how that is said. The sources are in docs/kubernetes.md.
const SENDERS: [(&str, f64, f64, &str); 6] = [
    ("Service VIP, kube-proxy", 1.0, 2.0, "1 to 2 s, measured"),
    ("ingress-nginx", 1.0, 4.0, "1 to 4 s, worked out"),
    ("GKE NEG", 10.0, 10.0, "about 10 s, reported"),
    (
        "AWS ALB, IP targets",
        25.0,
        40.0,
        "25 to 40 s, reported: LameDuck has to be longer",
    ),
    (
        "headless Service, DNS",
        30.0,
        60.0,
        "30 to 60 s, worked out: the same",
    ),
    (
        "AWS NLB, IP targets",
        120.0,
        120.0,
        "about 2 minutes, reported: the same",
    ),
];

fn draw_senders(picture: &mut Picture, plan: &Plan) {
    let (lame_duck, close) = (plan.deadline(Phase::LameDuck), plan.deadline(Phase::Close));

    picture.heading("Who still sends new connections here");
    picture.guide(lame_duck, SENDERS.len() + 1, "end of LameDuck");
    for (who, surely, perhaps, text) in SENDERS {
        picture.row(who);
        picture.fading_bar(secs(surely), secs(perhaps));
        picture.text_after(
            if secs(perhaps) > lame_duck {
                lame_duck
            } else {
                secs(perhaps)
            },
            text,
        );
    }
    picture.row("eviction, node shutdown");
    picture.fading_bar(close, close);
    picture.text_after(lame_duck, "everybody: the endpoint stays ready");
}

fn draw_process(picture: &mut Picture, plan: &Plan) {
    let start = |phase| plan.deadline(phase).saturating_sub(plan.duration(phase));
    let (close, exit) = (plan.deadline(Phase::Close), plan.deadline(Phase::Exit));

    picture.heading("The process, with a hook of Release that needs all of its time");
    picture.row("phase");
    for &phase in Phase::ALL {
        picture.block(start(phase), plan.deadline(phase), phase);
    }
    picture.row("listener, readiness 200");
    picture.bar(Duration::ZERO, close, "open", "whatever comes is served");
    picture.row("liveness 200, admin port");
    picture.bar(Duration::ZERO, exit, "open", "to the end");
    picture.row("asked to close");
    let short = "short connections, each at its own moment";
    picture.bar(Duration::ZERO, plan.spread(), "told", short);
    picture.row("told to end");
    let long = start(plan.long_phase());
    let each = "long connections, each at its own moment";
    picture.bar(long, long + plan.long_spread(), "told", each);
    picture.row("what is left then");
    let release = plan.deadline(Phase::Release).as_secs();
    let cut = format!("is cut, and named in the report (without such a hook at {release} s)");
    picture.mark_before(close, &cut);
    picture.row("watchdog");
    picture.mark_before(plan.hard_deadline(), "ends the process, whatever holds it");
    picture.row("SIGKILL");
    picture.mark_before(plan.budget(), "finds nobody");
}

const fn secs(seconds: f64) -> Duration {
    Duration::from_micros((seconds * 1e6) as u64)
}

const WIDTH: f64 = 960.0;
/// Where T0 is, and the end of the grace period.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 900.0;
const ROW: f64 = 26.0;
const BAR: f64 = 18.0;
/// A letter's width, somewhat more than the usual.
const LETTER: f64 = 6.7;

struct Picture {
    title: String,
    shapes: String,
    /// Above all shapes.
    texts: String,
    /// The upper edge of the next row.
    y: f64,
    whole: Duration,
    /// Where the vertical lines of the axis begin.
    axis: f64,
}

impl Picture {
    fn new(whole: Duration) -> Self {
        Picture {
            title: String::new(),
            shapes: String::new(),
            texts: String::new(),
            y: 0.0,
            whole,
            axis: 0.0,
        }
    }

    fn x(&self, at: Duration) -> f64 {
        LEFT + (RIGHT - LEFT) * at.as_secs_f64() / self.whole.as_secs_f64()
    }

    fn title(&mut self, text: &str) {
        self.title = text.to_owned();
        self.text(20.0, 32.0, "title", text);
        self.y = 48.0;
    }

    fn axis(&mut self) {
        self.axis = self.y + 20.0;
        let mut at = Duration::ZERO;
        while at <= self.whole {
            let label = match at.as_secs() {
                0 => "T0".to_owned(),
                seconds => format!("{seconds} s"),
            };
            self.text(self.x(at), self.y + 14.0, "middle", &label);
            at += Duration::from_secs(5);
        }
        self.y += ROW;
    }

    fn heading(&mut self, text: &str) {
        self.y += 8.0;
        self.text(20.0, self.y + 17.0, "heading", text);
        self.y += ROW;
    }

    /// Begins a row; what is drawn next is in it.
    fn row(&mut self, label: &str) {
        self.text(20.0, self.y + 17.0, "label", label);
        self.y += ROW;
    }

    /// The upper edge of the bar in this row.
    fn bar_top(&self) -> f64 {
        self.y - ROW + 4.0
    }

    fn bar(&mut self, from: Duration, to: Duration, class: &str, text: &str) {
        let (x, width) = (self.x(from), self.x(to) - self.x(from));
        self.rect(x, width, class);
        self.text_at_bar(x, width, text);
    }

    /// Solid to `surely`, half of it to `perhaps`; an arrow where it goes on beyond the picture.
    fn fading_bar(&mut self, surely: Duration, perhaps: Duration) {
        let (x, edge) = (self.x(Duration::ZERO), self.x(self.whole) + 24.0);
        let (solid, faint) = (self.x(surely).min(edge), self.x(perhaps).min(edge));
        self.rect(x, solid - x, "late");
        if faint > solid {
            self.rect(solid, faint - solid, "late faint");
        }
        if perhaps > self.whole {
            let class = if surely > self.whole {
                "late"
            } else {
                "late faint"
            };
            let top = self.bar_top();
            let (tip, middle, bottom) = (edge + 10.0, top + BAR / 2.0, top + BAR);
            let _ = writeln!(
                self.shapes,
                r#"<path class="{class}" d="M{edge:.1} {top:.1}L{tip:.1} {middle:.1}L{edge:.1} {bottom:.1}Z"/>"#
            );
        }
    }

    fn block(&mut self, from: Duration, to: Duration, phase: Phase) {
        let (x, width) = (self.x(from), self.x(to) - self.x(from));
        self.rect(x, width, &format!("phase{}", phase as usize % 2));
        let (name, y) = (phase.name(), self.bar_top() + 13.0);
        // A phase that is too short for its name has none, but for the last, which has room behind it.
        if name.len() as f64 * LETTER < width {
            self.text(x + width / 2.0, y, "middle", name);
        } else if phase == Phase::Exit {
            self.text(x + width + 6.0, y, "", name);
        }
    }

    fn mark(&mut self, at: Duration, text: &str) {
        let x = self.x(at);
        self.diamond(x);
        self.text(x + 12.0, self.bar_top() + 13.0, "", text);
    }

    fn mark_before(&mut self, at: Duration, text: &str) {
        let x = self.x(at);
        self.diamond(x);
        self.text(x - 12.0, self.bar_top() + 13.0, "end", text);
    }

    /// A line through the next rows.
    fn guide(&mut self, at: Duration, rows: usize, text: &str) {
        let (x, top, bottom) = (self.x(at), self.y, self.y + ROW * rows as f64);
        let _ = writeln!(
            self.texts,
            r#"<path class="guide" d="M{x:.1} {top:.1}V{bottom:.1}"/>"#
        );
        self.text(x, top - 5.0, "middle guided", text);
    }

    fn text_after(&mut self, at: Duration, text: &str) {
        self.text(self.x(at) + 8.0, self.bar_top() + 13.0, "", text);
    }

    fn rect(&mut self, x: f64, width: f64, class: &str) {
        let top = self.bar_top();
        let _ = writeln!(
            self.shapes,
            r#"<rect class="{class}" x="{x:.1}" y="{top:.1}" width="{width:.1}" height="{BAR}"/>"#
        );
    }

    fn diamond(&mut self, x: f64) {
        let y = self.bar_top() + BAR / 2.0;
        let _ = writeln!(
            self.shapes,
            r#"<path class="mark" d="M{x:.1} {:.1}l6 6l-6 6l-6 -6Z"/>"#,
            y - 6.0
        );
    }

    /// Inside where there is room, to the right of it otherwise.
    fn text_at_bar(&mut self, x: f64, width: f64, text: &str) {
        let fits = text.len() as f64 * LETTER + 12.0 <= width;
        let x = if fits { x } else { x + width };
        self.text(x + 8.0, self.bar_top() + 13.0, "", text);
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let _ = writeln!(
            self.texts,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        );
    }

    fn finish(self) -> String {
        let height = self.y + 16.0;
        let mut lines = String::new();
        let mut at = Duration::ZERO;
        while at <= self.whole {
            let (x, top, bottom) = (self.x(at), self.axis, self.y + 4.0);
            let _ = writeln!(
                lines,
                r#"<path class="grid" d="M{x:.1} {top:.1}V{bottom:.1}"/>"#
            );
            at += Duration::from_secs(5);
        }
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">
<title>{}</title>
<desc>Made by cargo run --example timeline.</desc>
<style>{STYLE}</style>
<rect class="paper" x="0" y="0" width="{WIDTH}" height="{height}" rx="8"/>
{lines}{}{}</svg>
"#,
            self.title, self.shapes, self.texts
        )
    }
}

/// It brings its paper with it, so it can be read on any page.
const STYLE: &str = "
svg { --paper: #ffffff; --ink: #1f2328; --soft: #59636e; --grid: #e3e7eb; --cluster: #c9d8ea; --late: #f3c2a2;
  --phase0: #a9d5b0; --phase1: #cfe8c9; --open: #d6e6d8; --told: #e6d48c; --mark: #b3261e; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #14181d; --ink: #e6edf3; --soft: #9aa5b1; --grid: #2b323a; --cluster: #2c4564; --late: #7a4526;
    --phase0: #2f6b3d; --phase1: #234d30; --open: #26432d; --told: #6b5a17; --mark: #ff8a7f; }
}
text { font: 12px system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif; fill: var(--ink); }
.title { font-size: 16px; font-weight: 600; }
.heading { font-weight: 600; }
.label { fill: var(--soft); }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
.guided { fill: var(--mark); }
.paper { fill: var(--paper); }
.grid { stroke: var(--grid); }
.guide { stroke: var(--mark); stroke-dasharray: 4 3; fill: none; }
.mark { fill: var(--mark); }
.cluster { fill: var(--cluster); }
.late { fill: var(--late); }
.faint { opacity: 0.5; }
.phase0 { fill: var(--phase0); }
.phase1 { fill: var(--phase1); }
.open { fill: var(--open); }
.told { fill: var(--told); }
";

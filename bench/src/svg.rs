//! As much SVG as the plots need. Colours are named by what they mean, and follow the reader's light or dark setting.

use std::fmt::Write;

/// What a mark stands for; the style sheet gives it its colour.
#[derive(Clone, Copy)]
pub enum Ink {
    /// Cowboy, or the first of two.
    Cowboy,
    /// Outrider's VM, or Outrider as a whole.
    Outrider,
    /// Outrider beside the newest Cowboy.
    Newest,
    /// Outrider's sidecars.
    Sidecar,
    /// Axes and grid.
    Grid,
    /// A spread over a bar.
    Spread,
}

impl Ink {
    fn class(self) -> &'static str {
        match self {
            Ink::Cowboy => "cowboy",
            Ink::Outrider => "outrider",
            Ink::Newest => "newest",
            Ink::Sidecar => "sidecar",
            Ink::Grid => "grid",
            Ink::Spread => "spread",
        }
    }
}

/// Where a text stands, seen from its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    /// To the right of it.
    Start,
    /// Around it.
    Middle,
    /// To the left of it.
    End,
}

const STYLE: &str = "\
  text { font: 13px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 } .small { font-size: 11px; fill: #57606a }
  .page { fill: #ffffff } .cowboy { fill: #9aa4af; stroke: #9aa4af } .outrider { fill: #1f6feb; stroke: #1f6feb }
  .newest { fill: #8250df; stroke: #8250df } .sidecar { fill: #7cb7ff; stroke: #7cb7ff } .grid { stroke: #d8dee4; fill: #d8dee4 }
  .spread { stroke: #24292f; fill: #24292f } rect { stroke-width: 0 } polyline { stroke-width: 2.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .page { fill: #0d1117 } .cowboy { fill: #6e7681; stroke: #6e7681 }
    .outrider { fill: #388bfd; stroke: #388bfd } .newest { fill: #a371f7; stroke: #a371f7 } .sidecar { fill: #a5d6ff; stroke: #a5d6ff }
    .grid { stroke: #30363d; fill: #30363d } .spread { stroke: #e6edf3; fill: #e6edf3 }
  }";

/// A drawing.
pub struct Drawing {
    width: f64,
    height: f64,
    body: String,
}

impl Drawing {
    /// An empty page with a title.
    pub fn new(width: f64, height: f64, title: &str) -> Self {
        let mut drawing = Self { width, height, body: String::new() };
        drawing.push(format_args!(r#"<title>{}</title>"#, escaped(title)));
        drawing.push(format_args!(r#"<rect class="page" width="{width}" height="{height}" rx="6"/>"#));
        drawing.push(format_args!(r#"<text class="title" x="20" y="30">{}</text>"#, escaped(title)));
        drawing
    }

    /// A filled rectangle.
    pub fn bar(&mut self, ink: Ink, x: f64, y: f64, width: f64, height: f64) {
        let class = ink.class();
        self.push(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}"/>"#,
            width.max(0.0)
        ));
    }

    /// A straight line.
    pub fn line(&mut self, ink: Ink, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2), class) = (from, to, ink.class());
        self.push(format_args!(r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#));
    }

    /// A line through points, with a dot at each.
    pub fn curve(&mut self, ink: Ink, points: &[(f64, f64)]) {
        let class = ink.class();
        let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.push(format_args!(r#"<polyline class="{class}" style="fill: none" points="{}"/>"#, path.join(" ")));
        for (x, y) in points {
            self.push(format_args!(r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="4"/>"#));
        }
    }

    /// A text in the ordinary size.
    pub fn text(&mut self, anchor: Anchor, x: f64, y: f64, text: &str) {
        self.write_text("", anchor, x, y, text);
    }

    /// A text in the small size.
    pub fn note(&mut self, anchor: Anchor, x: f64, y: f64, text: &str) {
        self.write_text("small", anchor, x, y, text);
    }

    /// The drawing as a file.
    pub fn finish(self) -> String {
        let Self { width, height, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\">\n<style>\n{STYLE}\n</style>\n{body}</svg>\n"
        )
    }

    fn write_text(&mut self, class: &str, anchor: Anchor, x: f64, y: f64, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.push(format_args!(r#"<text class="{class}" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{text}</text>"#));
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.body, "{element}").expect("writing to a string");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

//! The paper that a plot is drawn on, from the top to the bottom.

use std::fmt::Write as _;

pub const WIDTH: f64 = 720.0;
pub const MARGIN: f64 = 10.0;
/// What the text behind the longest bar needs.
pub const RIGHT: f64 = 60.0;
/// The colour of lines and texts.
pub const PLAIN: &str = "#333";
/// No line crosses a text.
const STYLE: &str = "<style>text { paint-order: stroke; stroke: white; stroke-width: 3px }</style>";
/// About how wide a letter is.
const LETTER: f64 = 6.2;
/// From the middle of a line of text to the line that it stands on.
const BASE: f64 = 4.0;

/// What was drawn so far.
pub struct Sheet {
    shapes: String,
    /// Where bars begin.
    pub left: f64,
    /// The middle of the line that is drawn next.
    pub y: f64,
}

impl Sheet {
    /// One with room for names of so many letters.
    pub fn new(letters: usize) -> Self {
        Self { shapes: String::new(), left: MARGIN + 6.0 + letters as f64 * LETTER, y: 20.0 }
    }

    /// A line of its own, which stands out.
    pub fn heading(&mut self, words: &str) {
        let (y, words) = (self.y + BASE, escaped(words));
        self.put(&format!(
            r#"<text x="{MARGIN}" y="{y:.1}" fill="{PLAIN}" font-weight="bold">{words}</text>"#
        ));
        self.y += 20.0;
    }

    /// A text that begins or ends at `x`, as `anchor` says.
    pub fn text(&mut self, x: f64, anchor: &str, words: &str) {
        let (y, words) = (self.y + BASE, escaped(words));
        self.put(&format!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{PLAIN}">{words}</text>"#
        ));
    }

    /// A bar along the line.
    pub fn bar(&mut self, from: f64, to: f64, thick: f64, colour: &str) {
        let (y, long) = (self.y - thick / 2.0, to - from);
        self.put(&format!(
            r#"<rect x="{from:.1}" y="{y:.1}" width="{long:.1}" height="{thick}" fill="{colour}"/>"#
        ));
    }

    /// A mark of a scale: a line downwards, and what it stands for below it.
    pub fn tick(&mut self, x: f64, long: f64, label: &str) {
        let top = self.y - BASE;
        self.put(&format!(r##"<path d="M{x:.1} {top:.1}v{long:.1}" stroke="#8884"/>"##));
        let y = top + long + 14.0;
        self.put(&format!(
            r##"<text x="{x:.1}" y="{y:.1}" text-anchor="middle" fill="#777">{label}</text>"##
        ));
    }

    /// All of it, as SVG.
    pub fn finish(self) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {:.0}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n{STYLE}\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
            self.y - MARGIN,
            self.shapes
        )
    }

    fn put(&mut self, shape: &str) {
        // A string has room for everything.
        let _ = writeln!(self.shapes, "{shape}");
    }
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

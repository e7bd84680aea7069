//! An SVG drawing, line by line. Looks are classes, so that one style sheet serves light pages, dark pages and print.

use std::fmt::Write;

use crate::html::escape;

/// Colours that stay apart for the colour-blind (Okabe and Ito), for light and for dark grounds, and all else that looks.
/// Plain rules without variables: programs that put SVG on paper know no more.
const STYLE: &str = include_str!("plot.css");

/// Where text is anchored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture: SVG that can stand alone or within a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    title: String,
    width: f64,
    height: f64,
    body: String,
}

impl Picture {
    /// As a file of its own, with its own ground.
    pub fn file(&self) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\">\n<title>{title}</title>\n\
             <style>\n{STYLE}</style>\n\
             <rect class=\"ground\" width=\"{width:.0}\" height=\"{height:.0}\"/>\n{body}</svg>\n",
            width = self.width,
            height = self.height,
            title = escape(&self.title),
            body = self.body,
        )
    }

    /// As part of a page that has [`Picture::style`].
    pub fn inline(&self) -> String {
        let (width, height) = (self.width, self.height);
        let title = escape(&self.title);
        format!(
            "<svg class=\"plot\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{title}\">\n{}</svg>\n",
            self.body
        )
    }

    /// The style sheet of all pictures.
    pub const fn style() -> &'static str {
        STYLE
    }

    /// Pictures one below the other.
    pub fn stacked(title: &str, pictures: &[Picture]) -> Picture {
        let mut all = Picture { title: title.to_owned(), width: 0.0, height: 0.0, body: String::new() };
        for picture in pictures {
            let _ = write!(all.body, "<g transform=\"translate(0 {:.0})\">\n{}</g>\n", all.height, picture.body);
            all.width = all.width.max(picture.width);
            all.height += picture.height;
        }
        all
    }
}

/// What a picture is drawn on. Lengths are px.
#[derive(Debug, Default)]
pub(crate) struct Canvas {
    body: String,
}

impl Canvas {
    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    /// A line through points; `hint` shows where the pointer rests on it.
    pub(crate) fn path(&mut self, points: &[(f64, f64)], class: &str, hint: &str) {
        let mut way = String::new();
        for (i, (x, y)) in points.iter().enumerate() {
            let _ = write!(way, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
        }
        let _ = writeln!(self.body, "<path class=\"{class}\" d=\"{way}\">{}</path>", hint_of(hint));
    }

    pub(crate) fn circle(&mut self, (x, y): (f64, f64), radius: f64, class: &str, hint: &str) {
        let _ = writeln!(
            self.body,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\">{}</circle>",
            hint_of(hint)
        );
    }

    pub(crate) fn diamond(&mut self, (x, y): (f64, f64), radius: f64, class: &str, hint: &str) {
        let _ = writeln!(
            self.body,
            "<path class=\"{class}\" d=\"M{:.1} {y:.1}L{x:.1} {:.1}L{:.1} {y:.1}L{x:.1} {:.1}Z\">{}</path>",
            x - radius,
            y - radius,
            x + radius,
            y + radius,
            hint_of(hint)
        );
    }

    pub(crate) fn bar(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str, hint: &str) {
        let _ = writeln!(
            self.body,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\">{}</rect>",
            hint_of(hint)
        );
    }

    pub(crate) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escape(text)
        );
    }

    /// Text that reads upwards, around `(x, y)`.
    pub(crate) fn upright(&mut self, (x, y): (f64, f64), class: &str, text: &str) {
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" transform=\"translate({x:.1} {y:.1}) rotate(-90)\" \
             text-anchor=\"middle\">{}</text>",
            escape(text)
        );
    }

    pub(crate) fn picture(self, title: &str, width: f64, height: f64) -> Picture {
        Picture { title: title.to_owned(), width, height, body: self.body }
    }
}

fn hint_of(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("<title>{}</title>", escape(hint)) }
}

/// About how wide text of 12 px is, px: which font the reader has is not known.
pub(crate) fn text_width(text: &str) -> f64 {
    let width = |character: char| match character {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 3.6,
        'f' | 't' | 'r' | '(' | ')' | '-' | '/' => 4.8,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 10.4,
        'A'..='Z' | '…' => 8.4,
        _ => 7.0,
    };
    text.chars().map(width).sum()
}

//! A chart of lines and marks over two axes.

use super::axis::Axis;
use super::label;
use super::svg::{Anchor, Canvas, Picture, text_width};

const WIDTH: f64 = 640.0;
const PLOT_HEIGHT: f64 = 300.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 20.0;
const LEGEND_ROW: f64 = 18.0;

/// Colours of the style sheet.
const COLOURS: usize = 7;

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    /// In the legend; empty for none.
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) look: Look,
}

/// How a line or mark looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// One of our own, by number.
    Own(usize),
    /// Of a publication.
    Published,
}

/// Published values as diamonds; a range of values as a bar.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Marks {
    pub(crate) name: String,
    /// x, least y, greatest y, hint.
    pub(crate) points: Vec<(f64, f64, f64, String)>,
    pub(crate) look: Look,
}

/// A labelled point.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spot {
    pub(crate) at: (f64, f64),
    pub(crate) label: String,
    pub(crate) hint: String,
    /// Number of its colour.
    pub(crate) colour: usize,
}

/// The chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
    pub(crate) marks: Vec<Marks>,
    pub(crate) spots: Vec<Spot>,
    /// Values of x worth a vertical line, with a name.
    pub(crate) x_guides: Vec<(f64, &'static str)>,
    /// The same of y: a horizontal line, with its name in the legend.
    pub(crate) y_guides: Vec<(f64, &'static str)>,
}

impl Look {
    fn line(self) -> String {
        match self {
            Look::Own(number) => match number / COLOURS {
                0 => format!("curve s{}", number % COLOURS),
                round => format!("curve s{} dash{}", number % COLOURS, (round - 1) % 2 + 1),
            },
            Look::Published => "published".to_owned(),
        }
    }

    fn mark(self) -> String {
        match self {
            Look::Own(number) => format!("mark s{}", number % COLOURS),
            Look::Published => "mark".to_owned(),
        }
    }

    fn span(self) -> String {
        match self {
            Look::Own(number) => format!("span s{}", number % COLOURS),
            Look::Published => "span".to_owned(),
        }
    }
}

impl Chart {
    /// A chart without anything in it.
    pub(crate) fn new(title: &str, x: Axis, y: Axis) -> Self {
        Self {
            title: title.to_owned(),
            x,
            y,
            lines: Vec::new(),
            marks: Vec::new(),
            spots: Vec::new(),
            x_guides: Vec::new(),
            y_guides: Vec::new(),
        }
    }

    /// Adds a distribution's steps `(value, percent)`, from the left end of the x axis to its right end.
    pub(crate) fn add_steps(&mut self, name: &str, steps: &[(f64, f64)], look: Look) {
        let before = steps.iter().take_while(|(x, _)| *x <= self.x.from).last().map_or(0.0, |(_, y)| *y);
        let mut points = vec![(self.x.from, before)];
        let mut last = before;
        for (x, y) in steps.iter().copied().filter(|(x, _)| (self.x.from..=self.x.to).contains(x)) {
            points.push((x, last));
            points.push((x, y));
            last = y;
        }
        points.push((self.x.to, last));
        self.lines.push(Line { name: name.to_owned(), points, look });
    }

    /// Adds the curve of a function over the x axis.
    pub(crate) fn add_curve(&mut self, name: &str, curve: impl Fn(f64) -> f64, look: Look) {
        let points = (0..=120).map(|i| self.x.value(f64::from(i) / 120.0)).map(|x| (x, curve(x))).collect();
        self.lines.push(Line { name: name.to_owned(), points, look });
    }

    /// Draws it.
    pub(crate) fn picture(&self) -> Picture {
        let mut canvas = Canvas::default();
        canvas.text((LEFT, 22.0), Anchor::Start, "title", &self.title);
        let top = self.legend(&mut canvas, 34.0) + if self.x_guides.is_empty() { 8.0 } else { 20.0 };
        let frame = Frame { chart: self, top };
        frame.ground(&mut canvas);
        for line in &self.lines {
            let points: Vec<_> = line.points.iter().map(|point| frame.at(*point)).collect();
            canvas.path(&points, &line.look.line(), &line.name);
        }
        for marks in &self.marks {
            for (x, least, greatest, hint) in &marks.points {
                let (low, high) = (frame.at((*x, *least)), frame.at((*x, *greatest)));
                if low.1 - high.1 > 1.0 {
                    canvas.line(low, high, &marks.look.span());
                    for end in [low, high] {
                        canvas.line((end.0 - 5.0, end.1), (end.0 + 5.0, end.1), &marks.look.span());
                    }
                }
                canvas.diamond((low.0, (low.1 + high.1) / 2.0), 4.5, &marks.look.mark(), hint);
            }
        }
        self.draw_spots(&mut canvas, &frame);
        canvas.picture(&self.title, WIDTH, top + PLOT_HEIGHT + 46.0)
    }

    /// The legend above the plot, where it covers nothing; returns where it ends.
    fn legend(&self, canvas: &mut Canvas, top: f64) -> f64 {
        let lines = self.lines.iter().map(|line| (line.name.as_str(), line.look.line(), false));
        let marks = self.marks.iter().map(|marks| (marks.name.as_str(), marks.look.mark(), true));
        let guides = self.y_guides.iter().map(|(_, name)| (*name, "guide".to_owned(), false));
        let (mut x, mut y) = (LEFT, top);
        let mut is_empty = true;
        for (name, class, is_mark) in lines.chain(marks).chain(guides).filter(|(name, ..)| !name.is_empty()) {
            let name = shortened(name, WIDTH - LEFT - RIGHT - 40.0);
            let width = 30.0 + text_width(&name) + 14.0;
            if x > LEFT && x + width > WIDTH - RIGHT {
                (x, y) = (LEFT, y + LEGEND_ROW);
            }
            let middle = y + LEGEND_ROW / 2.0;
            if is_mark {
                canvas.diamond((x + 12.0, middle), 4.5, &class, "");
            } else {
                canvas.line((x, middle), (x + 24.0, middle), &class);
            }
            canvas.text((x + 30.0, middle + 4.0), Anchor::Start, "", &name);
            x += width;
            is_empty = false;
        }
        if is_empty { top - 6.0 } else { y + LEGEND_ROW }
    }

    fn draw_spots(&self, canvas: &mut Canvas, frame: &Frame<'_>) {
        let points: Vec<_> = self.spots.iter().map(|spot| frame.at(spot.at)).collect();
        let names: Vec<_> = self.spots.iter().map(|spot| shortened(&spot.label, 220.0)).collect();
        let room =
            label::Room { left: LEFT + 2.0, top: frame.top, right: WIDTH - 2.0, bottom: frame.top + PLOT_HEIGHT };
        let lines: Vec<Vec<(f64, f64)>> =
            self.lines.iter().map(|line| line.points.iter().map(|point| frame.at(*point)).collect()).collect();
        let places = label::place(&points, &names, &lines, room);
        for (place, point) in places.iter().zip(&points) {
            if let Some(end) = place.leader {
                canvas.line(*point, end, "leader");
            }
        }
        for ((spot, point), (place, name)) in self.spots.iter().zip(&points).zip(places.iter().zip(&names)) {
            canvas.circle(*point, 5.0, &format!("dot f{}", spot.colour % COLOURS), &spot.hint);
            canvas.text(place.at, place.anchor, "halo", name);
            canvas.text(place.at, place.anchor, "", name);
        }
    }
}

/// Where values lie on the drawing.
struct Frame<'a> {
    chart: &'a Chart,
    top: f64,
}

impl Frame<'_> {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let across = self.chart.x.place(x) * (WIDTH - LEFT - RIGHT);
        (LEFT + across, self.top + PLOT_HEIGHT * (1.0 - self.chart.y.place(y)))
    }

    /// Axes, grid and guides.
    fn ground(&self, canvas: &mut Canvas) {
        let (right, bottom) = (WIDTH - RIGHT, self.top + PLOT_HEIGHT);
        for (value, label) in &self.chart.y.ticks {
            let y = self.at((self.chart.x.from, *value)).1;
            canvas.line((LEFT, y), (right, y), "grid");
            canvas.text((LEFT - 8.0, y + 4.0), Anchor::End, "tick", label);
        }
        for (value, label) in &self.chart.x.ticks {
            let x = self.at((*value, self.chart.y.from)).0;
            canvas.line((x, self.top), (x, bottom), "grid");
            canvas.text((x, bottom + 17.0), Anchor::Middle, "tick", label);
        }
        canvas.line((LEFT, bottom), (right, bottom), "axis");
        canvas.line((LEFT, self.top), (LEFT, bottom), "axis");
        for (value, label) in &self.chart.x_guides {
            let x = self.at((*value, self.chart.y.from)).0;
            canvas.line((x, self.top), (x, bottom), "guide");
            canvas.text((x, self.top - 5.0), Anchor::Middle, "soft", label);
        }
        for (value, _) in &self.chart.y_guides {
            let y = self.at((self.chart.x.from, *value)).1;
            canvas.line((LEFT, y), (right, y), "guide");
        }
        canvas.text((LEFT + (right - LEFT) / 2.0, bottom + 37.0), Anchor::Middle, "soft", &self.chart.x.title);
        canvas.upright((14.0, self.top + PLOT_HEIGHT / 2.0), "soft", &self.chart.y.title);
    }
}

/// As much of a name as has room.
pub(crate) fn shortened(name: &str, room: f64) -> String {
    if text_width(name) <= room {
        return name.to_owned();
    }
    let mut kept = String::new();
    for character in name.chars() {
        if text_width(&kept) + text_width("m…") > room {
            break;
        }
        kept.push(character);
    }
    kept + "…"
}

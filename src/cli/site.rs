//! What the pages of the subcommands show.

use crate::agent::{Node, Totals};
use crate::pipeline::Handle;
use crate::server::Table;

/// A whole number with thousands separated.
pub(super) fn thousands(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0.0 { format!("-{text}") } else { text }
}

pub(super) fn pipeline_table(handle: &Handle) -> Table {
    let counts = handle.counts();
    Table {
        title: "Pilotlight: pipeline".to_owned(),
        note: "Counts since the start.".to_owned(),
        header: ["events", "skipped", "dead letters", "apps", "decisions"].map(str::to_owned).into(),
        rows: vec![
            [counts.events, counts.skipped, counts.dead_letters, counts.apps, counts.decisions]
                .map(|count| thousands(count as f64))
                .into(),
        ],
    }
}

/// The columns of [`totals_row`].
pub(super) fn totals_header() -> Vec<String> {
    ["", "invocations", "cold", "prewarmed", "warm", "idle memory, MB·s"].map(str::to_owned).into()
}

pub(super) fn totals_row(name: &str, totals: &Totals) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    row.extend([totals.invocations, totals.cold, totals.prewarmed, totals.warm].map(|count| thousands(count as f64)));
    row.push(thousands(totals.idle_mb_s));
    row
}

pub(super) fn agent_table(node: &Node) -> Table {
    Table {
        title: "Pilotlight: agent".to_owned(),
        note: "Counts since the start; idle memory includes the pools.".to_owned(),
        header: totals_header(),
        rows: vec![totals_row("this node", &node.totals())],
    }
}

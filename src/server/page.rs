//! A table, for terminals and for the plain page.

use crate::html::escape;

/// Rows under a header; the first column names the row.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// What is shown.
    pub title: String,
    /// A sentence under the title.
    pub note: String,
    /// Names of the columns.
    pub header: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// For a terminal.
    pub fn text(&self) -> String {
        use comfy_table::{CellAlignment, ContentArrangement, presets};
        let mut table = comfy_table::Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(&self.header).add_rows(&self.rows);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}

/// The page at `/`: reloads itself, needs no script.
pub fn render(table: &Table) -> String {
    let cells = |tag: &str, row: &[String]| -> String {
        row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect()
    };
    let rows: String = table.rows.iter().map(|row| format!("<tr>{}</tr>\n", cells("td", row))).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta http-equiv=\"refresh\" content=\"2\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Pilotlight</title>\n<style>\n\
         :root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }}\n\
         body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}\n\
         table {{ border-collapse: collapse; width: 100% }}\n\
         th, td {{ padding: .4rem .8rem; text-align: right; border-bottom: 1px solid #8884 }}\n\
         th:first-child, td:first-child {{ text-align: left }}\n\
         td {{ font-variant-numeric: tabular-nums }}\n</style>\n\
         <h1>{}</h1>\n<p>{}</p>\n<table>\n<tr>{}</tr>\n{rows}</table>\n\
         <p><a href=\"/metrics\">metrics</a> · <a href=\"/readyz\">readiness</a></p>\n</html>\n",
        escape(&table.title),
        escape(&table.note),
        cells("th", &table.header),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_markup() {
        let table = Table { rows: vec![vec!["<script>".to_owned()]], ..Table::default() };
        assert!(render(&table).contains("<td>&lt;script&gt;</td>"));
    }
}

//! One row a figure, one table a run.

/// A figure beside what it is compared with and what it should be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    what: String,
    ours: String,
    reference: String,
    ratio: String,
    target: String,
    verdict: &'static str,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, ours: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ours: ours.into(),
            ..Self::default()
        }
    }

    /// Beside the reference's figure of the same run, and their ratio in percent.
    pub(crate) fn beside(mut self, reference: impl Into<String>, percent: impl Into<String>) -> Self {
        self.reference = reference.into();
        self.ratio = percent.into();
        self
    }

    /// What it should be, and whether it is.
    pub(crate) fn target(mut self, target: impl Into<String>, met: bool) -> Self {
        self.target = target.into();
        self.verdict = if met { "ok" } else { "missed" };
        self
    }

    /// On one line, without the columns that are empty.
    pub(crate) fn as_line(&self) -> String {
        let cells = self.cells().into_iter().map(str::trim);
        cells
            .filter(|cell| !cell.is_empty())
            .collect::<Vec<_>>()
            .join(" | ")
    }

    fn cells(&self) -> [&str; 6] {
        [
            &self.what,
            &self.ours,
            &self.reference,
            &self.ratio,
            &self.target,
            self.verdict,
        ]
    }
}

const HEAD: [&str; 6] = ["what", "ours", "reference", "ratio", "target", ""];

/// As a table of Markdown, its columns in line: readable on a terminal, and fit to be pasted.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut lines: Vec<[&str; 6]> = vec![HEAD];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or_default().max(3)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |cells: &[&str; 6]| {
        let padded = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let dashes = widths.map(|width| "-".repeat(width));
    let mut table = line(&HEAD);
    table += &line(&dashes.each_ref().map(String::as_str));
    table.extend(lines[1..].iter().map(line));
    table
}

/// For programs: every cell as it is in the table.
pub(crate) fn as_json(rows: &[Row], machine: &str) -> serde_json::Result<String> {
    let rows = rows.iter().map(|row| {
        let [what, ours, reference, ratio, target, verdict] = row.cells().map(str::trim);
        serde_json::json!({
            "what": what, "ours": ours, "reference": reference, "ratio": ratio, "target": target, "verdict": verdict,
        })
    });
    let rows: Vec<_> = rows.collect();
    serde_json::to_string_pretty(&serde_json::json!({ "machine": machine, "rows": rows }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_in_line_and_a_row_says_whether_it_is_met() {
        let rows = [
            Row::new("a", "1"),
            Row::new("longer", "22")
                .beside("33", "67 %")
                .target(">= 80 %", false),
        ];
        let table = render(&rows);
        let lengths: Vec<_> = table.lines().map(str::len).collect();
        assert!(lengths.windows(2).all(|pair| pair[0] == pair[1]), "{table}");
        assert!(
            table.lines().last().unwrap().ends_with("| >= 80 % | missed |"),
            "{table}"
        );
    }
}

//! Principals as they stand in leases, taken apart for people and programs: `postgres["db","5432"] postgres["db2","5432"]`.

use serde_json::Value;

use crate::view::TargetView;

/// Principals as people say them, each account and each target once: `app at localhost:5432`.
pub(crate) fn words(principals: &[String]) -> String {
    let (mut targets, mut accounts) = (Vec::new(), Vec::new());
    for (name, values) in principals.iter().flat_map(|one| named(one)) {
        let values: Vec<String> = values
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        let (list, text) = match (name.is_empty(), values.is_empty()) {
            (true, _) => (&mut accounts, values.join("/")),
            (false, true) => (&mut targets, name),
            (false, false) => (&mut targets, values.join(":")),
        };
        if !list.contains(&text) {
            list.push(text);
        }
    }
    [accounts.join(" and "), targets.join(" and ")]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" at ")
}

/// Each target by its plugin and its values.
pub(crate) fn targets(canonical: &str) -> Vec<TargetView> {
    named(canonical)
        .map(|(plugin, values)| TargetView { plugin, values })
        .collect()
}

/// Each account by its values.
pub(crate) fn accounts(canonical: &str) -> Vec<Vec<Value>> {
    named(canonical).map(|(_, values)| values).collect()
}

/// Each name with its values. Accounts have no name: `["app_a"] ["app_b"]`. A text of another form is a name without values.
fn named(canonical: &str) -> impl Iterator<Item = (String, Vec<Value>)> {
    parts(canonical)
        .unwrap_or_else(|| vec![(canonical.to_owned(), Vec::new())])
        .into_iter()
}

fn parts(canonical: &str) -> Option<Vec<(String, Vec<Value>)>> {
    let mut parts = Vec::new();
    let mut rest = canonical;
    while let Some(at) = rest.find('[') {
        let mut values = serde_json::Deserializer::from_str(&rest[at..]).into_iter::<Vec<Value>>();
        let found = values.next()?.ok()?;
        let end = at + values.byte_offset();
        parts.push((rest[..at].trim().to_owned(), found));
        rest = &rest[end..];
    }
    (!parts.is_empty()).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_taken_apart_into_names_and_values() {
        let of = |text: &str| named(text).collect::<Vec<_>>();
        let text = |values: &[&str]| values.iter().copied().map(Value::from).collect::<Vec<_>>();
        assert_eq!(
            of(r#"redis["a","6379"] redis["b","6379"]"#),
            [
                ("redis".to_owned(), text(&["a", "6379"])),
                ("redis".to_owned(), text(&["b", "6379"]))
            ]
        );
        assert_eq!(
            of(r#"["app_a"] ["with [brackets]"]"#),
            [
                (String::new(), text(&["app_a"])),
                (String::new(), text(&["with [brackets]"]))
            ]
        );
        let lines = [
            r#"pg["a","1"] ["x"]"#,
            r#"pg["a","1"] ["y"]"#,
            r#"pg["b",2] ["x"]"#,
        ];
        assert_eq!(words(&lines.map(str::to_owned)), "x and y at a:1 and b:2");
        for other in ["something else", "broken[\""] {
            assert_eq!(of(other), [(other.to_owned(), Vec::new())]);
        }
    }
}

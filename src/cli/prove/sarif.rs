//! Findings as SARIF 2.1.0 (OASIS), for code scanning.

use std::path::Path;

use serde_json::{Value, json};

use super::finding::{CHECKS, Finding, Findings, Severity};

/// The schema of the version that is written.
const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json";

/// One run with every check as a rule. A finding without a place in the policy is placed at its directory.
pub(super) fn sarif(found: &Findings, directory: &Path) -> Value {
    let rules: Vec<Value> = CHECKS
        .iter()
        .map(|check| {
            json!({
                "id": check.id,
                "shortDescription": { "text": check.title },
                "fullDescription": { "text": check.why },
                "defaultConfiguration": { "level": "error" },
            })
        })
        .collect();
    let results: Vec<Value> = found.list.iter().map(|finding| result(finding, directory)).collect();
    let notifications: Vec<Value> = found
        .not_run
        .iter()
        .map(|missing| {
            let text = format!("not run: {}: {}; {}", missing.scope, missing.why, missing.how);
            json!({ "level": "note", "message": { "text": text }, "associatedRule": { "id": missing.check.id } })
        })
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "pgwicket prove",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            } },
            "invocations": [{ "executionSuccessful": true, "toolExecutionNotifications": notifications }],
            "results": results,
        }],
    })
}

fn result(finding: &Finding, directory: &Path) -> Value {
    let rule = CHECKS.iter().position(|check| check.id == finding.check.id);
    let file = |name: &str| directory.join(name).display().to_string().replace('\\', "/");
    let location = match finding.place.as_ref().filter(|place| place.line > 0) {
        Some(place) => json!({ "physicalLocation": {
            "artifactLocation": { "uri": uri(&file(&place.file)) },
            "region": { "startLine": place.line, "startColumn": place.column.max(1) },
        } }),
        None => json!({ "physicalLocation": { "artifactLocation": { "uri": uri(&directory.display().to_string()) } } }),
    };
    let level = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    json!({
        "ruleId": finding.check.id,
        "ruleIndex": rule,
        "level": level,
        "message": { "text": format!("{}: {}. Fix: {}", finding.subject, finding.what, finding.fix) },
        "locations": [location],
    })
}

/// A path as a URI reference (RFC 3986): what is not unreserved is escaped.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::finding::ROWS, *};
    use crate::policy::Place;

    #[test]
    fn what_the_schema_requires_is_there() {
        let place = Place { file: "my policy.yaml".into(), line: 7, column: 5 };
        let finding = |place| Finding {
            check: &ROWS,
            severity: Severity::Warning,
            subject: "agent a".to_owned(),
            what: "rows".to_owned(),
            fix: "nothing".to_owned(),
            place,
        };
        let mut found = Findings::default();
        found.fail("agent a", finding(Some(place)));
        found.fail("agent a", Finding { what: "others".to_owned(), ..finding(None) });
        let sarif = sarif(&found, Path::new("/etc/pgwicket"));
        assert_eq!(sarif["version"], "2.1.0");
        let run = &sarif["runs"][0];
        assert!(run["tool"]["driver"]["name"].is_string());
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), 2);
        for result in results {
            assert!(result["message"]["text"].is_string());
            let rule = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(run["tool"]["driver"]["rules"][rule]["id"], result["ruleId"]);
        }
        let first = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(first["artifactLocation"]["uri"], "/etc/pgwicket/my%20policy.yaml");
        assert_eq!(first["region"]["startLine"], 7);
    }
}

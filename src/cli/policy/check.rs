//! `pgwicket policy check`: everything that is wrong, offline or against the real sources.

use std::{collections::BTreeMap, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{Location, json_problems, lines, print_json, put, table};
use crate::{
    app::{self, LoadedPolicy},
    config::{self, Process},
    policy::{self, ExposedRelation, Inputs, PolicySet, Problem, Severity, Source, TenantRule},
    source::{self, SourceAddress},
    sql::catalog::CatalogSnapshot,
    types::SourceName,
};

/// Without --live it needs no database: columns are checked against saved catalogs where there are some.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    location: Location,
    /// Connect to the sources: read their catalogs, check their credentials
    #[arg(long, conflicts_with = "catalog")]
    live: bool,
    /// With --live: save the catalogs as `.catalog/<source>.json` beside the policy
    #[arg(long, requires = "live")]
    save_catalog: bool,
}

/// How a source was looked at.
struct SourceReport {
    name: String,
    /// What its columns were held against.
    against: String,
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// What looking at the sources gave.
#[derive(Default)]
struct Findings {
    catalogs: BTreeMap<SourceName, Arc<CatalogSnapshot>>,
    reports: Vec<SourceReport>,
    problems: Vec<Problem>,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let loaded = self.location.load()?;
        let Findings { catalogs, reports, problems: live } = if self.live { self.live(&loaded)? } else { self.saved(&loaded)? };
        let (set, mut problems) = policy::check(&loaded.bundle, Inputs { resolved: &loaded.resolved, catalogs: &catalogs });
        // What is only a warning offline is an error when the source should be reached.
        problems.retain(|problem| {
            !live.iter().any(|other| (&other.file, other.line, other.column) == (&problem.file, problem.line, problem.column))
        });
        problems.extend(live);
        let fine = policy::clean(&problems) && reports.iter().all(|report| report.errors.is_empty());
        if self.location.json {
            let sources: Vec<_> = reports
                .iter()
                .map(|report| json!({ "name": report.name, "against": report.against, "errors": report.errors, "warnings": report.warnings }))
                .collect();
            print_json(
                &json!({ "ok": fine, "problems": json_problems(&problems), "sources": sources, "digest": set.map(|set| set.digest.to_string()) }),
            )?;
        } else {
            crate::cli::print(&as_text(&problems, &reports, set.as_ref(), fine));
        }
        Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn saved(&self, loaded: &LoadedPolicy) -> anyhow::Result<Findings> {
        let catalogs = app::saved_catalogs(&Process, loaded, self.location.catalog.as_deref())?;
        let report = |name: &str| {
            let known = catalogs.keys().any(|known| known.as_str() == name);
            let path = self.location.catalog.clone().unwrap_or_else(|| app::catalog_path(&loaded.directory, name));
            let against = if known { format!("saved catalog {}", path.display()) } else { "structure only: no saved catalog".to_owned() };
            SourceReport { name: name.to_owned(), against, errors: Vec::new(), warnings: Vec::new() }
        };
        let reports = loaded.bundle.source_names().into_iter().map(report).collect();
        Ok(Findings { catalogs, reports, problems: Vec::new() })
    }

    /// Introspects every source that can be reached; what cannot is an error of that source.
    fn live(&self, loaded: &LoadedPolicy) -> anyhow::Result<Findings> {
        let sources = match policy::sources(&loaded.bundle, &loaded.resolved) {
            Ok(sources) => sources,
            Err(errors) => return Ok(Findings { reports: not_reached(loaded), problems: errors.0, ..Findings::default() }),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
        let mut catalogs = BTreeMap::new();
        let mut reports = Vec::new();
        for source in &sources {
            let (report, catalog) = tokio::task::LocalSet::new().block_on(&runtime, look_at(source));
            reports.push(report);
            let Some(catalog) = catalog else { continue };
            if self.save_catalog {
                let path = app::catalog_path(&loaded.directory, source.name.as_str());
                let text = app::saved_form(&catalog).context("cannot write the catalog as JSON")?;
                config::save(&Process, &path, &text)?;
            }
            catalogs.insert(source.name.clone(), Arc::new(catalog));
        }
        Ok(Findings { catalogs, reports, problems: Vec::new() })
    }
}

fn not_reached(loaded: &LoadedPolicy) -> Vec<SourceReport> {
    let report =
        |name: &str| SourceReport { name: name.to_owned(), against: "not reached".to_owned(), errors: Vec::new(), warnings: Vec::new() };
    loaded.bundle.source_names().into_iter().map(report).collect()
}

async fn look_at(source: &Source) -> (SourceReport, Option<CatalogSnapshot>) {
    let mut report =
        SourceReport { name: source.name.as_str().to_owned(), against: String::new(), errors: Vec::new(), warnings: Vec::new() };
    match source::introspect(&SourceAddress::from(source)).await {
        Err(error) => {
            "not reached".clone_into(&mut report.against);
            report.errors.push(error.to_string());
            (report, None)
        }
        Ok(found) => {
            let version = found.catalog.server_version;
            report.against = format!("live PostgreSQL {}.{} as {}", version / 10_000, version % 10_000, found.credential.role);
            match found.credential.check(source.allow_writable_credential) {
                Ok(warnings) => {
                    report.warnings = warnings.iter().map(|warning| format!("the credential could do more than read: {warning}")).collect();
                }
                Err(error) => report.errors.push(error.to_string()),
            }
            (report, Some(found.catalog))
        }
    }
}

fn as_text(problems: &[Problem], reports: &[SourceReport], set: Option<&PolicySet>, fine: bool) -> String {
    let mut out = lines(problems);
    for report in reports {
        put(&mut out, format_args!("source {}: {}\n", report.name, report.against));
        for (severity, list) in [("error", &report.errors), ("warning", &report.warnings)] {
            for text in list {
                put(&mut out, format_args!("source {}: {severity}: {text}\n", report.name));
            }
        }
    }
    if let Some(set) = set {
        put(&mut out, format_args!("{}\n{}\n", relations(set), agents(set)));
    } else if fine {
        out.push_str("  hint: check the columns too with `--live`, or save a catalog with `--live --save-catalog`\n");
    }
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let errors = count(Severity::Error) + reports.iter().map(|report| report.errors.len()).sum::<usize>();
    let warnings = count(Severity::Warning) + reports.iter().map(|report| report.warnings.len()).sum::<usize>();
    let verdict = if fine { "the policy is fine" } else { "the policy cannot be used" };
    put(&mut out, format_args!("{verdict}: {} and {}\n", counted(errors, "error"), counted(warnings, "warning")));
    out
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn relations(set: &PolicySet) -> comfy_table::Table {
    let mut rows: BTreeMap<(&str, &str), &ExposedRelation> = BTreeMap::new();
    for schema in set.agents.values().flat_map(|agent| &agent.schemas) {
        rows.extend(schema.relations.values().map(|relation| ((&*relation.schema, &*relation.name), &**relation)));
    }
    let mut table = table(&["relation", "from", "rows", "columns", "masked", "at most"]);
    for ((schema, name), relation) in rows {
        let mut whose = match &relation.tenant {
            TenantRule::Column { name, .. } => format!("{name} = the agent's tenant"),
            TenantRule::Single => "all (single tenant)".to_owned(),
        };
        whose.extend(relation.filter.iter().map(|filter| format!(" and {}", filter.text)));
        let masked: Vec<&str> = relation.columns.iter().filter(|column| column.mask.is_some()).map(|column| &*column.name).collect();
        let limit = relation.max_rows.map_or("-".to_owned(), |rows| format!("{rows} rows"));
        let from = format!("{} {}.{}", relation.source, relation.real_schema, relation.real_name);
        table.add_row([format!("{schema}.{name}"), from, whose, relation.columns.len().to_string(), masked.join(", "), limit]);
    }
    table
}

fn agents(set: &PolicySet) -> comfy_table::Table {
    let mut table = table(&["agent", "tenant", "schemas"]);
    for agent in set.agents.values() {
        let schemas: Vec<&str> = agent.schemas.iter().map(|schema| &*schema.name).collect();
        table.add_row([agent.name.as_str(), agent.tenant.as_ref().map_or("-", |tenant| tenant.as_str()), &schemas.join(", ")]);
    }
    table
}

//! What the source's credential could do besides reading what the policy exposes, and what the policy says of tenants.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    finding::{CREATE, Check, EXTENSIONS, FUNCTIONS, Finding, READ, ROLE, Severity, TENANCY, WRITE, listed},
    reference::{identifier, literal, real_name},
    session::Run,
};
use crate::{
    policy::{ExposedRelation, Source, TenantRule},
    types::SourceName,
};

/// The role's own attributes, each with what takes it away.
const ATTRIBUTES: &[(&str, &str, &str, Severity)] = &[
    ("rolsuper", "is a superuser", "NOSUPERUSER", Severity::Error),
    ("rolbypassrls", "bypasses row-level security", "NOBYPASSRLS", Severity::Error),
    ("rolcreaterole", "can create roles, and so give itself more", "NOCREATEROLE", Severity::Error),
    ("rolreplication", "can replicate, that is read every byte of the cluster", "NOREPLICATION", Severity::Error),
    ("rolcreatedb", "can create databases", "NOCREATEDB", Severity::Warning),
];

/// Predefined roles that matter, and how much. Any other membership is a note.
const MEMBERSHIPS: &[(&str, Severity)] = &[
    ("pg_execute_server_program", Severity::Error),
    ("pg_write_server_files", Severity::Error),
    ("pg_read_server_files", Severity::Error),
    ("pg_write_all_data", Severity::Error),
    ("pg_read_all_data", Severity::Warning),
    ("pg_signal_backend", Severity::Warning),
    ("pg_monitor", Severity::Warning),
    ("pg_read_all_stats", Severity::Warning),
    ("pg_read_all_settings", Severity::Note),
];

const WRITABLE: &str = "
SELECT format('%I.%I', n.nspname, c.relname), concat_ws(', ',
  CASE WHEN pg_has_role(c.relowner, 'MEMBER') THEN 'OWNER' END,
  CASE WHEN has_table_privilege(c.oid, 'INSERT') OR has_any_column_privilege(c.oid, 'INSERT') THEN 'INSERT' END,
  CASE WHEN has_table_privilege(c.oid, 'UPDATE') OR has_any_column_privilege(c.oid, 'UPDATE') THEN 'UPDATE' END,
  CASE WHEN has_table_privilege(c.oid, 'DELETE') THEN 'DELETE' END,
  CASE WHEN has_table_privilege(c.oid, 'TRUNCATE') THEN 'TRUNCATE' END,
  CASE WHEN has_table_privilege(c.oid, 'REFERENCES') OR has_any_column_privilege(c.oid, 'REFERENCES') THEN 'REFERENCES' END,
  CASE WHEN has_table_privilege(c.oid, 'TRIGGER') THEN 'TRIGGER' END)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
UNION ALL
SELECT format('sequence %I.%I', n.nspname, c.relname), concat_ws(', ',
  CASE WHEN has_sequence_privilege(c.oid, 'USAGE') THEN 'USAGE' END, CASE WHEN has_sequence_privilege(c.oid, 'UPDATE') THEN 'UPDATE' END)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S'
ORDER BY 1";

const CREATABLE: &str = "
SELECT 'CREATE', 'SCHEMA ' || quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)' AND has_schema_privilege(oid, 'CREATE')
UNION ALL SELECT 'CREATE', 'DATABASE ' || quote_ident(current_database()) WHERE has_database_privilege(current_database(), 'CREATE')
UNION ALL SELECT 'TEMPORARY', 'DATABASE ' || quote_ident(current_database()) WHERE has_database_privilege(current_database(), 'TEMP')
ORDER BY 1, 2";

/// Files are read and written by these; PostgreSQL gives them to superusers only.
const CALLABLE: &str = "
SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), n.nspname, p.proname, p.pronargs,
       CASE WHEN n.nspname = 'pg_catalog' THEN 'file' WHEN p.prosecdef THEN 'definer' WHEN p.provolatile = 'v' THEN 'volatile' ELSE 'other' END
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE') AND n.nspname <> 'information_schema'
  AND (n.nspname <> 'pg_catalog' OR p.proname ~ '^(pg_read_file|pg_read_binary_file|pg_ls_dir|pg_stat_file|lo_import|lo_export|pg_file_.*|pg_reload_conf|pg_rotate_logfile|pg_hba_file_rules)$')
ORDER BY 1";

/// Every role may call these, and only pgwicket's list keeps agents from them.
const BUILT_IN: &str = "
SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND has_function_privilege(p.oid, 'EXECUTE')
  AND p.proname ~ '^(pg_sleep.*|lo_.*|pg_.*advisory.*|pg_notify|set_config|.*_to_xml.*|pg_logical_emit_message|pg_cancel_backend|pg_terminate_backend|txid_current|currval|nextval|setval)$'";

const REACHING_OUT: &str = "
SELECT extname FROM pg_extension
WHERE extname IN ('dblink', 'postgres_fdw', 'file_fdw', 'adminpack', 'plpython3u', 'plperlu', 'pltclu', 'mysql_fdw', 'http', 'pg_cron') ORDER BY 1";

const SECURED: &str = "
SELECT format('%I.%I', n.nspname, c.relname), c.relrowsecurity, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') ORDER BY 1";

/// Looks at one source.
pub(super) async fn look(run: &mut Run<'_>, source: &Source) -> anyhow::Result<()> {
    let mut look =
        Look { scope: format!("source {}", source.name.as_str()), name: source.name.clone(), role: String::new(), all_powerful: false };
    look.role(run).await?;
    look.writes(run).await?;
    look.creates(run).await?;
    look.reads(run, source);
    look.functions(run).await?;
    look.extensions(run).await?;
    look.tenancy(run, source).await
}

struct Look {
    scope: String,
    name: SourceName,
    role: String,
    /// A superuser: what follows from that is not listed one by one.
    all_powerful: bool,
}

impl Look {
    fn found(&self, run: &mut Run<'_>, check: &'static Check, severity: Severity, what: impl Into<String>, fix: impl Into<String>) {
        let place = run.bundle.place_of_source(self.name.as_str()).cloned();
        let finding = Finding { check, severity, subject: self.scope.clone(), what: what.into(), fix: fix.into(), place };
        run.findings.fail(&self.scope, finding);
    }

    /// Rows without NULLs; a query that the source refuses leaves the check open.
    async fn query(&self, run: &mut Run<'_>, check: &'static Check, sql: &str) -> anyhow::Result<Vec<Vec<String>>> {
        match run.reference(&self.name, sql).await? {
            Ok(rows) => Ok(rows.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect()).collect()),
            Err(code) => {
                run.findings.inconclusive(check, &self.scope, format!("the source refused a catalog query ({code})"));
                Ok(Vec::new())
            }
        }
    }

    async fn role(&mut self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let columns = ATTRIBUTES.iter().map(|(column, ..)| *column).collect::<Vec<_>>().join(", ");
        let found = self.query(run, &ROLE, &format!("SELECT {columns}, rolname FROM pg_roles WHERE rolname = current_user")).await?;
        let row = found.into_iter().next().unwrap_or_default();
        self.role = row.last().map(|role| identifier(role)).unwrap_or_default();
        self.all_powerful = row.first().is_some_and(|value| value == "t");
        for ((_, what, take_away, severity), value) in ATTRIBUTES.iter().zip(&row) {
            if value == "t" {
                let what = format!("role {} {what}", self.role);
                self.found(run, &ROLE, *severity, what, format!("ALTER ROLE {} {take_away};", self.role));
            } else {
                run.findings.pass(&ROLE, &self.scope);
            }
        }
        if self.all_powerful {
            return Ok(());
        }
        let member = "SELECT rolname FROM pg_roles WHERE rolname <> current_user AND pg_has_role(oid, 'MEMBER') ORDER BY 1";
        for name in self.query(run, &ROLE, member).await?.into_iter().flatten() {
            let severity = MEMBERSHIPS.iter().find(|(known, _)| *known == name).map_or(Severity::Note, |(_, severity)| *severity);
            let fix = format!("REVOKE {} FROM {};", identifier(&name), self.role);
            self.found(run, &ROLE, severity, format!("role {} is a member of {name}", self.role), fix);
        }
        Ok(())
    }

    async fn writes(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        if self.all_powerful {
            self.found(run, &WRITE, Severity::Error, "a superuser can write every table", "use a role that may only SELECT");
            return Ok(());
        }
        let mut by_rights: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in self.query(run, &WRITE, WRITABLE).await? {
            let [object, rights] = row.as_slice() else { continue };
            if rights.is_empty() {
                run.findings.pass(&WRITE, &self.scope);
            } else {
                by_rights.entry(rights.clone()).or_default().push(object.clone());
            }
        }
        for (rights, objects) in by_rights {
            let harmful = rights != "REFERENCES" && rights != "USAGE";
            let fix = if rights.contains("OWNER") {
                format!("give them to another role (ALTER TABLE … OWNER TO …) and GRANT SELECT on them to {}", self.role)
            } else {
                format!("REVOKE {rights} ON {} FROM {};", listed(&objects), self.role)
            };
            let severity = if harmful { Severity::Error } else { Severity::Warning };
            self.found(run, &WRITE, severity, format!("role {} has {rights} on {}", self.role, listed(&objects)), fix);
        }
        Ok(())
    }

    async fn creates(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        if self.all_powerful {
            return Ok(());
        }
        let found = self.query(run, &CREATE, CREATABLE).await?;
        if found.is_empty() {
            run.findings.pass(&CREATE, &self.scope);
        }
        for row in found {
            let [right, object] = row.as_slice() else { continue };
            // Every role may make temporary tables by default; agents are kept from it by the list of statements.
            let severity = if right == "TEMPORARY" { Severity::Note } else { Severity::Error };
            let fix = format!("REVOKE {right} ON {object} FROM {}, PUBLIC; (PUBLIC's right is everybody's: look who needs it)", self.role);
            self.found(run, &CREATE, severity, format!("role {} has {right} on {}", self.role, object.to_lowercase()), fix);
        }
        Ok(())
    }

    fn reads(&self, run: &mut Run<'_>, source: &Source) {
        if self.all_powerful {
            self.found(
                run,
                &READ,
                Severity::Error,
                "a superuser can read every table",
                "use a role that may SELECT what the policy exposes",
            );
            return;
        }
        let exposed = exposed(run, source);
        let mut unexposed = Vec::new();
        for real in &source.catalog.relations {
            let name = format!("{}.{}", identifier(&real.schema), identifier(&real.name));
            let relations: Vec<&ExposedRelation> =
                exposed.iter().filter(|relation| real_name(relation) == name).map(|relation| &**relation).collect();
            if relations.is_empty() {
                if real.readable || real.columns.iter().any(|column| column.readable) {
                    unexposed.push(name);
                } else {
                    run.findings.pass(&READ, &self.scope);
                }
                continue;
            }
            let needed = |column: &str| relations.iter().any(|relation| needs(relation, column));
            let hidden: Vec<String> = real
                .columns
                .iter()
                .filter(|column| column.readable && !needed(&column.name))
                .map(|column| identifier(&column.name))
                .collect();
            if hidden.is_empty() {
                run.findings.pass(&READ, &self.scope);
                continue;
            }
            let kept = real
                .columns
                .iter()
                .filter(|column| needed(&column.name))
                .map(|column| identifier(&column.name))
                .collect::<Vec<_>>()
                .join(", ");
            let fix = format!("REVOKE SELECT ON {name} FROM {role}; GRANT SELECT ({kept}) ON {name} TO {role};", role = self.role);
            self.found(
                run,
                &READ,
                Severity::Note,
                format!("role {} can read {} of {name}, which no relation exposes", self.role, listed(&hidden)),
                fix,
            );
        }
        if !unexposed.is_empty() {
            let fix = format!("REVOKE SELECT ON {} FROM {}; (or from PUBLIC)", listed(&unexposed), self.role);
            self.found(
                run,
                &READ,
                Severity::Warning,
                format!("role {} can read {}, which the policy does not expose", self.role, listed(&unexposed)),
                fix,
            );
        }
    }

    async fn functions(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let allowed: BTreeSet<(String, String, String)> = run
            .policy
            .agents
            .values()
            .flat_map(|agent| &agent.functions)
            .map(|function| (function.schema.to_string(), function.name.to_string(), function.arguments.to_string()))
            .collect();
        let mut by_kind: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let callable = if self.all_powerful { Vec::new() } else { self.query(run, &FUNCTIONS, CALLABLE).await? };
        for row in callable {
            let [signature, schema, name, arguments, kind] = row.as_slice() else { continue };
            if allowed.contains(&(schema.clone(), name.clone(), arguments.clone())) {
                run.findings.pass(&FUNCTIONS, &self.scope);
            } else {
                by_kind.entry(kind.clone()).or_default().push(signature.clone());
            }
        }
        for (kind, functions) in by_kind {
            let (severity, which) = match kind.as_str() {
                "file" => (Severity::Error, "built-in functions that reach the server's files or settings"),
                "definer" => (Severity::Warning, "SECURITY DEFINER functions, which run with their owner's rights,"),
                "volatile" => (Severity::Note, "functions that may write,"),
                _ => (Severity::Note, "functions"),
            };
            let fix = format!(
                "REVOKE EXECUTE ON FUNCTION {} FROM {}, PUBLIC; (PUBLIC's right is everybody's: look who needs it)",
                listed(&functions),
                self.role
            );
            let what = format!("role {} can execute {which} that the policy does not need: {}", self.role, listed(&functions));
            self.found(run, &FUNCTIONS, severity, what, fix);
        }
        let built_in = self.query(run, &FUNCTIONS, BUILT_IN).await?.into_iter().flatten().next().unwrap_or_default();
        let what = format!(
            "{built_in} built-in functions that sleep, lock, notify, write large objects or change settings can be executed, as by every role"
        );
        self.found(
            run,
            &FUNCTIONS,
            Severity::Note,
            what,
            "nothing: agents are kept from them by pgwicket's list of functions (isolation/side-effects tries them)",
        );
        Ok(())
    }

    async fn extensions(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let found: Vec<String> = self.query(run, &EXTENSIONS, REACHING_OUT).await?.into_iter().flatten().collect();
        if found.is_empty() {
            run.findings.pass(&EXTENSIONS, &self.scope);
            return Ok(());
        }
        let what = format!("extensions that reach out of the database are installed: {}", listed(&found));
        let fix = format!("REVOKE EXECUTE on their functions and USAGE on their servers from {} and PUBLIC, or DROP EXTENSION", self.role);
        self.found(run, &EXTENSIONS, Severity::Warning, what, fix);
        Ok(())
    }

    async fn tenancy(&self, run: &mut Run<'_>, source: &Source) -> anyhow::Result<()> {
        let secured = self.query(run, &TENANCY, SECURED).await?;
        let exposed = exposed(run, source);
        let names: BTreeSet<&str> =
            exposed.iter().filter_map(|relation| tenant_column(relation)).chain(["tenant_id", "org_id", "account_id"]).collect();
        for relation in &exposed {
            let real = source.catalog.relation(&relation.real_schema, &relation.real_name);
            let telling = real
                .and_then(|real| real.columns.iter().find(|column| names.contains(column.name.as_str())))
                .map(|column| column.name.as_str());
            self.whose(run, relation, telling).await?;
            let row = secured
                .iter()
                .find(|row| row.first().is_some_and(|name| *name == format!("{}.{}", relation.real_schema, relation.real_name)));
            if let Some([_, on, kind]) = row.map(Vec::as_slice) {
                if on == "t" {
                    self.of(
                        run,
                        relation,
                        Severity::Note,
                        "row-level security is on: agents see what both it and the policy allow",
                        "nothing",
                    );
                }
                if kind == "v" || kind == "f" {
                    let what =
                        "it is a view or foreign table: what it does with other tenants' rows runs before the tenant's predicate can";
                    self.of(run, relation, Severity::Note, what, "expose the table itself where you can");
                }
            }
        }
        Ok(())
    }

    /// Whether the policy's word on tenants fits what is in the table.
    async fn whose(&self, run: &mut Run<'_>, relation: &ExposedRelation, telling: Option<&str>) -> anyhow::Result<()> {
        let Some(column) = tenant_column(relation) else {
            match telling {
                Some(name) => {
                    let what = format!(
                        "`single_tenant: true`, but the table has a column {name}: if that says whose a row is, every agent of this schema sees every tenant's rows, as the policy has it"
                    );
                    self.of(
                        run,
                        relation,
                        Severity::Warning,
                        &what,
                        &format!("write `tenant_column: {name}`, or leave it when the rows are for all"),
                    );
                }
                None => self.of(
                    run,
                    relation,
                    Severity::Note,
                    "`single_tenant: true`: every agent of this schema sees all its rows, as the policy has it",
                    "nothing, when the rows are for all",
                ),
            }
            return Ok(());
        };
        if let Some(other) = telling.filter(|name| *name != column) {
            let what = format!("`tenant_column: {column}`, but the table has a column {other}, which other relations use for that");
            self.of(run, relation, Severity::Warning, &what, &format!("write `tenant_column: {other}` if that says whose a row is"));
        }
        let tenants: BTreeSet<String> =
            run.policy.agents.values().filter_map(|agent| Some(literal(agent.tenant.as_ref()?.as_str()))).collect();
        for tenant in tenants {
            let name = identifier(column);
            let table = real_name(relation);
            let sql = format!("SELECT EXISTS (SELECT FROM {table} WHERE {name} = {tenant}), EXISTS (SELECT FROM {table})");
            let found = self.query(run, &TENANCY, &sql).await?;
            match found.first().map(Vec::as_slice) {
                Some([own, any]) if own == "f" && any == "t" => {
                    let what = format!(
                        "no row has {column} = {tenant}: the column may be the wrong one, and with rows of that tenant missing here nothing is proven for it"
                    );
                    self.of(
                        run,
                        relation,
                        Severity::Warning,
                        &what,
                        "name the column that holds the tenant, or add rows of that tenant to staging",
                    );
                }
                Some(_) => run.findings.pass(&TENANCY, &self.scope),
                None => {}
            }
        }
        Ok(())
    }

    fn of(&self, run: &mut Run<'_>, relation: &ExposedRelation, severity: Severity, what: &str, fix: &str) {
        let subject = format!("{}, {}.{}", self.scope, relation.schema, relation.name);
        let place = run.place(relation);
        run.findings.fail(&self.scope, Finding { check: &TENANCY, severity, subject, what: what.to_owned(), fix: fix.to_owned(), place });
    }
}

fn tenant_column(relation: &ExposedRelation) -> Option<&str> {
    match &relation.tenant {
        TenantRule::Column { name, .. } => Some(name),
        TenantRule::Single => None,
    }
}

/// Whether pgwicket reads this column for the relation: exposed, the tenant's, or in the row filter.
fn needs(relation: &ExposedRelation, column: &str) -> bool {
    let filtered = relation.filter.as_ref().is_some_and(|filter| filter.text.contains(column));
    filtered || tenant_column(relation) == Some(column) || relation.columns.iter().any(|exposed| *exposed.name == *column)
}

/// Every relation that some agent sees of this source, once.
fn exposed(run: &Run<'_>, source: &Source) -> Vec<std::sync::Arc<ExposedRelation>> {
    let all = run.policy.agents.values().flat_map(|agent| &agent.schemas).flat_map(|schema| schema.relations.values());
    let by_name: BTreeMap<(&str, &str), _> =
        all.filter(|relation| relation.source == source.name).map(|relation| ((&*relation.schema, &*relation.name), relation)).collect();
    by_name.into_values().cloned().collect()
}

//! The lists against what PostgreSQL 15 has, and against the names that SECURITY.md puts out of reach.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// `pg_proc` of PostgreSQL 15: name, kind, argument types (OUT ones too), result type.
fn procedures() -> impl Iterator<Item = (&'static str, &'static str, Vec<&'static str>)> {
    include_str!("testdata/pg_proc_15.tsv").lines().filter(|line| !line.starts_with("# ")).map(|line| {
        let [name, kind, arguments, result] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let types = arguments.split(',').filter(|t| !t.is_empty()).chain([result]).collect();
        (name, kind, types)
    })
}

fn functions() -> List {
    List::parse(include_str!("data/functions.txt")).unwrap()
}

#[test]
fn every_list_parses_and_every_class_says_why() {
    for text in [include_str!("data/functions.txt"), include_str!("data/operators.txt"), include_str!("data/types.txt")] {
        let list = List::parse(text).unwrap();
        for (name, _, class) in list.entries() {
            assert!(class.reason.len() > 10 && !class.reason.ends_with('.'), "{name}: {}", class.name);
        }
    }
}

#[test]
fn every_function_of_postgresql_15_is_classified_by_name() {
    let classified: BTreeSet<_> = functions().entries().map(|(name, _, _)| name).collect();
    let missing: BTreeSet<_> = procedures().map(|(name, ..)| name).filter(|name| !classified.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn no_name_is_both_in_and_out_but_by_its_number_of_arguments() {
    let mut verdicts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let list = functions();
    for (name, arguments, class) in list.entries() {
        verdicts.entry(name).or_default().push((arguments, class.verdict));
    }
    verdicts.retain(|_, entries| entries.len() > 1);
    assert_eq!(verdicts.into_keys().collect::<Vec<_>>(), ["ts_rewrite"]);
}

#[test]
fn aggregates_and_window_functions_are_known_as_such() {
    for (name, kind, _) in procedures().filter(|(_, kind, _)| matches!(*kind, "a" | "w")) {
        let FunctionRule::Allowed(_, ours) = function(name, 1) else { panic!("{name}") };
        let both = matches!(name, "rank" | "dense_rank" | "percent_rank" | "cume_dist");
        assert_eq!(ours == Kind::Window, kind == "w" || both, "{name}");
        assert!(matches!(ours, Kind::Window | Kind::Aggregate), "{name}");
    }
    let aggregates: BTreeSet<_> = procedures().filter(|(_, kind, _)| *kind != "f").map(|(name, ..)| name).collect();
    for (name, ..) in procedures().filter(|(name, ..)| !aggregates.contains(name)) {
        let rule = function(name, 1);
        assert!(!matches!(rule, FunctionRule::Allowed(_, Kind::Aggregate | Kind::Window)), "{name}");
    }
}

/// A signature that reaches the catalog, the server's insides or another session's objects makes a name
/// dangerous even when its common use is not.
#[test]
fn no_allowed_function_takes_or_returns_a_type_that_reaches_the_catalog() {
    // A text search configuration is looked up by name; it names no relation and gives no rows.
    let configuration = [
        "json_to_tsvector",
        "jsonb_to_tsvector",
        "phraseto_tsquery",
        "plainto_tsquery",
        "to_tsquery",
        "to_tsvector",
        "ts_headline",
        "websearch_to_tsquery",
    ];
    // Unreachable: no value of these types is ever in an expression.
    let unreachable =
        [("age", "xid"), ("max", "xid8"), ("min", "xid8"), ("max", "pg_lsn"), ("min", "pg_lsn"), ("max", "tid"), ("min", "tid")];
    for (name, kind, types) in procedures() {
        let arguments = types.len() - 1;
        if kind == "p" || !matches!(function(name, arguments), FunctionRule::Allowed(..)) {
            continue;
        }
        for t in types {
            if cast_type(t).is_ok() || t.starts_with("any") || unreachable.contains(&(name, t)) {
                continue;
            }
            let known = t == "record" || (t == "regconfig" && configuration.contains(&name));
            assert!(known, "{name}: {t}");
        }
    }
}

#[test]
fn what_security_puts_out_of_reach_is_out() {
    for name in [
        "pg_read_file",
        "pg_read_binary_file",
        "pg_ls_dir",
        "pg_stat_file",
        "lo_import",
        "lo_export",
        "lo_get",
        "lo_from_bytea",
        "lo_create",
        "loread",
        "lowrite",
        "pg_logical_emit_message",
        "pg_create_logical_replication_slot",
        "pg_switch_wal",
        "pg_reload_conf",
        "pg_terminate_backend",
        "pg_cancel_backend",
        "nextval",
        "currval",
        "lastval",
        "setval",
        "pg_advisory_lock",
        "pg_try_advisory_xact_lock",
        "pg_sleep",
        "pg_sleep_for",
        "pg_sleep_until",
        "pg_notify",
        "set_config",
        "setseed",
        "query_to_xml",
        "query_to_xmlschema",
        "query_to_xml_and_xmlschema",
        "cursor_to_xml",
        "table_to_xml",
        "database_to_xml",
        "schema_to_xml",
        "ts_stat",
        "pg_get_viewdef",
        "pg_get_functiondef",
        "pg_get_constraintdef",
        "pg_get_indexdef",
        "pg_get_expr",
        "pg_stat_get_activity",
        "pg_relation_size",
        "has_table_privilege",
        "has_any_column_privilege",
        "pg_has_role",
        "row_security_active",
        "to_regclass",
        "to_regtype",
        "regclass",
        "obj_description",
        "col_description",
        "pg_table_is_visible",
        "format_type",
        "pg_input_is_valid",
        "pg_typeof",
        "current_query",
        "currtid2",
        "txid_current",
        "pg_export_snapshot",
        "pg_current_logfile",
        "binary_upgrade_create_empty_extension",
        "amvalidate",
        "textin",
        "int4in",
        "int4eq",
        "pg_client_encoding",
        "pg_collation_for",
        "getpgusername",
    ] {
        assert!(matches!(function(name, 1), FunctionRule::Denied(_)), "{name}");
        assert!(attribute(name).is_err(), "{name} as an attribute");
    }
    for name in ["dblink", "dblink_exec", "pg_no_such_function", "Lower", ""] {
        assert_eq!(function(name, 1), FunctionRule::Unknown, "{name}");
    }
    assert!(matches!(function("ts_rewrite", 2), FunctionRule::Denied(_)));
    assert!(matches!(function("ts_rewrite", 3), FunctionRule::Allowed(..)));
    let prefixes = [
        "lo_",
        "pg_stat_",
        "pg_ls_",
        "pg_advisory",
        "pg_try_advisory",
        "has_",
        "to_reg",
        "txid_",
        "pg_read_",
        "pg_replication_",
        "binary_upgrade_",
    ];
    assert!(matches!(function("pg_advisory_unlock_all", 0), FunctionRule::Virtual(_)));
    let named = |name: &str| name != "pg_advisory_unlock_all" && prefixes.iter().any(|prefix| name.starts_with(prefix));
    for (name, ..) in procedures().filter(|(name, ..)| named(name)) {
        assert!(matches!(function(name, 1), FunctionRule::Denied(_)), "{name}");
    }
}

#[test]
fn identity_functions_are_answered_by_the_virtual_session() {
    for name in [
        "current_user",
        "session_user",
        "current_database",
        "current_schema",
        "current_schemas",
        "version",
        "pg_backend_pid",
        "inet_client_addr",
        "inet_client_port",
        "inet_server_addr",
        "inet_server_port",
        "current_setting",
    ] {
        assert!(matches!(function(name, 0), FunctionRule::Virtual(_)), "{name}");
        assert!(attribute(name).is_err(), "{name}");
    }
}

#[test]
fn every_operator_of_postgresql_15_is_listed_and_nothing_else_is() {
    for name in include_str!("testdata/pg_operator_15.txt").lines().filter(|line| !line.starts_with("# ")) {
        assert!(operator(name), "{name}");
    }
    for name in ["<#>", "<=>", "%>", "==", "!=", "", "~~~"] {
        assert!(!operator(name), "{name}");
    }
}

#[test]
fn every_type_of_postgresql_15_is_classified_and_pseudo_types_are_out() {
    let list = List::parse(include_str!("data/types.txt")).unwrap();
    for line in include_str!("testdata/pg_type_15.tsv").lines().filter(|line| !line.starts_with("# ")) {
        let [name, kind, _oid] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let class = list.class(name, None).unwrap_or_else(|| panic!("{name}"));
        assert!(kind != "p" || class.verdict == Verdict::Deny, "{name}");
        assert!(!name.starts_with("reg") || class.verdict == Verdict::Deny, "{name}");
    }
    for name in ["int4", "_int4", "varchar", "char", "timestamptz", "numeric", "jsonb", "_text", "daterange"] {
        assert_eq!(cast_type(name), Ok(()), "{name}");
    }
    for name in ["regclass", "_regclass", "__int4", "pg_class", "tickets", "cstring", "record", "Int4", "", "_"] {
        assert!(cast_type(name).is_err(), "{name}");
    }
}

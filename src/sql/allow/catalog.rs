//! What statements over the virtual catalog may use besides the reviewed lists.

use std::sync::LazyLock;

use super::{
    Class, FunctionRule, cast_type, function,
    list::{List, Verdict},
};

static FUNCTIONS: LazyLock<List> = LazyLock::new(|| List::parse(include_str!("data/catalog_functions.txt")).unwrap_or_default());
static TYPES: LazyLock<List> = LazyLock::new(|| List::parse(include_str!("data/catalog_types.txt")).unwrap_or_default());
static RELATIONS: LazyLock<List> = LazyLock::new(|| List::parse(include_str!("data/catalog_relations.txt")).unwrap_or_default());

/// The rule for a call in a statement over the virtual catalog, by a function that is not on the general list; `None` when the
/// general list decides.
pub fn catalog_function(name: &str, arguments: usize) -> Option<FunctionRule> {
    let class = FUNCTIONS.class(name, Some(arguments))?;
    Some(match class.verdict {
        Verdict::Allow => FunctionRule::Allowed(class, class.kind),
        Verdict::Virtual => FunctionRule::Virtual(class),
        Verdict::Deny => FunctionRule::Denied(class),
    })
}

/// Whether a type of `pg_catalog` may only be named in a statement over the virtual catalog.
pub fn catalog_type(name: &str) -> bool {
    let element = name.strip_prefix('_').unwrap_or(name);
    TYPES.class(element, None).is_some() && cast_type(name).is_err()
}

/// Whether a relation of `pg_catalog` may be read.
pub fn catalog_relation(name: &str) -> bool {
    RELATIONS.class(name, None).is_some()
}

/// As [`super::attribute`], in a statement over the virtual catalog.
pub fn catalog_attribute(name: &str) -> Result<(), &'static Class> {
    match catalog_function(name, 1) {
        Some(FunctionRule::Allowed(..)) => return Ok(()),
        Some(FunctionRule::Virtual(class) | FunctionRule::Denied(class)) => return Err(class),
        Some(FunctionRule::Unknown) | None => {}
    }
    if catalog_type(name) {
        return Ok(());
    }
    match function(name, 1) {
        FunctionRule::Allowed(..) | FunctionRule::Unknown => Ok(()),
        FunctionRule::Virtual(class) | FunctionRule::Denied(class) => Err(class),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_in_their_format() {
        for text in
            [include_str!("data/catalog_functions.txt"), include_str!("data/catalog_types.txt"), include_str!("data/catalog_relations.txt")]
        {
            assert!(List::parse(text).is_ok(), "{:?}", List::parse(text).err());
        }
        assert!(catalog_relation("pg_class") && !catalog_relation("pg_authid") && !catalog_relation("pg_statistic"));
        assert!(catalog_type("regclass") && catalog_type("_regtype") && !catalog_type("regrole") && !catalog_type("text"));
        for name in ["pg_sleep", "pg_read_file", "lo_create", "pg_notify", "dblink", "query_to_xml", "pg_terminate_backend", "nextval"] {
            assert_eq!(catalog_function(name, 1), None, "{name}");
        }
    }
}

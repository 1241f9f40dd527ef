//! Tenants: which column may say whose row it is, and which value fits it.

use crate::sql::catalog::Oid;

/// `pg_type.oid`s that tenants are made of. Their equality is leakproof and compares exactly.
mod oid {
    use super::Oid;
    pub(super) const INT8: Oid = 20;
    pub(super) const INT2: Oid = 21;
    pub(super) const INT4: Oid = 23;
    pub(super) const TEXT: Oid = 25;
    pub(super) const BPCHAR: Oid = 1042;
    pub(super) const VARCHAR: Oid = 1043;
    pub(super) const UUID: Oid = 2950;
}

/// Whether a column of this base type may say whose row it is.
pub(super) fn fits_column(base_type: Oid) -> bool {
    matches!(base_type, oid::INT2 | oid::INT4 | oid::INT8 | oid::TEXT | oid::BPCHAR | oid::VARCHAR | oid::UUID)
}

/// What may say whose row it is, for hints.
pub(super) const COLUMN_TYPES: &str = "smallint, integer, bigint, text, varchar, char or uuid";

/// Why `tenant` cannot be a value of a tenant column of this base type.
pub(super) fn misfit(tenant: &str, base_type: Oid) -> Option<&'static str> {
    let fits = match base_type {
        oid::INT2 => whole::<i16>(tenant),
        oid::INT4 => whole::<i32>(tenant),
        oid::INT8 => whole::<i64>(tenant),
        oid::UUID => uuid(tenant),
        _ => true,
    };
    (!fits).then_some(match base_type {
        oid::UUID => "a uuid such as 123e4567-e89b-12d3-a456-426614174000",
        _ => "a whole number that fits the column",
    })
}

fn whole<T: std::str::FromStr>(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || b == b'-') && text.parse::<T>().is_ok()
}

fn uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_must_be_a_value_of_its_column() {
        for (value, base_type, fits) in [
            ("acme", oid::TEXT, true),
            ("7", oid::INT4, true),
            ("-7", oid::INT2, true),
            ("70000", oid::INT2, false),
            ("+7", oid::INT4, false),
            ("acme", oid::INT8, false),
            ("", oid::INT4, false),
            ("123e4567-e89b-12d3-a456-426614174000", oid::UUID, true),
            ("123e4567e89b12d3a456426614174000", oid::UUID, false),
        ] {
            assert_eq!(misfit(value, base_type).is_none(), fits, "{value} {base_type}");
        }
        for (value, type_oid, type_name, kept) in [
            ("acme", oid::VARCHAR, "character varying(4)", true),
            ("acme  ", oid::VARCHAR, "character varying(4)", false),
            ("acme  ", oid::VARCHAR, "character varying", true),
            ("acmes", oid::BPCHAR, "character(4)", false),
            ("acm ", oid::BPCHAR, "character(4)", false),
            ("acm", oid::BPCHAR, "character(4)", true),
            ("acme  ", oid::TEXT, "text", true),
        ] {
            let rule = crate::policy::TenantRule::Column { name: "tenant".into(), type_oid, type_name: type_name.into() };
            assert_eq!(rule.keeps(value), kept, "{value:?} {type_name}");
        }
        assert!(!fits_column(1700), "numeric comparisons are not leakproof");
    }
}

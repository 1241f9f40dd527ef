//! `target_session_attrs`: which of the hosts of a URL is used. libpq has more of it than the URL's parser.

use tokio_postgres::config::{Config, TargetSessionAttrs};

use super::{SourceError, connect::configuration};

/// What a server must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Whatever it is.
    Any,
    /// Not in recovery.
    Primary,
    /// In recovery.
    Standby,
}

/// What is looked for among the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// One kind of server.
    One(Wanted),
    /// A standby, and when there is none, any.
    PreferStandby,
}

impl Wanted {
    /// Whether a server that is, or is not, a standby is it.
    pub(super) fn is(self, standby: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Primary => !standby,
            Self::Standby => standby,
        }
    }
}

impl Target {
    /// By libpq's names. Every session here is read-only, so `read-write` and `read-only` can only speak of the server.
    pub(super) fn named(name: &str) -> Result<Self, SourceError> {
        match name {
            "any" => Ok(Self::One(Wanted::Any)),
            "primary" | "read-write" => Ok(Self::One(Wanted::Primary)),
            "standby" | "read-only" => Ok(Self::One(Wanted::Standby)),
            "prefer-standby" => Ok(Self::PreferStandby),
            _ => Err(configuration("target_session_attrs is any, primary, standby, prefer-standby, read-write or read-only")),
        }
    }

    /// Of what the URL's parser read.
    pub(super) fn of(config: &Config) -> Result<Self, SourceError> {
        match config.get_target_session_attrs() {
            TargetSessionAttrs::Any => Ok(Self::One(Wanted::Any)),
            TargetSessionAttrs::ReadWrite => Ok(Self::One(Wanted::Primary)),
            TargetSessionAttrs::ReadOnly => Ok(Self::One(Wanted::Standby)),
            _ => Err(configuration("target_session_attrs is not one that is supported")),
        }
    }

    /// What to look for among all hosts, first to last.
    pub(super) fn in_turn(self) -> &'static [Wanted] {
        match self {
            Self::One(Wanted::Any) => &[Wanted::Any],
            Self::One(Wanted::Primary) => &[Wanted::Primary],
            Self::One(Wanted::Standby) => &[Wanted::Standby],
            Self::PreferStandby => &[Wanted::Standby, Wanted::Any],
        }
    }
}

/// A URL without its `target_session_attrs`, and what that is.
pub(super) fn split(url: &str) -> (String, Option<String>) {
    let Some((place, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let named = |pair: &str| pair.strip_prefix("target_session_attrs=").map(str::to_owned);
    let target = query.split('&').find_map(named);
    let rest: Vec<&str> = query.split('&').filter(|pair| named(pair).is_none()).collect();
    (if rest.is_empty() { place.to_owned() } else { format!("{place}?{}", rest.join("&")) }, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_urls_parser_does_not_see_what_it_does_not_know() {
        assert_eq!(split("postgresql://a@b/c"), ("postgresql://a@b/c".to_owned(), None));
        let url = "postgresql://a@b,c/d?target_session_attrs=prefer-standby";
        assert_eq!(split(url), ("postgresql://a@b,c/d".to_owned(), Some("prefer-standby".to_owned())));
        let url = "postgresql://a@b,c/d?sslmode=require&target_session_attrs=primary&connect_timeout=3";
        assert_eq!(split(url), ("postgresql://a@b,c/d?sslmode=require&connect_timeout=3".to_owned(), Some("primary".to_owned())));
        assert_eq!(Target::named("prefer-standby").unwrap().in_turn(), [Wanted::Standby, Wanted::Any]);
        assert!(Target::named("prefer-primary").is_err());
    }
}

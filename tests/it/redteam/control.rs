//! Controls: the corpus against what is no proxy at all and against a naive one, to show that it bites.

use pg_query::protobuf::Token;

use super::{Case, Corpus, Protocol, Session};
use crate::support::Database;

/// What one control did with the cases that are one statement.
#[derive(Debug, Default)]
pub(super) struct Bitten {
    pub(super) cases: usize,
    /// Cases in which a mark arrived.
    pub(super) leaks: usize,
    /// Cases that failed, those included.
    pub(super) failed: usize,
}

/// A role that may read both tables, and is READ ONLY.
pub(super) const ROLE: &str = "redteam_plain";

/// Lets [`ROLE`] read the source.
pub(super) fn admit(source: &Database, password: &str) {
    source.sql(&format!(
        "create role {ROLE} login password '{password}'; grant usage on schema zzhid_real, desk to {ROLE};
         grant select on zzhid_real.tickets, zzhid_real.orders, zzhid_real.labels, desk.tickets, public.tickets, public.orders to {ROLE};
         alter role {ROLE} set default_transaction_read_only = on; alter role {ROLE} set statement_timeout = '500ms'"
    ));
}

/// The cases, each sent as `rewrite` makes it, in a session of [`ROLE`] with this search path.
pub(super) fn run(corpus: &Corpus<'_>, cases: &[Case], search_path: &str, rewrite: impl Fn(&str) -> String) -> Bitten {
    let mut bitten = Bitten::default();
    let login = corpus.source.login(ROLE);
    let begin = || {
        let mut session = Session::login(&login);
        session.simple(&format!("set search_path = {search_path}"));
        session
    };
    let (mut session, mut copy) = (begin(), Session::login(&corpus.copy));
    for case in cases.iter().filter(|case| case.protocol == Protocol::Simple && !case.own_session) {
        let sent = Case { steps: case.steps.iter().map(|text| rewrite(text)).collect(), ..case.clone() };
        let answers = session.play(&sent);
        // What is expected of the case, whatever became of its text.
        let wrong = Corpus::judge(case, &answers, &session, &mut copy);
        bitten.cases += 1;
        bitten.failed += usize::from(!wrong.is_empty());
        bitten.leaks += usize::from(wrong.iter().any(|finding| finding.contains("LEAK")));
        let ended = answers.iter().any(|answer| answer.closed);
        // A block left open, a setting changed: the next case begins anew.
        if ended || session.simple("rollback").closed {
            session = begin();
        }
    }
    bitten
}

/// What many a proxy does: puts a filtered subquery where a table's name stands after FROM, JOIN or a comma.
pub(super) fn naive(text: &str) -> String {
    if text.trim().is_empty() {
        return text.to_owned();
    }
    let Ok(tokens) = pg_query::scan_tokens(text) else { return text.to_owned() };
    let span = |at: usize| Some(usize::try_from(tokens.get(at)?.start).ok()?..usize::try_from(tokens.get(at)?.end).ok()?);
    let word = |at: usize| span(at).map(|span| &text[span]).unwrap_or_default();
    let (mut rewritten, mut copied) = (String::new(), 0);
    for at in 1..tokens.len() {
        let schema = word(at - 1) == "." && word(at.wrapping_sub(2)) == "desk";
        let before = if schema { at.wrapping_sub(3) } else { at - 1 };
        let relation = match word(at) {
            "tickets" => {
                "select id, subject, body, amount, quantity, score, secret, '***' as email, mood, public_id, meta, tags, placed_on \
                          from zzhid_real.tickets where tenant_id = 'acme' and deleted_at is null"
            }
            "orders" => "select id, ticket_id, label, total, pieces from zzhid_real.orders where tenant_id = 'acme'",
            _ => continue,
        };
        let place = tokens.get(before).map(pg_query::protobuf::ScanToken::token);
        if matches!(place, Some(Token::From | Token::Join | Token::Ascii44)) && word(at + 1) != "." {
            let (Some(start), Some(end)) = (span(if schema { at - 2 } else { at }), span(at)) else { continue };
            let named = tokens.get(at + 1).is_some_and(|next| matches!(next.token(), Token::As | Token::Ident));
            rewritten += &text[copied..start.start];
            rewritten.extend(["(", relation, ")"]);
            if !named {
                rewritten.extend([" as ", word(at)]);
            }
            copied = end.end;
        }
    }
    rewritten + &text[copied..]
}

//! The verifier against rewriters that are wrong on purpose.

use pg_query::protobuf::Token;
use proptest::prelude::*;

use super::*;
use crate::govern::{client_parameters, rewrite::rewrite, tests::with};

const STATEMENTS: [&str; 9] = [
    "select subject from t where id = $1 and amount between 1 and 5",
    "select * from t join c on c.id = t.customer_id left join f using (id) where 'x' ~ c.name and t.id = 5",
    "with recursive x as (select * from t), y as (select * from x) select y.*, (select max(id) from c) from y",
    "select count(*) from t where exists (select 1 from c where c.id = t.customer_id and 1/c.id > 0) group by status having count(*) > 1",
    "select current_user, s.t.subject from s.t, lateral (select * from g where g.id = t.id) l order by 1",
    "(select id from t where 'x' ~ subject) union all (table g) except select id from c limit 3",
    "select \"Odd \"\"name\"\"\".id from \"Odd \"\"name\"\"\" where id in (1, 2, 3)",
    "select x.a from t as x(a, b), c as y where x.a = y.id and x.b::int > 3",
    "select * from pgwicket.columns where relation = 't'",
];

/// Runs `then` with what is expected of a statement and what the honest rewriter makes of it.
fn honest<T>(text: &str, then: impl FnOnce(&Expectation, &str) -> T) -> T {
    with(text, &[], |request| {
        let tree = parse(text).unwrap().unwrap();
        let expected = expect(request, &tree, client_parameters(&tree, &[]).unwrap()).unwrap();
        let rewritten = rewrite(text, &expected.replacements).unwrap();
        then(&expected, &rewritten.text)
    })
}

/// The tokens that carry meaning: comments, parentheses and the optional AS aside, names unquoted and folded.
fn meaning(text: &str) -> Option<Vec<String>> {
    let tokens = pg_query::scan_tokens(text).ok()?;
    let kept = tokens.iter().filter(|token| {
        !matches!(token.token(), Token::SqlComment | Token::CComment | Token::Ascii40 | Token::Ascii41 | Token::As | Token::Ascii59)
    });
    kept.map(|token| {
        let spelled = text.get(usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?)?;
        let quoted = spelled.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Some(quoted.map_or_else(|| spelled.to_ascii_lowercase(), |inside| inside.replace("\"\"", "\"")))
    })
    .collect()
}

/// The text with token `at` treated as a careless or hostile rewriter would.
fn broken(text: &str, at: usize, other: usize, how: usize) -> Option<String> {
    let tokens = pg_query::scan_tokens(text).ok()?;
    let span = |at: usize| {
        let token = tokens.get(at % tokens.len())?;
        Some(usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?)
    };
    let (one, two) = (span(at)?, span(other)?);
    let replaced = |with: &str| format!("{}{with}{}", &text[..one.start], &text[one.end..]);
    Some(match how % 14 {
        0 => replaced(""),
        1 => replaced(&format!("{0} {0}", &text[one.clone()])),
        2 => replaced(&text[two]),
        3 => replaced("secret"),
        4 => replaced("\"real_c\""),
        5 => replaced("$9"),
        6 => replaced("'globex'"),
        7 => replaced("1"),
        8 => format!("{} OR true {}", &text[..one.end], &text[one.end..]),
        9 => text[..one.end].to_owned(),
        10 => format!("{text}; DELETE FROM \"public\".\"real_t\""),
        11 => format!("{text} UNION ALL SELECT * FROM \"public\".\"real_t\""),
        12 => format!("{} -- {}", &text[..one.end], &text[one.end..]),
        _ => format!("{} , * {}", &text[..one.end], &text[one.end..]),
    })
}

#[test]
fn the_honest_rewriter_passes_and_the_client_text_itself_does_not() {
    for text in STATEMENTS {
        honest(text, |expected, sent| {
            assert_eq!(&*expected.verify(sent).unwrap().into_text(), sent, "{text}");
            assert!(expected.verify(text).is_err(), "{text}");
        });
    }
}

#[test]
fn each_part_of_a_governed_relation_is_needed() {
    let without = |text: &str, part: &str| {
        honest(text, |expected, sent| {
            assert!(sent.contains(part), "{part} not in {sent}");
            assert!(expected.verify(&sent.replacen(part, " ", 1)).is_err(), "{part} left out of {sent}");
        });
    };
    let leaky = "select * from t where 1/amount > 0 and id = 7";
    for part in [" OFFSET 0", "WHERE \"tenant_id\" = $1 AND ", " AND ((\"id\") = (7))", "\"subject\", ", "AS \"t\"", "\"public\"."] {
        without(leaky, part);
    }
    without("select * from c", " AND (deleted_at is null)");
    without("select * from c", "NULL::\"pg_catalog\".\"text\" AS ");
    without("select * from f", " OFFSET 0");
    // A fence that is not asked for, or a conjunct that the statement does not have, is not passed either.
    honest("select * from t where id = 7", |expected, sent| {
        assert!(expected.verify(&sent.replacen("= $1)", "= $1 OFFSET 0)", 1)).is_err());
        assert!(expected.verify(&sent.replacen("= $1)", "= $1 AND id = 8)", 1)).is_err());
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]

    #[test]
    fn whatever_a_rewriter_does_wrong_is_refused(which in 0..STATEMENTS.len(), at in 0..400_usize, other in 0..400_usize, how in 0..14_usize) {
        honest(STATEMENTS[which], |expected, sent| {
            let Some(text) = broken(sent, at, other, how) else { return Ok(()) };
            let passed = expected.verify(&text).is_ok();
            prop_assert!(!passed || meaning(&text) == meaning(sent), "passed: {text}\nfor: {sent}");
            Ok(())
        })?;
    }
}

//! Tags in a statement's comments, as sqlcommenter writes them: `/* key='value',other='value' */`, values percent-encoded.

use pg_query::protobuf::Token;

/// Longest value that is taken. Unit: bytes.
const LONGEST: usize = 1024;

/// The value of a tag in one of the comments of `text`. A string constant that looks like a comment is none.
pub(super) fn tag(text: &str, key: &str) -> Option<String> {
    if !text.contains(key) {
        return None;
    }
    let tokens = pg_query::scan_tokens(text).ok()?;
    let comments = tokens.iter().filter(|token| matches!(token.token(), Token::CComment | Token::SqlComment));
    comments.filter_map(|token| text.get(usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?)).find_map(|comment| {
        let (before, after) = comment.split_once(&format!("{key}='"))?;
        let begins = !before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
        let (value, _) = after.split_once('\'')?;
        begins.then(|| decoded(value))?.filter(|value| !value.is_empty() && value.len() <= LONGEST)
    })
}

fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_first_chunk::<2>()?;
            bytes.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_from_comments_only() {
        assert_eq!(
            tag("update t set a = 1 /* idempotency_key='k%2D1',reason='it%20is%20late' */", "idempotency_key").as_deref(),
            Some("k-1")
        );
        assert_eq!(tag("update t set a = 1 /* idempotency_key='k',reason='it%20is%20late' */", "reason").as_deref(), Some("it is late"));
        assert_eq!(tag("update t set a = 'reason=''x''' ", "reason"), None);
        assert_eq!(tag("update t set a = '/* reason=''x'' */' ", "reason"), None);
        assert_eq!(tag("update t set a = 1 -- reason='x'", "reason").as_deref(), Some("x"));
        assert_eq!(tag("update t set a = 1 /* no_reason='x' */", "reason"), None);
        assert_eq!(tag("update t set a = 1 /* reason='%zz' */", "reason"), None);
        assert_eq!(tag("/* reason=''", "reason"), None);
    }
}

//! The first packet of a connection: its kinds, its parameters, and the allow-list over them. No I/O.

use super::refused::Refused;

/// `MAX_STARTUP_PACKET_LENGTH` of PostgreSQL, less the length field. Unit: bytes.
pub(super) const MAX_PACKET: usize = 10_000 - 4;

const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// The newest minor version of protocol 3: 3.2 has longer cancel keys.
const NEWEST_MINOR: u32 = 2;

/// Bytes of a cancel key, as protocol 3.2 bounds them. Unit: bytes.
const CANCEL_KEY: std::ops::RangeInclusive<usize> = 4..=256;

/// The first packet of a connection, without its length field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// The client asks for TLS.
    Tls,
    /// The client asks for GSSAPI encryption.
    Gss,
    /// The client asks to cancel what another connection runs.
    Cancel {
        /// The session's process id.
        process_id: i32,
        /// The session's key.
        secret: Box<[u8]>,
    },
    /// The client names itself.
    Startup(StartupMessage),
}

/// A StartupMessage of protocol 3.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StartupMessage {
    /// The minor version of protocol 3 that is spoken: what the client asked for, or the newest before it.
    pub(super) minor: u32,
    /// The client must hear of it: it asked for another one, or for protocol options.
    pub(super) negotiate: bool,
    /// `_pq_.` options, which we do not know.
    pub(super) protocol_options: Vec<String>,
    /// Names and values as sent, in order.
    pub(super) parameters: Vec<(String, String)>,
}

/// What a connection asks for. Settings are what SET takes; the session holds them to that.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Startup {
    /// The agent it says it is.
    pub(super) user: String,
    /// The database name it gave, or the user name.
    pub(super) database: String,
    /// Settings by name, in order.
    pub(super) settings: Vec<(String, String)>,
}

/// Reads the first packet.
pub(super) fn decode(packet: &[u8]) -> Result<Packet, Refused> {
    let Some((code, body)) = packet.split_first_chunk::<4>() else {
        return Err(Refused::malformed("invalid length of startup packet"));
    };
    match u32::from_be_bytes(*code) {
        SSL_REQUEST if body.is_empty() => Ok(Packet::Tls),
        GSSENC_REQUEST if body.is_empty() => Ok(Packet::Gss),
        CANCEL_REQUEST => cancel(body),
        version if version >> 16 == 3 => startup_message(version & 0xffff, body).map(Packet::Startup),
        version => Err(Refused::ProtocolVersion { major: version >> 16, minor: version & 0xffff }),
    }
}

fn cancel(body: &[u8]) -> Result<Packet, Refused> {
    let Some((process_id, secret)) = body.split_first_chunk::<4>() else {
        return Err(Refused::malformed("invalid length of cancel request packet"));
    };
    if !CANCEL_KEY.contains(&secret.len()) {
        return Err(Refused::malformed("invalid length of cancel request packet"));
    }
    Ok(Packet::Cancel { process_id: i32::from_be_bytes(*process_id), secret: secret.into() })
}

/// Pairs of zero-terminated strings, ended by one more zero.
fn startup_message(minor: u32, body: &[u8]) -> Result<StartupMessage, Refused> {
    let layout = || Refused::malformed("invalid startup packet layout: expected terminator as last byte");
    let text = std::str::from_utf8(body).map_err(|_position| Refused::NotUtf8)?;
    let mut rest = text;
    let mut next = || -> Result<&str, Refused> {
        let (value, after) = rest.split_once('\0').ok_or_else(layout)?;
        rest = after;
        Ok(value)
    };
    // There is no 3.1.
    let spoken = if minor >= NEWEST_MINOR { NEWEST_MINOR } else { 0 };
    let negotiate = minor != spoken;
    let mut message = StartupMessage { minor: spoken, negotiate, protocol_options: Vec::new(), parameters: Vec::new() };
    loop {
        let name = next()?;
        if name.is_empty() {
            break;
        }
        let value = next()?;
        if name.starts_with("_pq_.") {
            message.negotiate = true;
            message.protocol_options.push(name.to_owned());
        } else {
            message.parameters.push((name.to_owned(), value.to_owned()));
        }
    }
    if rest.is_empty() { Ok(message) } else { Err(layout()) }
}

/// Reads the parameters.
pub(super) fn settle(parameters: Vec<(String, String)>) -> Result<Startup, Refused> {
    let (mut user, mut database, mut settings) = (None, None, Vec::new());
    for (name, value) in parameters {
        match name.as_str() {
            "user" => user = Some(value),
            "database" => database = Some(value),
            "options" => options(&value)?.into_iter().try_for_each(|(name, value)| setting(&name, value, &mut settings))?,
            // Some drivers say that they want none.
            "replication" if matches!(&*value.to_ascii_lowercase(), "false" | "off" | "no" | "0") => {}
            "replication" => return Err(Refused::Replication),
            _ => setting(&name, value, &mut settings)?,
        }
    }
    let user = user.filter(|user| !user.is_empty()).ok_or(Refused::NoUser)?;
    let database = database.filter(|database| !database.is_empty()).unwrap_or_else(|| user.clone());
    if [&user, &database].iter().any(|name| name.len() > 255 || name.chars().any(char::is_control)) {
        return Err(Refused::malformed("user and database names must be at most 255 bytes without control characters"));
    }
    Ok(Startup { user, database, settings })
}

fn setting(name: &str, value: String, settings: &mut Vec<(String, String)>) -> Result<(), Refused> {
    if name.eq_ignore_ascii_case("client_encoding") {
        return if is_utf8(&value) { Ok(()) } else { Err(Refused::Encoding { value: shortened(&value) }) };
    }
    settings.push((name.to_owned(), value));
    Ok(())
}

/// PostgreSQL compares encoding names by their letters and digits, whatever their case (`pg_char_to_encoding`);
/// asyncpg sends quotes around it.
fn is_utf8(value: &str) -> bool {
    let letters: String = value.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    matches!(letters.as_str(), "utf8" | "unicode")
}

/// `application_name` as PostgreSQL keeps it: printable ASCII, the rest as `?`, at most 63 characters.
fn printable_name(value: &str) -> String {
    value.chars().take(63).map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}

/// For an error message: a name or value the client sent, bounded and printable.
fn shortened(text: &str) -> String {
    printable_name(text)
}

/// `-c name=value`, `-cname=value` and `--name=value`, split as PostgreSQL's `pg_split_opts` does: at white
/// space, where a backslash keeps the next character.
fn options(text: &str) -> Result<Vec<(String, String)>, Refused> {
    let mut words = split_options(text).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let assignment = if word == "-c" {
            words.next().unwrap_or_default()
        } else if let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            rest.to_owned()
        } else {
            return Err(Refused::Option { word: shortened(&word) });
        };
        match assignment.split_once('=') {
            // PostgreSQL takes `--search-path=x` for `search_path`.
            Some((name, value)) => settings.push((name.replace('-', "_"), value.to_owned())),
            None => return Err(Refused::Option { word: shortened(&assignment) }),
        }
    }
    Ok(settings)
}

fn split_options(text: &str) -> Vec<String> {
    let (mut words, mut word, mut escaped) = (Vec::new(), None::<String>, false);
    for c in text.chars() {
        match c {
            '\\' if !escaped => {
                escaped = true;
                word.get_or_insert_default();
                continue;
            }
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' if !escaped => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
        escaped = false;
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(code: u32, body: &[u8]) -> Result<Packet, Refused> {
        decode(&[&code.to_be_bytes(), body].concat())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn settled(name: &str, value: &str) -> Result<Vec<(String, String)>, Refused> {
        settle(pairs(&[("user", "ada"), (name, value)])).map(|startup| startup.settings)
    }

    #[test]
    fn each_kind_of_first_packet_is_known_by_its_code() {
        assert_eq!(packet(SSL_REQUEST, b""), Ok(Packet::Tls));
        assert_eq!(packet(GSSENC_REQUEST, b""), Ok(Packet::Gss));
        assert_eq!(packet(CANCEL_REQUEST, &[0, 0, 0, 9, 0, 0, 0, 7]), Ok(Packet::Cancel { process_id: 9, secret: [0, 0, 0, 7].into() }));
        let Ok(Packet::Startup(plain)) = packet(3 << 16, b"user\0ada\0\0") else { panic!() };
        assert_eq!(
            plain,
            StartupMessage { minor: 0, negotiate: false, protocol_options: Vec::new(), parameters: pairs(&[("user", "ada")]) }
        );
        let Ok(Packet::Startup(newer)) = packet((3 << 16) + 2, b"user\0ada\0_pq_.x\0on\0\0") else { panic!() };
        assert!(newer.negotiate && newer.protocol_options == ["_pq_.x"]);
    }

    #[test]
    fn what_is_not_a_first_packet_is_refused() {
        for (code, body) in [
            (SSL_REQUEST, &b"x"[..]),
            (CANCEL_REQUEST, b"1234"),
            (CANCEL_REQUEST, b"1234567"),
            (CANCEL_REQUEST, &[7; 4 + 257]),
            (2 << 16, b"user\0ada\0\0"),
            (4 << 16, b""),
            (3 << 16, b""),
            (3 << 16, b"user\0ada\0"),
            (3 << 16, b"user\0ada"),
            (3 << 16, b"user\0ada\0\0x"),
            (3 << 16, b"user\0\xff\0\0"),
        ] {
            assert!(packet(code, body).is_err(), "{code} {body:?}");
        }
        assert!(decode(b"abc").is_err());
    }

    #[test]
    fn settings_are_taken_in_order() {
        assert_eq!(settled("timezone", "UTC"), Ok(pairs(&[("timezone", "UTC")])));
        for encoding in ["UTF8", "utf-8", "'utf-8'", "unicode"] {
            assert_eq!(settled("client_encoding", encoding), Ok(Vec::new()), "{encoding}");
        }
        assert!(matches!(settled("client_encoding", "SQL_ASCII"), Err(Refused::Encoding { .. })));
        for wanted in ["database", "true", "1", "", "maybe"] {
            assert!(matches!(settled("replication", wanted), Err(Refused::Replication)), "{wanted}");
        }
        assert_eq!(settled("replication", "false"), Ok(Vec::new()));
        let expected = pairs(&[("search_path", "a, b"), ("statement_timeout", "5s"), ("TimeZone", "UTC")]);
        assert_eq!(settled("options", r" -c search_path=a,\ b --statement-timeout=5s  -cTimeZone=UTC"), Ok(expected));
        assert!(matches!(settled("options", "-c client_encoding=latin1"), Err(Refused::Encoding { .. })));
        for options in ["-c", "-c x", "-d 5", "--x", "-W", "x=1"] {
            assert!(matches!(settled("options", options), Err(Refused::Option { .. })), "{options}");
        }
    }

    #[test]
    fn the_database_defaults_to_the_user() {
        assert_eq!(settle(pairs(&[("user", "ada")])).unwrap().database, "ada");
        assert_eq!(settle(pairs(&[("database", "d")])), Err(Refused::NoUser));
        assert_eq!(settle(pairs(&[("user", "")])), Err(Refused::NoUser));
        assert!(settle(pairs(&[("user", "a\nb")])).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(decode(&bytes));
            drop(packet(3 << 16, &bytes));
        }

        #[test]
        fn no_parameters_make_it_panic(names in proptest::collection::vec("[a-zA-Z_.\\-=]{0,12}|options|user", 0..6), value in ".{0,40}") {
            let mut body = Vec::new();
            for name in &names {
                body.extend_from_slice(name.as_bytes());
                body.push(0);
                body.extend_from_slice(value.replace('\0', " ").as_bytes());
                body.push(0);
            }
            body.push(0);
            if let Ok(Packet::Startup(message)) = packet(3 << 16, &body)
                && let Ok(startup) = settle(message.parameters)
            {
                prop_assert!(startup.settings.iter().all(|(name, _)| name != "replication"));
            }
        }
    }
}

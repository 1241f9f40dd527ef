//! A message in words: all of it, but what is a server's own (OIDs of its tables, places in its code, hints).

use crate::support::Message;

/// One line for a message; `None` for what PostgreSQL has no counterpart of.
pub(crate) fn line(message: &Message) -> Option<String> {
    let mut body = Reader(&message.body);
    Some(match message.tag {
        b'1' => "ParseComplete".to_owned(),
        b'2' => "BindComplete".to_owned(),
        b'3' => "CloseComplete".to_owned(),
        b'n' => "NoData".to_owned(),
        b'I' => "EmptyQueryResponse".to_owned(),
        b's' => "PortalSuspended".to_owned(),
        b'c' => "CopyDone".to_owned(),
        b'C' => format!("CommandComplete {}", body.string()),
        b'Z' => format!("ReadyForQuery {}", char::from(body.byte())),
        b'd' => format!("CopyData {}", quoted(&message.body)),
        b'H' => {
            let format = body.byte();
            let columns: Vec<String> = (0..body.int16()).map(|_| body.int16().to_string()).collect();
            format!("CopyOutResponse {format} [{}]", columns.join(" "))
        }
        b't' => {
            let types: Vec<String> = (0..body.int16()).map(|_| body.int32().to_string()).collect();
            format!("ParameterDescription {}", types.join(" "))
        }
        b'T' => {
            let columns: Vec<String> = (0..body.int16()).map(|_| body.column()).collect();
            format!("RowDescription {}", columns.join(" "))
        }
        b'D' => {
            let values: Vec<String> = (0..body.int16()).map(|_| body.value()).collect();
            format!("DataRow {}", values.join(" "))
        }
        b'S' => {
            let (name, value) = (body.string(), body.string());
            if name.starts_with("pgwicket.") {
                return None;
            }
            format!("ParameterStatus {name}={value}")
        }
        b'E' => format!("ErrorResponse {}", fields(message)),
        b'N' => format!("NoticeResponse {}", fields(message)),
        b'v' => {
            let minor = body.int32();
            let options: Vec<String> = (0..body.int32()).map(|_| body.string()).collect();
            format!("NegotiateProtocolVersion {minor} [{}]", options.join(" "))
        }
        b'R' => format!("Authentication {}", body.int32()),
        b'K' => format!("BackendKeyData, {} bytes of key", message.body.len() - 4),
        other => format!("{} {}", char::from(other), quoted(&message.body)),
    })
}

/// The fields that a client branches on or shows, hints aside.
fn fields(message: &Message) -> String {
    let field = |code: char| message.field(code).unwrap_or_default();
    let mut text = format!("{} {} {}", field('V'), field('C'), field('M'));
    for (code, name) in [('D', "detail"), ('P', "position")] {
        if let Some(value) = message.field(code) {
            text.extend([", ", name, " ", &value]);
        }
    }
    text
}

fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap();
        self.0 = rest;
        *byte
    }

    fn int16(&mut self) -> i16 {
        i16::from_be_bytes([self.byte(), self.byte()])
    }

    fn int32(&mut self) -> i32 {
        i32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    fn string(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap();
        let text = String::from_utf8_lossy(&self.0[..end]).into_owned();
        self.0 = &self.0[end + 1..];
        text
    }

    /// Name, type, length, modifier, format; the table and its column are a server's own.
    fn column(&mut self) -> String {
        let name = self.string();
        self.int32();
        self.int16();
        let (oid, length, modifier, format) = (self.int32(), self.int16(), self.int32(), self.int16());
        format!("{name}:{oid}:{length}:{modifier}:{format}")
    }

    fn value(&mut self) -> String {
        let Ok(length) = usize::try_from(self.int32()) else { return "null".to_owned() };
        let (value, rest) = self.0.split_at(length);
        self.0 = rest;
        quoted(value)
    }
}

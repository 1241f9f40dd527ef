//! Moving a cursor that was declared in the connection's transaction.

use crate::{
    govern::cursor_name,
    sql::{Direction, FetchStep},
    wire::MessageWriter,
};

use super::{Connection, connection::Expect};

impl Connection {
    /// Queues a FETCH or MOVE of the cursor with this number: answered by one [`super::Event::Prepared`], BindComplete, rows and
    /// CommandComplete, or PortalSuspended after `max_rows` when that is not 0. It runs in this portal, and carries no text of a client.
    pub fn fetch(&mut self, cursor: u32, step: FetchStep, result_formats: &[i16], (portal, max_rows): (&str, i32)) {
        if self.skips() {
            return;
        }
        self.queue_parse("", &text(cursor, step), &[]);
        self.unnamed = None;
        self.expect(Expect::Parse { number: None, told: true });
        let mut bind = MessageWriter::new(self.channel.outgoing(), b'B').string(portal).string("").int16(0).int16(0);
        bind = bind.int16(i16::try_from(result_formats.len()).unwrap_or(0));
        for code in result_formats {
            bind = bind.int16(*code);
        }
        bind.finish();
        self.expect(Expect::Bind);
        self.execute(portal, max_rows);
    }

    /// Queues Execute of the cursor with this number as the portal that it is: answered by rows, then CommandComplete or
    /// PortalSuspended.
    pub fn execute_cursor(&mut self, cursor: u32, max_rows: i32) {
        self.execute(&cursor_name(cursor), max_rows);
    }
}

fn text(cursor: u32, step: FetchStep) -> String {
    let verb = if step.moves { "MOVE" } else { "FETCH" };
    let direction = match step.direction {
        Direction::Forward => "FORWARD",
        Direction::Backward => "BACKWARD",
        Direction::Absolute => "ABSOLUTE",
        Direction::Relative => "RELATIVE",
    };
    let count = step.count.map_or_else(|| "ALL".to_owned(), |count| count.to_string());
    format!("{verb} {direction} {count} FROM {}", cursor_name(cursor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Fetch, Statement, classify};

    #[test]
    fn what_is_sent_says_what_was_asked() {
        for asked in
            ["fetch c", "fetch prior c", "fetch first c", "fetch last c", "move all c", "fetch backward all c", "fetch relative -2 c"]
        {
            let Ok(Statement::Fetch(Fetch { step, .. })) = classify(asked) else { panic!("{asked}") };
            let Ok(Statement::Fetch(sent)) = classify(&text(7, step)) else { panic!("{}", text(7, step)) };
            assert_eq!((sent.name.as_str(), sent.step), ("pgwicket_cursor_7", step), "{asked}");
        }
    }
}

//! What a client is told of a statement's parameters and columns: the source's description, in terms of what the virtual
//! catalog shows, less what else names the source's own objects.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::{BufMut as _, BytesMut};

use super::bind::Formats;
use crate::{
    policy::Visible,
    sql::catalog::{FIRST_NORMAL_OID, Oid},
    types::SourceName,
    wire::MessageWriter,
};

/// `text`: what types that are not built in travel as.
const TEXT: Oid = 25;

/// The description of a statement, as messages ready to send.
#[derive(Debug, Default)]
pub(super) struct Description {
    parameters: Box<[u8]>,
    parameter_types: Box<[Oid]>,
    /// Which parameters are text to the client whatever they are at the source; empty when none is.
    foreign_parameters: Box<[bool]>,
    row: Option<RowShape>,
    shape: u64,
}

#[derive(Debug)]
struct RowShape {
    /// The RowDescription message with every format code text.
    message: Box<[u8]>,
    /// Where each column's format code stands in it.
    formats: Box<[usize]>,
    /// Which columns are sent as text whatever the client asks; empty when none is.
    foreign: Box<[bool]>,
    /// The columns' types at the source.
    types: Box<[Oid]>,
}

/// What of a source's description means something to the client.
#[derive(Debug, Clone, Copy)]
pub(super) enum Terms<'a> {
    /// Nothing but built-in types: there is no catalog to ask about others.
    BuiltIn,
    /// What the virtual catalog shows of this source; relations are those of the statement.
    Shown {
        /// What the agent sees.
        visible: &'a Visible,
        /// Whose description it is.
        source: &'a SourceName,
        /// Alias names.
        relations: &'a [Box<str>],
    },
    /// Everything: it is the catalog's own description.
    Catalog,
}

impl Terms<'_> {
    fn knows_type(self, oid: Oid) -> bool {
        match self {
            Self::BuiltIn => oid < FIRST_NORMAL_OID,
            Self::Shown { visible, source, .. } => oid < FIRST_NORMAL_OID || visible.shows_type(source, oid),
            Self::Catalog => true,
        }
    }

    /// Table OID and attribute number; zero, as for any expression, where there is none to tell.
    fn column(self, table: Oid, number: i16) -> (Oid, i16) {
        match self {
            Self::BuiltIn => (0, 0),
            Self::Shown { visible, source, relations } => visible.place(source, table, number, relations).unwrap_or_default(),
            Self::Catalog => (table, number),
        }
    }
}

/// A description of the source that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source's description of a statement is malformed")]
pub(super) struct Malformed;

impl Description {
    /// From the bodies of ParameterDescription and RowDescription (`None`: NoData), keeping the first
    /// `client_parameters` parameters: those that pgwicket appended are not the client's to see.
    pub(super) fn read(parameters: &[u8], row: Option<&[u8]>, client_parameters: usize, terms: Terms<'_>) -> Result<Self, Malformed> {
        let types: Vec<Oid> = oids(parameters).ok_or(Malformed)?.take(client_parameters).collect();
        if types.len() != client_parameters {
            return Err(Malformed);
        }
        let mut message = BytesMut::new();
        let count = u16::try_from(types.len()).map_err(|_too_many| Malformed)?;
        let mut writer = MessageWriter::new(&mut message, b't').bytes(&count.to_be_bytes());
        for oid in &types {
            let told = if terms.knows_type(*oid) { *oid } else { TEXT };
            writer = writer.bytes(&told.to_be_bytes());
        }
        writer.finish();
        let mut description = Self {
            shape: 0,
            parameters: message.as_ref().into(),
            foreign_parameters: flags(types.iter().map(|oid| !terms.knows_type(*oid)).collect()),
            parameter_types: types.into(),
            row: row.map(|body| RowShape::read(body, terms)).transpose()?,
        };
        let mut hasher = DefaultHasher::new();
        (description.columns_without_place(), description.result_types(), &description.parameters).hash(&mut hasher);
        description.shape = hasher.finish();
        Ok(description)
    }

    /// A digest of it. Descriptions that a client cannot tell from each other have the same, but for the types at the source.
    pub(super) fn shape(&self) -> u64 {
        self.shape
    }

    /// The ParameterDescription message.
    pub(super) fn parameters(&self) -> &[u8] {
        &self.parameters
    }

    /// The types of the client's parameters at the source.
    pub(super) fn parameter_types(&self) -> &[Oid] {
        &self.parameter_types
    }

    /// The types of its columns at the source.
    pub(super) fn result_types(&self) -> &[Oid] {
        self.row.as_ref().map_or(&[], |row| &row.types)
    }

    /// How many columns it returns.
    pub(super) fn columns(&self) -> usize {
        self.row.as_ref().map_or(0, |row| row.formats.len())
    }

    /// The columns' names.
    pub(super) fn column_names(&self) -> Vec<Box<str>> {
        let mut rest = self.row_body().get(2..).unwrap_or_default();
        let mut names = Vec::with_capacity(self.columns());
        while let Some(end) = rest.iter().position(|byte| *byte == 0) {
            names.push(String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into());
            rest = rest.get(end + 19..).unwrap_or_default();
        }
        names
    }

    /// The body of RowDescription with text formats, for evidence; empty when there are no columns.
    pub(super) fn row_body(&self) -> &[u8] {
        self.row.as_ref().and_then(|row| row.message.get(5..)).unwrap_or_default()
    }

    /// Writes RowDescription with the formats the client asked for, or NoData.
    pub(super) fn write_row(&self, asked: &[i16], out: &mut BytesMut) {
        let Some(row) = &self.row else {
            MessageWriter::new(out, b'n').finish();
            return;
        };
        let start = out.len();
        out.put_slice(&row.message);
        for (index, place) in row.formats.iter().enumerate() {
            let code = code_of(asked, index);
            if code != 0
                && let Some(field) = out.get_mut(start + place..start + place + 2)
            {
                field.copy_from_slice(&code.to_be_bytes());
            }
        }
    }

    /// The result formats to ask the source for: the client's, but text for types that are not built in.
    pub(super) fn result_formats(&self, asked: Formats<'_>, out: &mut Vec<i16>) {
        out.clear();
        out.extend(asked.iter());
        force_text(self.row.as_ref().map_or(&[][..], |row| &row.foreign), out);
    }

    /// The parameter formats to tell the source, by the same rule.
    pub(super) fn parameter_formats(&self, given: Formats<'_>, out: &mut Vec<i16>) {
        out.clear();
        out.extend(given.iter());
        force_text(&self.foreign_parameters, out);
    }

    /// Whether a client that knows one description may be answered by the other: which table a column comes from may change,
    /// as it does in PostgreSQL with the search path.
    pub(super) fn same_result(&self, other: &Self) -> bool {
        self.columns_without_place() == other.columns_without_place() && self.parameters == other.parameters
    }

    /// Each column's name and what says how its values are sent.
    fn columns_without_place(&self) -> Vec<(&[u8], &[u8])> {
        let mut rest = self.row_body().get(2..).unwrap_or_default();
        let mut columns = Vec::with_capacity(self.columns());
        while let Some((name, after)) = rest.iter().position(|byte| *byte == 0).and_then(|end| rest.split_at_checked(end + 1)) {
            let Some((fields, after)) = after.split_at_checked(18) else { break };
            columns.push((name, fields.get(6..).unwrap_or_default()));
            rest = after;
        }
        columns
    }
}

impl RowShape {
    fn read(body: &[u8], terms: Terms<'_>) -> Result<Self, Malformed> {
        let (count, mut rest) = body.split_first_chunk::<2>().ok_or(Malformed)?;
        let mut message = BytesMut::with_capacity(body.len() + 5);
        let mut writer = MessageWriter::new(&mut message, b'T').bytes(count);
        let mut place = 5 + 2;
        let (mut formats, mut foreign, mut types) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..u16::from_be_bytes(*count) {
            let end = rest.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
            let (name, after) = rest.split_at_checked(end + 1).ok_or(Malformed)?;
            let (fields, after) = after.split_first_chunk::<18>().ok_or(Malformed)?;
            let [r0, r1, r2, r3, n0, n1, t0, t1, t2, t3, type_fields @ .., _, _] = fields;
            let of = Oid::from_be_bytes([*t0, *t1, *t2, *t3]);
            let is_foreign = !terms.knows_type(of);
            types.push(of);
            let (table, number) = terms.column(Oid::from_be_bytes([*r0, *r1, *r2, *r3]), i16::from_be_bytes([*n0, *n1]));
            writer = writer.bytes(name).bytes(&table.to_be_bytes()).int16(number);
            writer = if is_foreign {
                writer.bytes(&TEXT.to_be_bytes()).int16(-1).int32(-1)
            } else {
                writer.bytes(&[*t0, *t1, *t2, *t3]).bytes(type_fields)
            };
            writer = writer.int16(0);
            place += name.len() + 18;
            formats.push(place - 2);
            foreign.push(is_foreign);
            rest = after;
        }
        writer.finish();
        if !rest.is_empty() {
            return Err(Malformed);
        }
        Ok(Self { message: message.as_ref().into(), formats: formats.into(), foreign: flags(foreign), types: types.into() })
    }
}

/// Flags, or none when none is set.
fn flags(flags: Vec<bool>) -> Box<[bool]> {
    if flags.contains(&true) { flags.into() } else { Box::default() }
}

/// Spells the format codes out, text where a flag is set.
fn force_text(foreign: &[bool], codes: &mut Vec<i16>) {
    if !foreign.is_empty() && codes.contains(&1) {
        let spelled = foreign.iter().enumerate().map(|(index, foreign)| if *foreign { 0 } else { code_of(codes, index) }).collect();
        *codes = spelled;
    }
}

fn code_of(codes: &[i16], index: usize) -> i16 {
    match codes {
        [] => 0,
        [all] => *all,
        each => each.get(index).copied().unwrap_or(0),
    }
}

fn oids(body: &[u8]) -> Option<impl Iterator<Item = Oid>> {
    let (count, rest) = body.split_first_chunk::<2>()?;
    if rest.len() != usize::from(u16::from_be_bytes(*count)) * 4 {
        return None;
    }
    Some(rest.chunks_exact(4).map(|oid| oid.try_into().map_or(0, Oid::from_be_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, oid: Oid) -> Vec<u8> {
        let mut bytes = name.as_bytes().to_vec();
        bytes.extend_from_slice(b"\0\0\0\x40\x01\0\x03");
        bytes.extend_from_slice(&oid.to_be_bytes());
        bytes.extend_from_slice(b"\0\x04\xff\xff\xff\xff\0\0");
        bytes
    }

    #[test]
    fn what_names_the_sources_objects_is_taken_out() {
        let row = [&b"\0\x02"[..], &column("id", 23), &column("status", 16_500)].concat();
        let description = Description::read(b"\0\x02\0\0\0\x17\0\0\0\x19", Some(&row), 1, Terms::BuiltIn).unwrap();
        assert_eq!(description.parameters(), b"t\0\0\0\x0a\0\x01\0\0\0\x17", "the appended parameter is not told");
        let mut out = BytesMut::new();
        description.write_row(&[1], &mut out);
        let expected =
            b"\0\x02id\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01status\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\x01";
        assert_eq!(&out[5..], expected);
        let mut formats = Vec::new();
        description.result_formats(Formats::new(b"\0\x01"), &mut formats);
        assert_eq!(formats, [1, 0], "an enum is fetched as text, which is the binary form of type text too");
    }

    #[test]
    fn the_catalogs_own_description_stays_as_it_is() {
        let row = [&b"\0\x01"[..], &column("oid", 16_500)].concat();
        let description = Description::read(b"\0\0", Some(&row), 0, Terms::Catalog).unwrap();
        assert_eq!(description.row_body(), row, "table, number and type");
        let none = Visible::default();
        let source = "db".parse().unwrap();
        let shown = Terms::Shown { visible: &none, source: &source, relations: &[] };
        let description = Description::read(b"\0\0", Some(&row), 0, shown).unwrap();
        assert_eq!(&description.row_body()[6..16], b"\0\0\0\0\0\0\0\0\0\x19", "what the catalog does not show is text from nowhere");
    }

    #[test]
    fn a_result_is_the_same_when_it_comes_from_another_table() {
        let described = |name: &str, oid: Oid, table: u8| {
            let mut row = [&b"\0\x01"[..], &column(name, oid)].concat();
            row[2 + name.len() + 4] = table;
            Description::read(b"\0\0", Some(&row), 0, Terms::Catalog).unwrap()
        };
        let one = described("id", 23, 1);
        assert!(one.row_body() != described("id", 23, 2).row_body());
        assert!(one.same_result(&described("id", 23, 2)));
        assert!(!one.same_result(&described("id", 25, 1)));
        assert!(!one.same_result(&described("it", 23, 1)));
    }

    #[test]
    fn a_malformed_description_is_refused() {
        assert!(Description::read(b"\0\x01", None, 0, Terms::BuiltIn).is_err());
        assert!(Description::read(b"\0\0", None, 1, Terms::BuiltIn).is_err());
        assert!(Description::read(b"\0\0", Some(b"\0\x01id"), 0, Terms::BuiltIn).is_err());
        assert_eq!(Description::read(b"\0\0", None, 0, Terms::BuiltIn).unwrap().columns(), 0);
    }
}

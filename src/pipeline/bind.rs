//! What a client's Bind message says, still in its own bytes.

/// A Bind message whose counts and lengths have been checked.
#[derive(Debug, Clone, Copy)]
pub struct Bind<'a> {
    /// The portal to make; empty is the unnamed one.
    pub portal: &'a str,
    /// The prepared statement; empty is the unnamed one.
    pub statement: &'a str,
    /// Parameter formats as sent: none, one for all, or one each.
    pub formats: Formats<'a>,
    /// The parameter values.
    pub parameters: Parameters<'a>,
    /// Result formats as asked: none, one for all, or one each.
    pub results: Formats<'a>,
}

/// A list of format codes, each 0 (text) or 1 (binary), as 16-bit integers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Formats<'a> {
    codes: &'a [u8],
}

impl<'a> Formats<'a> {
    /// Codes as they came: two bytes each.
    pub fn new(codes: &'a [u8]) -> Self {
        Self { codes }
    }

    /// How many were given.
    pub fn len(self) -> usize {
        self.codes.len() / 2
    }

    /// Whether none was given, which means text for all.
    pub fn is_empty(self) -> bool {
        self.codes.is_empty()
    }

    /// The codes in order.
    pub fn iter(self) -> impl Iterator<Item = i16> + 'a {
        self.codes.chunks_exact(2).map(|code| code.try_into().map_or(0, i16::from_be_bytes))
    }

    /// The code that applies to the value at `index` by PostgreSQL's rule: none is text, one is for all.
    pub fn of(self, index: usize) -> i16 {
        let place = if self.len() == 1 { 0 } else { index };
        self.iter().nth(place).unwrap_or(0)
    }
}

/// Parameter values: a count, and for each a 32-bit length (-1 is NULL) and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parameters<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Parameters<'a> {
    /// Values whose lengths the decoder has checked against `bytes`.
    pub fn new(count: usize, bytes: &'a [u8]) -> Self {
        Self { count, bytes }
    }

    /// How many.
    pub fn len(self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// Lengths and values as they came.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The values in order; `None` is NULL.
    pub fn iter(self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let mut rest = self.bytes;
        (0..self.count).map_while(move |_| {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                rest = after;
                return Some(None);
            };
            let (value, after) = after.split_at_checked(length)?;
            rest = after;
            Some(Some(value))
        })
    }
}

//! Why a statement is not forwarded.

/// A refusal: what was refused, by which rule, and what to do instead. Holds no secret and no hidden name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// SQLSTATE for the client.
    pub code: RefusalCode,
    /// Lower case, no full stop.
    pub message: String,
    /// More, when it helps.
    pub detail: Option<String>,
    /// What to do instead.
    pub hint: Option<String>,
    /// 1-based character position in the client's text.
    pub position: Option<usize>,
}

/// The SQLSTATEs that governing answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCode {
    /// 42601 `syntax_error`
    Syntax,
    /// 42501 `insufficient_privilege`
    Denied,
    /// 0A000 `feature_not_supported`
    Unsupported,
    /// 25006 `read_only_sql_transaction`
    ReadOnly,
    /// 42P01 `undefined_table`
    UndefinedTable,
    /// 3F000 `invalid_schema_name`
    UndefinedSchema,
    /// 42703 `undefined_column`
    UndefinedColumn,
    /// 42883 `undefined_function`
    UndefinedFunction,
    /// 42704 `undefined_object`
    UndefinedObject,
    /// 42804 `datatype_mismatch`
    DatatypeMismatch,
    /// 23502 `not_null_violation`
    NotNull,
    /// 23503 `foreign_key_violation`
    ForeignKey,
    /// 23505 `unique_violation`
    Unique,
    /// 23514 `check_violation`
    Check,
    /// 428C9 `generated_always`
    Generated,
    /// 42701 `duplicate_column`
    DuplicateColumn,
    /// 42809 `wrong_object_type`
    WrongObjectType,
    /// 42P10 `invalid_column_reference`
    InvalidColumnReference,
    /// 55000 `object_not_in_prerequisite_state`
    ObjectState,
    /// 21000 `cardinality_violation`
    Cardinality,
    /// 22001 `string_data_right_truncation`
    TooLong,
    /// 22026 `string_data_length_mismatch`
    Length,
    /// 23P01 `exclusion_violation`
    Exclusion,
    /// 2202H `invalid_tablesample_argument`
    SampleArgument,
    /// 2202G `invalid_tablesample_repeat`
    SampleRepeat,
    /// 53400 `configuration_limit_exceeded`
    Limit,
    /// 54001 `statement_too_complex`
    TooComplex,
    /// XX000 `internal_error`: the verifier did not pass what the rewriter made
    Unverified,
}

impl RefusalCode {
    /// The five characters.
    pub fn sqlstate(self) -> &'static str {
        match self {
            Self::Syntax => "42601",
            Self::Denied => "42501",
            Self::Unsupported => "0A000",
            Self::ReadOnly => "25006",
            Self::UndefinedTable => "42P01",
            Self::UndefinedSchema => "3F000",
            Self::UndefinedColumn => "42703",
            Self::UndefinedFunction => "42883",
            Self::UndefinedObject => "42704",
            Self::DatatypeMismatch => "42804",
            Self::NotNull => "23502",
            Self::ForeignKey => "23503",
            Self::Unique => "23505",
            Self::Check => "23514",
            Self::Generated => "428C9",
            Self::DuplicateColumn => "42701",
            Self::WrongObjectType => "42809",
            Self::InvalidColumnReference => "42P10",
            Self::ObjectState => "55000",
            Self::Cardinality => "21000",
            Self::TooLong => "22001",
            Self::Length => "22026",
            Self::Exclusion => "23P01",
            Self::SampleArgument => "2202H",
            Self::SampleRepeat => "2202G",
            Self::Limit => "53400",
            Self::TooComplex => "54001",
            Self::Unverified => "XX000",
        }
    }
}

impl Refusal {
    /// A refusal without detail, hint and position.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: None, hint: None, position: None }
    }

    /// 0A000 for what is not supported.
    pub fn unsupported(what: impl AsRef<str>) -> Self {
        Self::new(RefusalCode::Unsupported, format!("{} is not supported", what.as_ref()))
    }

    /// 54001 for what is deeper or longer than the bounds.
    pub fn too_complex() -> Self {
        Self::new(RefusalCode::TooComplex, "statement is too complex")
            .hint("split it: fewer nested subqueries, shorter chains of operators (concat(a, b, …) instead of a || b || …), fewer joins, fewer parts of UNION ALL")
    }

    /// Adds what to do instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds more.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same about a text that stands after so many characters of the client's.
    #[must_use]
    pub fn after(self, characters: usize) -> Self {
        Self { position: self.position.map(|position| position + characters), ..self }
    }

    /// Adds the 1-based character position in the client's text.
    #[must_use]
    pub fn at(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }
}

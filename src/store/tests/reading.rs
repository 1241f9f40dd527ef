//! Lists and what is malformed in them.

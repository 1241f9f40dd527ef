//! Decisions by reviewers, proposers and time.

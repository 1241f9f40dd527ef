//! Whether a statement's qual positions are leakproof, and which conjuncts may be copied inside a fence.
//!
//! SECURITY.md, "The planner leak, and the fence": the planner may run any expression of a qual position
//! on a row before it has checked the tenant predicate. Safe positions are the outermost select list, GROUP
//! BY, ORDER BY, aggregate and window arguments, and arguments of functions in FROM: they run on rows that
//! passed. Everything else is a qual position, whether it reads a governed column or not: PostgreSQL runs an
//! operand when the first row gets to it. What is not proven there to raise nothing is a doubt, and a doubt is fenced.

mod collation;
mod correlated;
mod expression;
mod extremes;
mod level;
mod planned;
mod printer;
mod quiet;
mod reads;
mod resolve;
mod shapes;
mod total;
mod typing;

pub(in crate::govern) use level::analyze;

#[cfg(test)]
mod tests;

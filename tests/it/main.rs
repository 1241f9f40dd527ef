//! Tests against real servers: PostgreSQL 15 as the source, the built `pgwicket` in front of it, real
//! clients before it. One binary, so that one PostgreSQL cluster serves every test (see [`support`]).
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on must fail here and now")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the doors are closed to the product, not to what looks at it from outside"
)]

mod apply;
mod assigning;
mod attack;
mod catalog;
mod changing;
mod channels;
mod crash;
mod dataset;
mod drivers;
mod estimation;
mod evidence;
mod extensions;
mod fuzz;
mod generated;
mod generator;
mod identity;
mod indexes;
mod interleaved;
mod keys;
mod large;
mod large_proposals;
mod leakproof;
mod many;
mod meaning;
mod noninterference;
mod openapi;
mod operations;
mod oracle;
mod outage;
mod policies;
mod proposing;
mod prove;
mod redteam;
mod reviewing;
mod samples;
mod settings;
mod sqlsmith;
mod stalled;
mod storing;
mod story;
mod support;
mod tidy;
mod versions;
mod wire;
mod worker;
mod writes;

//! COPY … TO STDOUT: a governed read whose rows are told in COPY's formats.
//!
//! The read is forwarded as any other, with the tenant as a bind parameter; what COPY adds is how rows are written, and
//! that is done here (docs/decisions/0010-copy.md).

mod format;
mod options;

pub(super) use format::CopyOut;

use std::rc::Rc;

use super::{
    bind::{Formats, Parameters},
    plan::{Action, Plan},
    queue::Tell,
    session::{Interrupts, Session},
    upstream::Failure,
};
use crate::{error::Error, source::SourceError, sql::Copy};
use options::Options;

/// What is wrong with the options, before anything is decided.
pub(super) fn check(copy: &Copy) -> Result<(), Error> {
    Ok(Options::read(&copy.options).map(drop)?)
}

impl<I: Interrupts> Session<I> {
    /// One COPY. Everything before it has been settled.
    pub(super) async fn copy(&mut self, plan: &Rc<Plan>) -> Result<(), Failure> {
        let Action::Copy(copy, governed) = plan.action() else { return Err(SourceError::NotPrepared.into()) };
        self.ask_source(plan).await?;
        let description = plan.description().ok_or(SourceError::NotPrepared)?;
        let writer = CopyOut::new(Options::read(&copy.options)?, description.column_names())?;
        self.ready_for(governed).await?;
        self.drain().await?;
        if self.skipping {
            return Err(Failure::PassedOver);
        }
        let code = writer.code();
        self.formats.0.clear();
        description.result_formats(Formats::new(&code.to_be_bytes()), &mut self.formats.1);
        let portal = self.names.new_portal("")?;
        let mut open = self.decide(plan, Some((Parameters::default(), &Rc::from([code]))))?;
        open.copy = Some(Box::new(writer));
        let reading = self.reading(plan);
        if let Err(error) = self.queue_bind(plan, portal, Parameters::default(), Tell::Nobody, &reading) {
            self.close_failed(open, Some(&error));
            return Err(error.into());
        }
        self.queue_execute(portal, Some(open), 0);
        Ok(self.drain().await?)
    }
}

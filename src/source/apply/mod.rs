//! The door for writes: an approved change, applied in one transaction on a connection with the write credential.
//!
//! Every change is one guarded statement on one row: key, tenant, and the text form of every before-image as it was read.
//! A row of the receipt table goes with it, in the same transaction, so that no retry, no second worker and no lost answer
//! applies a proposal twice; and a worker that gives a proposal up leaves a receipt too, so that no other applies it later.

#![expect(clippy::disallowed_types, reason = "this is the door for writes")]

mod failure;
mod receipt;
mod session;
mod statement;

use std::{fmt, time::Duration};

use tokio::time::timeout;
use tokio_postgres::Client;

use crate::{
    policy::{ApprovedChange, Guards, Receipts},
    proposal::{Content, Operation, Outcome, RowChange, Target},
    types::{Digest, ProposalId, TenantId},
};

pub(crate) use failure::BETWEEN_ROWS;
pub use failure::{Failure, Undecided};
pub use receipt::{RECEIPTS_SCHEMA, migration};

use super::{SourceAddress, SourceError, connect::Connector};
use receipt::{Receipt, ReceiptTable};
use session::Session;
use statement::{Statement, delete_statement, insert_statement, read_statement, reference_statement, update_statement};

/// Statements that are under way at once within a transaction.
const PIPELINE: usize = 16;

/// How an attempt to apply ended, for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Every row was changed, in one committed transaction.
    Applied {
        /// Rows.
        rows: u64,
        /// An earlier attempt had done it; this one found its receipt.
        before: bool,
    },
    /// Rows were not as they were read. Nothing was changed.
    Conflict {
        /// What differed; empty when an earlier attempt found it.
        differences: Vec<Difference>,
    },
    /// The source refused it. Nothing was changed.
    Failed(Failure),
}

/// A row that is not as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which change of the proposal, counted from 0.
    pub change: usize,
    /// What is different.
    pub what: Divergence,
}

/// How a row is not as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Divergence {
    /// There is no such row of this tenant, or none that passes the row filter.
    Gone,
    /// A new row's key, or another unique value of it, is taken.
    Taken,
    /// A column has another value.
    Column {
        /// The column.
        column: Box<str>,
        /// Its text form when it was read; `None` is NULL.
        expected: Option<Box<str>>,
        /// Its text form now.
        found: Option<Box<str>>,
    },
}

/// How a source is written to.
#[derive(Debug, Clone)]
pub struct ApplyOptions {
    /// Schema of the table `pgwicket_receipts`.
    pub receipts_schema: Box<str>,
    /// The worker's name, for receipts.
    pub worker: Box<str>,
    /// How long one attempt may take, from connecting to the answer to COMMIT.
    pub limit: Duration,
}

/// Applies approved changes to one source, one at a time.
pub struct Applier {
    connector: Connector,
    options: ApplyOptions,
    session: Option<Session>,
}

impl fmt::Debug for Applier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applier").field("connected", &self.session.is_some()).finish_non_exhaustive()
    }
}

/// How the statements of a change ended, before COMMIT.
enum Run {
    Done(u64),
    Ended(Ending),
    /// A row that is as it was read was not changed: a trigger or a rule, or it was another for a moment.
    Suppressed,
    /// A row refers to one that is not there yet, or is referred to by one that is still there.
    Disordered,
}

/// How often the rows of a change are gone through, each time with what refers to no other any more.
const ROUNDS: usize = 64;

impl Applier {
    /// An applier that connects when it is first needed.
    ///
    /// # Errors
    /// [`SourceError::Configuration`] for a URL or roots that cannot be used.
    pub fn new(address: &SourceAddress<'_>, options: ApplyOptions) -> Result<Self, SourceError> {
        Ok(Self { connector: Connector::new(address)?, options, session: None })
    }

    /// Applies the change, or finds that it was.
    ///
    /// # Errors
    /// [`Undecided`] when it is not known, or not yet decided, whether it is applied: to be tried again.
    pub async fn apply(&mut self, change: &ApprovedChange) -> Result<Ending, Undecided> {
        self.bounded(async |session| {
            let receipts = session.receipts_for(change.receipts())?;
            for again in [false, true] {
                if let Some(ending) = attempt(&session.client, receipts, change, &session.worker, again).await? {
                    return Ok(ending);
                }
            }
            let ending = Ending::Failed(Failure::suppressed());
            conclude(&session.client, receipts, change, ending, &session.worker).await
        })
        .await
    }

    /// Gives a change up: from here on no worker applies it. What an earlier attempt has decided stays decided and is returned.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub async fn give_up(&mut self, change: &ApprovedChange, failure: Failure) -> Result<Ending, Undecided> {
        self.bounded(async |session| {
            let receipts = session.receipts_for(change.receipts())?;
            conclude(&session.client, receipts, change, Ending::Failed(failure.clone()), &session.worker).await
        })
        .await
    }

    /// Leaves a receipt of a proposal that was canceled, so that no worker applies it whatever a store says later. False when
    /// there is no table for it.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub async fn seal(&mut self, content: &Content) -> Result<bool, Undecided> {
        self.bounded(async |session| {
            let Some(table) = &session.receipts else { return Ok(false) };
            table.cancel(&session.client, content, &session.worker).await?;
            Ok(true)
        })
        .await
    }

    /// What a receipt says of a proposal, if there is one for exactly this content.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub async fn receipt(&mut self, id: ProposalId, digest: Digest) -> Result<Option<Ending>, Undecided> {
        self.bounded(async |session| {
            let Some(table) = &session.receipts else { return Ok(None) };
            let found = table.read(&session.client, id).await?;
            Ok(found.filter(|receipt| receipt.digest == digest.to_string()).map(|receipt| receipt.ending(digest)))
        })
        .await
    }

    /// Connects, unless it is connected, and says whether a receipt table is there.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub async fn has_receipts(&mut self) -> Result<bool, Undecided> {
        self.bounded(async |session| Ok(session.receipts.is_some())).await
    }

    /// Runs `work` on the session, within the time limit. After an error the session is closed: it may be in
    /// the middle of something, and what was missing may be there when the next one looks for it.
    async fn bounded<T>(&mut self, work: impl AsyncFnOnce(&Session) -> Result<T, Undecided>) -> Result<T, Undecided> {
        let session = self.session.take().filter(|session| !session.client.is_closed());
        let running = async {
            let session = match session {
                Some(session) => session,
                None => session::open(&self.connector, &self.options).await?,
            };
            let outcome = work(&session).await?;
            Ok::<_, Undecided>((session, outcome))
        };
        let (session, outcome) =
            timeout(self.options.limit, running).await.map_err(|_elapsed| Undecided::Timeout(self.options.limit))??;
        self.session = Some(session);
        Ok(outcome)
    }
}

/// One transaction. `None`: a row that is as it was read was not changed, or rows have to be written in another order.
async fn attempt(
    client: &Client,
    receipts: Option<&ReceiptTable>,
    change: &ApprovedChange,
    worker: &str,
    again: bool,
) -> Result<Option<Ending>, Undecided> {
    client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE").await?;
    in_time_zone(client, &change.proposal().time_zone).await?;
    looking_in(client, change.guards()).await?;
    if let Some(table) = receipts
        && !table.insert(client, change, Outcome::Applied, worker).await?
    {
        client.batch_execute("ROLLBACK").await?;
        return known(client, table, change).await.map(Some);
    }
    match run(client, change, again).await? {
        Run::Done(rows) => {
            client.batch_execute("COMMIT").await?;
            Ok(Some(Ending::Applied { rows, before: false }))
        }
        Run::Ended(ending) => {
            client.batch_execute("ROLLBACK").await?;
            conclude(client, receipts, change, ending, worker).await.map(Some)
        }
        Run::Suppressed | Run::Disordered => {
            client.batch_execute("ROLLBACK").await?;
            Ok(None)
        }
    }
}

/// For this transaction: values are written, and compared, in the zone they were read in.
async fn in_time_zone(client: &Client, zone: &str) -> Result<(), Undecided> {
    let mut statement = Statement::new("SELECT pg_catalog.set_config('TimeZone', ");
    statement.bind(Some(zone)).push(", true)");
    statement.query(client).await?;
    Ok(())
}

/// For this transaction: the row filter's operators are those that the agent's reads have.
async fn looking_in(client: &Client, guards: &Guards) -> Result<(), Undecided> {
    if guards.filter.is_none() || guards.path.is_empty() {
        return Ok(());
    }
    let path = ["pg_catalog".to_owned()].into_iter().chain(guards.path.iter().map(|schema| statement::quoted(schema)));
    let path = path.collect::<Vec<_>>().join(", ");
    let mut statement = Statement::new("SELECT pg_catalog.set_config('search_path', ");
    statement.bind(Some(&path)).push(", true)");
    statement.query(client).await?;
    Ok(())
}

/// Leaves a receipt of a change that is not applied, unless there is one already, which then counts.
async fn conclude(
    client: &Client,
    receipts: Option<&ReceiptTable>,
    change: &ApprovedChange,
    ending: Ending,
    worker: &str,
) -> Result<Ending, Undecided> {
    let Some(table) = receipts else { return Ok(ending) };
    let outcome = match &ending {
        Ending::Applied { .. } => return Ok(ending),
        Ending::Conflict { .. } => Outcome::Conflict,
        Ending::Failed(_) => Outcome::Failed,
    };
    client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE").await?;
    let ours = table.insert(client, change, outcome, worker).await?;
    client.batch_execute("COMMIT").await?;
    if ours { Ok(ending) } else { known(client, table, change).await }
}

/// What the receipt that is there says.
async fn known(client: &Client, table: &ReceiptTable, change: &ApprovedChange) -> Result<Ending, Undecided> {
    let receipt: Option<Receipt> = table.read(client, change.proposal().id).await?;
    receipt.map(|receipt| receipt.ending(change.digest())).ok_or(Undecided::ReceiptVanished)
}

/// The statements of a change, then its deferred constraints.
async fn run(client: &Client, change: &ApprovedChange, again: bool) -> Result<Run, Undecided> {
    let (target, guards) = (&change.proposal().target, change.guards());
    let rows = ordered(&change.proposal().changes);
    let mut unchanged = Vec::new();
    if rows.len() > 1 {
        // They are one statement: what can be checked at its end is not checked after each row.
        client.batch_execute("SET CONSTRAINTS ALL DEFERRED").await?;
    }
    if again && rows.len() > 1 {
        match in_turn(client, target, &rows, guards).await? {
            Ok(found) => unchanged = found,
            Err(ending) => return Ok(Run::Ended(ending)),
        }
    }
    for part in rows.chunks(PIPELINE).filter(|_| !again || rows.len() == 1) {
        let statements: Vec<Statement<'_>> = part.iter().map(|(_, row)| statement(target, row, guards)).collect();
        let running = statements.iter().map(|statement| statement.run(client));
        let affected = futures_util::future::join_all(running).await;
        for ((place, row), affected) in part.iter().zip(affected) {
            match affected {
                Ok((1, true)) => {}
                Ok((_, false)) => return Ok(Run::Ended(Ending::Failed(Failure::outside()))),
                Ok((0, _)) if row.operation != Operation::Insert => unchanged.push((*place, *row)),
                Ok(_) => return Ok(Run::Ended(Ending::Failed(Failure::suppressed()))),
                Err(error) if !again && rows.len() > 1 && is_reference(&error) => return Ok(Run::Disordered),
                Err(error) => return ended(error, Some(*place).filter(|_| row.operation == Operation::Insert)).map(Run::Ended),
            }
        }
    }
    if !unchanged.is_empty() {
        return compare(client, target, &unchanged, guards).await;
    }
    match client.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await {
        Ok(()) => refer(client, change, &rows).await,
        Err(error) => {
            let inserted = rows.iter().find(|(_, row)| row.operation == Operation::Insert).map(|(place, _)| *place);
            ended(error, inserted).map(Run::Ended)
        }
    }
}

/// Each row as soon as what it refers to is there and what refers to it is gone, which PostgreSQL asks at the end of the statement that
/// they are. The rows that no statement changed, or how it ended.
async fn in_turn<'r>(
    client: &Client,
    target: &Target,
    rows: &[(usize, &'r RowChange)],
    guards: &Guards,
) -> Result<Result<Vec<(usize, &'r RowChange)>, Ending>, Undecided> {
    let (mut waiting, mut unchanged) = (rows.to_vec(), Vec::new());
    for round in 1.. {
        let (mut later, mut refused) = (Vec::new(), None);
        let before = waiting.len();
        for (place, row) in waiting {
            client.batch_execute("SAVEPOINT pgwicket_row").await?;
            match statement(target, row, guards).run(client).await {
                Ok((1, true)) => client.batch_execute("RELEASE SAVEPOINT pgwicket_row").await?,
                Ok((_, false)) => return Ok(Err(Ending::Failed(Failure::outside()))),
                Ok((0, _)) if row.operation != Operation::Insert => unchanged.push((place, row)),
                Ok(_) => return Ok(Err(Ending::Failed(Failure::suppressed()))),
                Err(error) if is_reference(&error) => {
                    client.batch_execute("ROLLBACK TO SAVEPOINT pgwicket_row").await?;
                    later.push((place, row));
                    refused = Some(error);
                }
                Err(error) => return ended(error, Some(place).filter(|_| row.operation == Operation::Insert)).map(Err),
            }
        }
        match refused {
            None => break,
            Some(error) if later.len() == before || round >= ROUNDS => return ended(error, None).map(Err),
            Some(_) => waiting = later,
        }
    }
    Ok(Ok(unchanged))
}

/// Whether a foreign key stands against it.
fn is_reference(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| *error.code() == tokio_postgres::error::SqlState::FOREIGN_KEY_VIOLATION)
}

/// Whether what the changes refer to is the agent's to refer to.
async fn refer(client: &Client, change: &ApprovedChange, rows: &[(usize, &RowChange)]) -> Result<Run, Undecided> {
    let (proposal, target) = (change.proposal(), &change.proposal().target);
    let tenant = target.tenant.as_ref().map(|guard| &guard.tenant).or(proposal.proposer.tenant.as_ref());
    for guard in &change.guards().foreign {
        let asked = rows.iter().filter_map(|(_, row)| reference_statement(target, row, guard, tenant.map(TenantId::as_str)));
        for statement in asked {
            match statement.query(client).await {
                Ok(found) if found.is_empty() => {}
                Ok(_) => return Ok(Run::Ended(Ending::Failed(Failure::refers_elsewhere()))),
                Err(error) => return ended(error, None).map(Run::Ended),
            }
        }
    }
    Ok(Run::Done(rows.len() as u64))
}

/// What an error of the source means. A unique value that is taken is a conflict for a new row.
fn ended(error: tokio_postgres::Error, inserted: Option<usize>) -> Result<Ending, Undecided> {
    let failure = Failure::of(error)?;
    match inserted {
        Some(change) if failure.is_unique_violation() => {
            Ok(Ending::Conflict { differences: vec![Difference { change, what: Divergence::Taken }] })
        }
        Some(_) | None => Ok(Ending::Failed(failure)),
    }
}

/// The same order in every worker, so that they wait for each other and do not deadlock. What goes makes room first.
fn ordered(changes: &[RowChange]) -> Vec<(usize, &RowChange)> {
    let rank = |operation| match operation {
        Operation::Delete => 0,
        Operation::Update => 1,
        Operation::Insert => 2,
    };
    let key = |row: &RowChange| row.key.iter().map(|cell| cell.value.text().map(str::to_owned)).collect::<Vec<_>>();
    let mut rows: Vec<(usize, &RowChange)> = changes.iter().enumerate().collect();
    rows.sort_by_cached_key(|(place, row)| (rank(row.operation), key(row), *place));
    rows
}

fn statement<'a>(target: &'a Target, row: &'a RowChange, guards: &Guards) -> Statement<'a> {
    match row.operation {
        Operation::Insert => insert_statement(target, row, guards),
        Operation::Update => update_statement(target, row, guards),
        Operation::Delete => delete_statement(target, row, guards),
    }
}

/// Reads the rows that no statement changed, and says what is different.
async fn compare(client: &Client, target: &Target, unchanged: &[(usize, &RowChange)], guards: &Guards) -> Result<Run, Undecided> {
    let mut differences = Vec::new();
    for (change, row) in unchanged {
        let Some(found) = read_statement(target, row, guards).query(client).await?.into_iter().next() else {
            differences.push(Difference { change: *change, what: Divergence::Gone });
            continue;
        };
        for (cell, found) in row.before.iter().chain(&row.conflict).zip(found) {
            if cell.value.text() != found.as_deref() {
                let what = Divergence::Column {
                    column: cell.column.clone(),
                    expected: cell.value.text().map(Into::into),
                    found: found.map(Into::into),
                };
                let difference = Difference { change: *change, what };
                if !differences.contains(&difference) {
                    differences.push(difference);
                }
            }
        }
    }
    Ok(if differences.is_empty() { Run::Suppressed } else { Run::Ended(Ending::Conflict { differences }) })
}

impl Session {
    /// The receipt table, which only a policy may do without.
    fn receipts_for(&self, receipts: Receipts) -> Result<Option<&ReceiptTable>, Undecided> {
        match (&self.receipts, receipts) {
            (Some(table), _) => Ok(Some(table)),
            (None, Receipts::None) => Ok(None),
            (None, Receipts::Required) => Err(Undecided::NoReceiptTable),
        }
    }
}

//! Proposals for people. Every text of an agent goes through [`visible`].

use std::io::{self, IsTerminal as _};

use anyhow::bail;
use comfy_table::{ContentArrangement, Table, presets};

use super::{
    super::visible::{short, visible},
    diff::{self, Paint},
    put,
};
use crate::{
    control::{ApprovalView, ProposalDetail, ProposalPage, ProposalSummary},
    proposal::{Content, Proposal},
};

/// Characters of a reason or statement in a list.
const SHORT: usize = 48;

/// Colours, when stdout is a terminal.
pub(super) fn colours() -> Paint {
    colours_of(io::stdout().is_terminal())
}

/// Colours for a terminal.
pub(super) fn colours_of(terminal: bool) -> Paint {
    Paint(terminal)
}

/// A page of proposals. `filters`: what keeps others out of it.
pub(super) fn list(page: &ProposalPage, filters: &[String], now: i64) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["proposal", "status", "time", "agent", "tenant", "what", "why", "conflicts"]);
    for proposal in &page.proposals {
        let rows = if proposal.rows == 1 { "row" } else { "rows" };
        table.add_row([
            visible(&proposal.proposal_id),
            visible(&proposal.status),
            timing(proposal, now),
            visible(&proposal.agent),
            proposal.tenant.as_deref().map(visible).unwrap_or_default(),
            format!("{} {} {rows} of {}", visible(&proposal.verb), proposal.rows, visible(&proposal.relation)),
            proposal.reason.as_deref().map(|reason| short(reason, SHORT)).unwrap_or_default(),
            if proposal.conflicts_with.is_empty() { String::new() } else { format!("{} on the same rows", proposal.conflicts_with.len()) },
        ]);
    }
    let mut out = format!("{table}\n");
    for malformed in &page.malformed {
        put(&mut out, format_args!("{}: its stored content cannot be read\n", visible(malformed)));
    }
    if let Some(next) = &page.next {
        put(&mut out, format_args!("more: --cursor {}\n", visible(next)));
    }
    if !filters.is_empty() {
        let filters = filters.iter().map(|filter| visible(filter)).collect::<Vec<_>>().join(" ");
        put(&mut out, format_args!("only these: {filters} (--status any shows every status)\n"));
    }
    out
}

pub(super) fn outcome(proposal: &ProposalSummary) -> String {
    let by = if proposal.approved_by.is_empty() {
        String::new()
    } else {
        format!(", approved by {}", visible(&proposal.approved_by.join(", ")))
    };
    format!("{} is {}{by}\n", visible(&proposal.proposal_id), visible(&proposal.status))
}

/// A proposal, its content read from the text that its digest is over.
pub(super) fn proposal(detail: &ProposalDetail, now: i64, paint: Paint) -> anyhow::Result<String> {
    let content = Content::read(&detail.content)?;
    let digest = content.digest();
    if digest.to_string() != detail.summary.digest {
        bail!("the server's digest is not that of the content it sent");
    }
    let proposal = content.proposal();
    let target = &proposal.target;
    let rows = if proposal.changes.len() == 1 { "1 row".to_owned() } else { format!("{} rows", proposal.changes.len()) };
    let mut out = format!(
        "{}  {}  {}\n",
        paint.bold(&proposal.id.to_string()),
        paint.bold(&visible(&detail.summary.status)),
        timing(&detail.summary, now)
    );
    let relation = format!("{}.{}", visible(&target.schema), visible(&target.relation));
    let real = format!("({}.{} in {})", visible(&target.real_schema), visible(&target.real_name), visible(target.source.as_str()));
    put(&mut out, format_args!("{} {rows} of {} {}\n\n", proposal.verb, paint.bold(&relation), paint.dim(&real)));
    out.push_str(&diff::rows(proposal, paint));
    out.push('\n');
    let mut fact = |name: &str, text: String| {
        if !text.is_empty() {
            put(&mut out, format_args!("  {}  {text}\n", paint.dim(&format!("{name:9}"))));
        }
    };
    who(proposal, &mut fact);
    if !detail.summary.conflicts_with.is_empty() {
        let others = visible(&detail.summary.conflicts_with.join(", "));
        fact("conflicts", paint.warning(&format!("{others} on the same rows: at most one of them can be applied")));
    }
    decisions(detail, paint, &mut fact);
    result(detail, paint, &mut fact);
    fact("in", proposal.deployment.as_ref().map(|deployment| visible(deployment.as_str())).unwrap_or_default());
    fact("evidence", proposal.evidence.to_string());
    fact("digest", digest.to_string());
    Ok(out)
}

fn who(proposal: &Proposal, fact: &mut impl FnMut(&str, String)) {
    let proposer = &proposal.proposer;
    let tenant = proposer.tenant.as_ref().map(|tenant| format!(", tenant {}", visible(tenant.as_str()))).unwrap_or_default();
    let person = proposer.subject.as_deref().map(|subject| format!(", for {}", visible(subject))).unwrap_or_default();
    let run = proposal.run.as_ref().map(|run| format!(", run {}", visible(run.as_str()))).unwrap_or_default();
    fact("who", format!("{}{person}{tenant}{run}", visible(proposer.agent.as_str())));
    let attributes = proposer.attributes.iter().map(|(name, value)| format!("{} = {}", visible(name), visible(value)));
    fact("token", attributes.collect::<Vec<_>>().join(", "));
    fact(
        "why",
        proposal
            .reason
            .as_deref()
            .map_or("the agent gave no reason".to_owned(), |reason| format!("{} (the agent's words)", visible(reason))),
    );
    fact("statement", visible(&proposal.statement));
    fact("key", proposal.idempotency_key.as_deref().map(visible).unwrap_or_default());
}

fn decisions(detail: &ProposalDetail, paint: Paint, fact: &mut impl FnMut(&str, String)) {
    for approval in &detail.approvals {
        let what = match approval.decision.as_str() {
            "reject" => "rejected",
            "cancel" => "canceled",
            _ => "approved",
        };
        fact(what, decision(approval));
    }
    match (&detail.needs, &detail.not_approvable) {
        (Some(needs), _) if detail.summary.status == "pending" => {
            fact("needs", format!("{} of {}", needs.quorum, visible(&needs.reviewers.join(", "))));
        }
        (_, Some(why)) if detail.summary.status == "pending" => fact("needs", paint.warning(&visible(why))),
        (Some(_) | None, _) => {}
    }
}

fn decision(approval: &ApprovalView) -> String {
    let how = match approval.how.as_str() {
        "signature" => ", signed",
        "rule" => ", by the policy",
        _ => "",
    };
    let reason = approval.reason.as_deref().map(|reason| format!(": {}", visible(reason))).unwrap_or_default();
    let until = approval.until.as_deref().map(|until| format!(", until {}", visible(until))).unwrap_or_default();
    let revoked = if approval.revoked { ", by a key that was revoked: it does not count" } else { "" };
    format!("{} at {}{how}{until}{revoked}{reason}", visible(&approval.by), visible(&approval.at))
}

fn result(detail: &ProposalDetail, paint: Paint, fact: &mut impl FnMut(&str, String)) {
    if let Some(result) = &detail.result {
        let rows = result.affected_rows.map(|rows| format!(", {rows} {}", if rows == 1 { "row" } else { "rows" })).unwrap_or_default();
        fact("result", format!("{} at {} by {}{rows}", visible(&result.status), visible(&result.at), visible(&result.reporter)));
        fact("error", result.error.as_deref().map(|error| paint.warning(&visible(error))).unwrap_or_default());
        fact("differs", result.differences.as_ref().map(|found| visible(&found.to_string())).unwrap_or_default());
    } else if detail.attempts > 0 {
        let error = detail.last_error.as_deref().map(|error| format!(": {}", visible(error))).unwrap_or_default();
        fact("attempts", format!("{}{error}", detail.attempts));
    }
}

/// How long a pending one waits yet, or since when it is as it is.
fn timing(proposal: &ProposalSummary, now: i64) -> String {
    let at = |text: &str| text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).ok();
    if proposal.status == "pending" {
        return at(&proposal.expires_at).map(|end| format!("expires in {}", span(end - now))).unwrap_or_default();
    }
    at(&proposal.updated_at).map(|then| format!("since {}", span(now - then))).unwrap_or_default()
}

/// Unit: milliseconds.
fn span(milliseconds: i64) -> String {
    let minutes = milliseconds.max(0) / 60_000;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => "less than 1 min".to_owned(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        control::{EventView, NeedsView},
        proposal::{Cell, Operation, Proposer, RowChange, Target, TenantGuard, Value, Verb},
        types::{Digest, EvidenceId, ProposalId},
    };

    /// Every text an agent or its data can choose is hostile.
    const HOSTILE: &str = "x\u{1b}[2J\u{202e}y\nz";

    fn written() -> Proposal {
        let cell = |column: &str, text: &str| Cell { column: column.into(), type_name: "text".into(), value: Value::Text(text.into()) };
        let row = |operation, id: &str, before: Vec<Cell>, after: Vec<Cell>| RowChange {
            operation,
            key: vec![cell("id", id)],
            before,
            conflict: None,
            after,
        };
        Proposal {
            id: ProposalId::new(1_700_000_000_000, 1),
            created_at: 0,
            expires_at: 7_260_000,
            proposer: Proposer::new("support_agent".parse().unwrap(), Some("acme".parse().unwrap())),
            run: Some("run-7".parse().unwrap()),
            evidence: EvidenceId::new(1_700_000_000_000, 2),
            policy: Digest([7; 32]),
            verb: Verb::Merge,
            statement: HOSTILE.into(),
            reason: Some(HOSTILE.into()),
            deployment: Some("production/dep_1".parse().unwrap()),
            time_zone: "UTC".into(),
            idempotency_key: None,
            target: Target {
                source: "app".parse().unwrap(),
                schema: "desk".into(),
                relation: "tickets".into(),
                real_schema: "public".into(),
                real_name: "tickets".into(),
                tenant: Some(TenantGuard { column: "tenant_id".into(), type_name: "text".into(), tenant: "acme".parse().unwrap() }),
            },
            changes: vec![
                row(
                    Operation::Update,
                    "42",
                    vec![cell("status", "open"), cell("amount", "10.00"), cell("note", HOSTILE)],
                    vec![cell("status", "open"), cell("amount", "12.50"), Cell { value: Value::Null, ..cell("note", "") }],
                ),
                row(Operation::Insert, "43", vec![], vec![cell("status", ""), Cell { value: Value::Default, ..cell("amount", "") }]),
                row(Operation::Delete, HOSTILE, vec![cell("status", "closed")], vec![]),
            ],
        }
    }

    fn detail() -> ProposalDetail {
        let content = Content::of(written());
        let summary = ProposalSummary {
            proposal_id: content.proposal().id.to_string(),
            status: "pending".to_owned(),
            agent: "support_agent".to_owned(),
            tenant: Some("acme".to_owned()),
            principal: None,
            attributes: std::collections::BTreeMap::new(),
            run: None,
            source: "app".to_owned(),
            relation: "desk.tickets".to_owned(),
            verb: "merge".to_owned(),
            rows: 3,
            reason: Some(HOSTILE.to_owned()),
            evidence_id: content.proposal().evidence.to_string(),
            digest: content.digest().to_string(),
            approved_by: vec!["bob".to_owned()],
            conflicts_with: vec![ProposalId::new(1, 1).to_string()],
            created_at: "1970-01-01T00:00:00.000Z".to_owned(),
            expires_at: "1970-01-01T02:01:00.000Z".to_owned(),
            deployment: Some("production/dep_1".to_owned()),
            updated_at: "1970-01-01T00:00:00.000Z".to_owned(),
        };
        let approval = ApprovalView {
            decision: "approve".to_owned(),
            by: "bob".to_owned(),
            how: "signature".to_owned(),
            reason: Some(HOSTILE.to_owned()),
            at: "1970-01-01T00:00:30.000Z".to_owned(),
            until: Some("1970-01-02T00:00:30.000Z".to_owned()),
            revoked: false,
        };
        ProposalDetail {
            summary,
            content: content.text().to_owned(),
            statement: String::new(),
            changes: Vec::new(),
            approvals: vec![approval],
            needs: Some(NeedsView {
                reviewers: vec!["alice".to_owned(), "bob".to_owned()],
                quorum: 2,
                deployment: String::new(),
                until: 0,
            }),
            not_approvable: None,
            events: Vec::<EventView>::new(),
            result: None,
            settled_by: None,
            attempts: 0,
            last_error: None,
            worker: None,
            policy_digest: String::new(),
            idempotency_key: None,
        }
    }

    #[test]
    fn a_reviewer_sees_who_changes_what_and_why_at_a_glance() {
        let shown = proposal(&detail(), 60_000, Paint(false)).unwrap();
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()) && !shown.contains('\u{202e}'), "{shown:?}");
        assert_snapshot!(shown, @r"
        prop_01hf7yat000000000000000001  pending  expires in 2 h 0 min
        merge 3 rows of desk.tickets (public.tickets in app)

          ~ update id = 42
              status  open (unchanged)
              amount  10.00 → 12.50
              note    x\u{1b}[2J\u{202e}y\nz → NULL
          + insert id = 43
              status  ''
              amount  DEFAULT
          - delete id = x\u{1b}[2J\u{202e}y\nz
              status  closed

          who        support_agent, tenant acme, run run-7
          why        x\u{1b}[2J\u{202e}y\nz (the agent's words)
          statement  x\u{1b}[2J\u{202e}y\nz
          conflicts  prop_00000000010000000000000001 on the same rows: at most one of them can be applied
          approved   bob at 1970-01-01T00:00:30.000Z, signed, until 1970-01-02T00:00:30.000Z: x\u{1b}[2J\u{202e}y\nz
          needs      2 of alice, bob
          in         production/dep_1
          evidence   ev_01hf7yat000000000000000002
          digest     3a92ca37c8b57626536d53f1e4d227c82ecee8d13e18a39d1f694204ba882f97
        ");
        let mut lying = detail();
        lying.content = lying.content.replace("12.50", "99.99");
        assert_eq!(proposal(&lying, 0, Paint(false)).unwrap_err().to_string(), "the server's digest is not that of the content it sent");
    }

    #[test]
    fn a_list_is_a_table_that_text_cannot_break() {
        let page =
            ProposalPage { ok: true, proposals: vec![detail().summary], next: Some("c1".to_owned()), malformed: vec![HOSTILE.to_owned()] };
        let shown = list(&page, &["--status pending".to_owned()], 60_000);
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()) && !shown.contains('\u{202e}'), "{shown:?}");
        assert_snapshot!(shown, @r"
        ┌─────────────────────────────────┬─────────┬──────────────────────┬───────────────┬────────┬──────────────────────────────┬───────────────────────┬────────────────────┐
        │ proposal                        ┆ status  ┆ time                 ┆ agent         ┆ tenant ┆ what                         ┆ why                   ┆ conflicts          │
        ╞═════════════════════════════════╪═════════╪══════════════════════╪═══════════════╪════════╪══════════════════════════════╪═══════════════════════╪════════════════════╡
        │ prop_01hf7yat000000000000000001 ┆ pending ┆ expires in 2 h 0 min ┆ support_agent ┆ acme   ┆ merge 3 rows of desk.tickets ┆ x\u{1b}[2J\u{202e}y z ┆ 1 on the same rows │
        └─────────────────────────────────┴─────────┴──────────────────────┴───────────────┴────────┴──────────────────────────────┴───────────────────────┴────────────────────┘
        x\u{1b}[2J\u{202e}y\nz: its stored content cannot be read
        more: --cursor c1
        only these: --status pending (--status any shows every status)
        ");
        assert_eq!(outcome(&page.proposals[0]), format!("{} is pending, approved by bob\n", page.proposals[0].proposal_id));
    }
}

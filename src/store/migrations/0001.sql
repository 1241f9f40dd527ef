-- One text for both databases: TEXT and BIGINT only. BYTES_TEXT is text that sorts by its bytes (PostgreSQL has to be told).
-- Times are milliseconds since the Unix epoch; digests are hexadecimal.

CREATE TABLE proposals (
    id BYTES_TEXT NOT NULL PRIMARY KEY,
    content TEXT NOT NULL,
    change_digest BYTES_TEXT NOT NULL,
    idempotency_key TEXT,
    agent BYTES_TEXT NOT NULL,
    tenant TEXT,
    source BYTES_TEXT NOT NULL,
    alias_schema TEXT NOT NULL,
    relation TEXT NOT NULL,
    status BYTES_TEXT NOT NULL,
    settled_by TEXT,
    expires_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    decided_at BIGINT,
    applied_at BIGINT,
    attempts BIGINT NOT NULL DEFAULT 0,
    retry_at BIGINT NOT NULL DEFAULT 0,
    last_error TEXT,
    worker TEXT,
    lease_token BIGINT NOT NULL DEFAULT 0,
    lease_until BIGINT,
    reporter TEXT,
    report_key TEXT,
    affected_rows BIGINT,
    metadata TEXT,
    report_error TEXT,
    differences TEXT,
    reported_at BIGINT
);
-- A repeat finds what it repeats; two that race cannot both be stored.
CREATE UNIQUE INDEX proposals_change ON proposals (agent, change_digest)
    WHERE idempotency_key IS NULL AND status IN ('pending', 'approved', 'applying');
CREATE UNIQUE INDEX proposals_key ON proposals (agent, idempotency_key)
    WHERE idempotency_key IS NOT NULL AND status IN ('pending', 'approved', 'applying', 'applied');
CREATE INDEX proposals_status ON proposals (status, id);
CREATE INDEX proposals_agent ON proposals (agent, id);
CREATE INDEX proposals_agent_status ON proposals (agent, status, id);
CREATE INDEX proposals_ready ON proposals (source, id) WHERE status = 'approved';
-- With the status in them, too, SQLite prefers them to proposals_status.
CREATE INDEX proposals_leases ON proposals (status, lease_until) WHERE status = 'applying';
CREATE INDEX proposals_expiry ON proposals (status, expires_at) WHERE status = 'pending';

-- The rows of open proposals. `generation` is the row's when the proposal was stored.
CREATE TABLE proposal_rows (
    row_name BYTES_TEXT NOT NULL,
    proposal_id BYTES_TEXT NOT NULL REFERENCES proposals (id),
    generation BIGINT NOT NULL,
    PRIMARY KEY (row_name, proposal_id)
);
CREATE INDEX proposal_rows_proposal ON proposal_rows (proposal_id);

-- Every row a proposal was ever made for: how many proposals were applied to it, the last one, and the one that holds it.
CREATE TABLE row_states (
    row_name BYTES_TEXT NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    applied_by BYTES_TEXT,
    held_by BYTES_TEXT
);

-- Both ways: each of two proposals on one row names the other.
CREATE TABLE proposal_conflicts (
    proposal_id BYTES_TEXT NOT NULL,
    other_id BYTES_TEXT NOT NULL,
    PRIMARY KEY (proposal_id, other_id)
);

-- `decider` is the kind and the name; a person or a rule decides once.
CREATE TABLE approvals (
    proposal_id BYTES_TEXT NOT NULL REFERENCES proposals (id),
    decider BYTES_TEXT NOT NULL,
    position BIGINT NOT NULL,
    form TEXT NOT NULL,
    name TEXT NOT NULL,
    proof TEXT,
    decision TEXT NOT NULL,
    digest TEXT NOT NULL,
    reason TEXT,
    at BIGINT NOT NULL,
    PRIMARY KEY (proposal_id, decider)
);

-- Append-only: every move of every proposal, written with the move.
CREATE TABLE proposal_events (
    proposal_id BYTES_TEXT NOT NULL REFERENCES proposals (id),
    position BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    from_status TEXT,
    to_status TEXT NOT NULL,
    note TEXT,
    PRIMARY KEY (proposal_id, position)
);

-- What a rule has settled for an agent. `day` counts from the Unix epoch, in UTC.
CREATE TABLE settlement_counters (
    rule_id BYTES_TEXT NOT NULL,
    agent BYTES_TEXT NOT NULL,
    day BIGINT NOT NULL,
    proposals BIGINT NOT NULL,
    changed_rows BIGINT NOT NULL,
    total BIGINT NOT NULL,
    PRIMARY KEY (rule_id, agent, day)
);

CREATE TABLE api_keys (
    id BYTES_TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    reviewer TEXT,
    secret_hash BYTES_TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

-- What is kept for an agent is kept for the tenant it acts for: '' is an agent that is bound to none.
-- BYTES_TEXT is text that sorts by its bytes.

ALTER TABLE proposals ADD COLUMN acting_tenant BYTES_TEXT NOT NULL DEFAULT '';
ALTER TABLE proposals ADD COLUMN content_bytes BIGINT NOT NULL DEFAULT 0;
UPDATE proposals SET acting_tenant = COALESCE(tenant, ''), content_bytes = length(content);
DROP INDEX proposals_change;
DROP INDEX proposals_key;
DROP INDEX proposals_agent;
DROP INDEX proposals_agent_status;
CREATE UNIQUE INDEX proposals_change ON proposals (agent, acting_tenant, change_digest)
    WHERE idempotency_key IS NULL AND status IN ('pending', 'approved', 'applying');
CREATE UNIQUE INDEX proposals_key ON proposals (agent, acting_tenant, idempotency_key)
    WHERE idempotency_key IS NOT NULL AND status IN ('pending', 'approved', 'applying', 'applied');
CREATE INDEX proposals_agent ON proposals (agent, id);
CREATE INDEX proposals_agent_status ON proposals (agent, status, id);
CREATE INDEX proposals_acting ON proposals (agent, acting_tenant, id);
CREATE INDEX proposals_acting_status ON proposals (agent, acting_tenant, status, id);

DROP TABLE settlement_counters;
-- What a rule has settled for an agent and the tenant it acts for. `day` counts from the Unix epoch, in UTC. The day on which a
-- store is brought to this version counts from nothing again.
CREATE TABLE settlement_counters (
    rule_id BYTES_TEXT NOT NULL,
    agent BYTES_TEXT NOT NULL,
    acting_tenant BYTES_TEXT NOT NULL,
    day BIGINT NOT NULL,
    proposals BIGINT NOT NULL,
    changed_rows BIGINT NOT NULL,
    total BIGINT NOT NULL,
    PRIMARY KEY (rule_id, agent, acting_tenant, day)
);

-- Random values that stay the same over restarts and over the proxies that share the store, made when they are first asked for.
CREATE TABLE store_secrets (
    name BYTES_TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

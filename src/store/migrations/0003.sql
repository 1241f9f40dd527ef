-- Approvals end; what was canceled after an approval is told to its source; worker keys name their sources.

-- NULL: the policy alone says how long it counts.
ALTER TABLE approvals ADD COLUMN valid_until BIGINT;

-- When a worker wrote into the source that a canceled proposal is not to be applied.
ALTER TABLE proposals ADD COLUMN sealed_at BIGINT;
CREATE INDEX proposals_unsealed ON proposals (source, id) WHERE status = 'canceled' AND decided_at IS NOT NULL AND sealed_at IS NULL;
CREATE INDEX approvals_proof ON approvals (proof, proposal_id) WHERE form = 'key';

-- Sources that a worker's key is for, by their names in a JSON array; NULL for none.
ALTER TABLE api_keys ADD COLUMN sources TEXT;

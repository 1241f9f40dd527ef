-- What an agent may have open for a tenant, and how much of a list fits on a page, is known without reading a content.

CREATE INDEX proposals_open ON proposals (agent, acting_tenant, status, expires_at, content_bytes)
    WHERE status IN ('pending', 'approved', 'applying');
CREATE INDEX proposals_acting_bytes ON proposals (agent, acting_tenant, id, content_bytes);
CREATE INDEX proposals_status_bytes ON proposals (status, id, content_bytes);
CREATE INDEX proposals_source_bytes ON proposals (source, status, id, content_bytes);

-- What the operator's console asks often, made cheap for any number of tenants; and how events turned out.

-- Nearly all replies are sent; those that never will be are few.
CREATE INDEX outbox_undelivered ON outbox (id) WHERE state IN ('refused', 'failed', 'unknown');

-- A tenant's own addresses are listed, and erased with it.
CREATE INDEX identity_tenant ON identity (tenant_id);

-- Usage is only ever appended, so block ranges find the last day at next to no cost for those who write.
CREATE INDEX usage_at ON usage USING brin (at) WITH (pages_per_range = 16, autosummarize = on);

-- An event as the operator sees it. Of its body nothing passes but a number and the values of closed sets that are named
-- here: a tool's name, for one, is whatever a model wrote.
CREATE VIEW operator_event AS
    SELECT conversation_id, seq, tenant_id, at, type,
           CASE
               WHEN type = 'turn.finished' AND body ->> 'outcome' IN ('answered', 'model_failed', 'stuck', 'failed')
                   THEN body ->> 'outcome'
               WHEN type = 'reply.sent' AND body ->> 'delivery' IN ('sent', 'refused', 'failed', 'unknown')
                   THEN body ->> 'delivery'
               WHEN type = 'tool.finished' AND body -> 'is_error' = 'true' THEN 'error'
           END AS state,
           CASE
               WHEN type = 'model.replied' AND jsonb_typeof(body -> 'calls') = 'array'
                   THEN jsonb_array_length(body -> 'calls')
           END AS calls
    FROM event;
GRANT SELECT ON operator_event TO subclaw_operator;

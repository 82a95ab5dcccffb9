-- Requests for a person's approval. The transcript is what counts; this table is what must be found without reading it:
-- what has expired, what waits although it was long ago, the operator's list. A trigger keeps it, in the transaction that
-- writes the event. It has neither arguments nor codes.

CREATE TABLE approval (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    conversation_id bigint NOT NULL REFERENCES conversation ON DELETE CASCADE,
    approval_id     text NOT NULL,
    seq             bigint NOT NULL,
    tool            text NOT NULL,
    state           text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'approved', 'declined', 'expired', 'void')),
    requested_at    timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    closed_at       timestamptz CHECK ((closed_at IS NULL) = (state = 'open')),
    UNIQUE (conversation_id, approval_id)
);
CREATE INDEX approval_open ON approval (expires_at) WHERE state = 'open';
CREATE INDEX approval_tenant ON approval (tenant_id);

ALTER TABLE approval ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON approval TO subclaw_app USING (tenant_id = current_tenant());
CREATE POLICY operator ON approval FOR SELECT TO subclaw_operator USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON approval TO subclaw_app;
GRANT SELECT ON approval TO subclaw_operator;

-- A request is closed once, or the transaction fails that would close it again.
CREATE FUNCTION note_approval() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.type = 'approval.requested' THEN
        INSERT INTO approval (tenant_id, conversation_id, approval_id, seq, tool, requested_at, expires_at)
            VALUES (NEW.tenant_id, NEW.conversation_id, NEW.body ->> 'approval_id', NEW.seq,
                    NEW.body #>> '{call,name}', NEW.at, (NEW.body ->> 'expires_at')::timestamptz);
        RETURN NULL;
    END IF;
    UPDATE approval a SET closed_at = NEW.at, state = CASE
            WHEN NEW.type = 'approval.lapsed' THEN NEW.body ->> 'reason'
            WHEN NEW.body -> 'approved' = 'true' THEN 'approved'
            ELSE 'declined'
        END
        WHERE a.conversation_id = NEW.conversation_id AND a.approval_id = NEW.body #>> '{request,approval_id}'
            AND a.state = 'open';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'an approval was to be closed that is not open';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER event_approval AFTER INSERT ON event FOR EACH ROW
    WHEN (NEW.type IN ('approval.requested', 'approval.decided', 'approval.lapsed')) EXECUTE FUNCTION note_approval();

-- The events of a conversation that asked for what still waits, oldest first.
CREATE FUNCTION open_approvals(p_tenant bigint, p_conversation bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN (
        SELECT coalesce(jsonb_agg(jsonb_build_object('type', e.type, 'body', e.body) ORDER BY e.seq), '[]')
        FROM approval a JOIN event e ON e.conversation_id = a.conversation_id AND e.seq = a.seq
        WHERE a.conversation_id = p_conversation AND a.state = 'open'
    );
END $$;

-- Conversations at rest in which something has expired. Where a turn runs or is due, that turn sees to it first.
CREATE FUNCTION expired_approvals(p_now timestamptz, p_limit integer)
RETURNS TABLE (tenant_id bigint, conversation_id bigint, channel text) LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT c.tenant_id, c.id, c.channel FROM approval a JOIN conversation c ON c.id = a.conversation_id
    WHERE a.state = 'open' AND a.expires_at <= p_now
        AND c.owner IS NULL AND NOT c.turn_open AND c.inbox_seq = c.drained_seq
    GROUP BY c.id ORDER BY min(a.expires_at) LIMIT p_limit
$$;

-- Record that these have expired, and say so, if the conversation is at rest and all of them are still open.
CREATE FUNCTION expire_approvals(
    p_tenant bigint, p_conversation bigint, p_approvals text[], p_events jsonb, p_reply text, p_send boolean
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE v conversation;
BEGIN
    PERFORM be_tenant(p_tenant);
    SELECT * INTO v FROM conversation c
        WHERE c.id = p_conversation AND c.owner IS NULL AND NOT c.turn_open AND c.inbox_seq = c.drained_seq
        FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR cardinality(p_approvals) > (
        SELECT count(*) FROM approval a
        WHERE a.conversation_id = p_conversation AND a.approval_id = ANY (p_approvals) AND a.state = 'open'
    ) THEN
        RETURN false;
    END IF;
    UPDATE conversation c SET next_seq = v.next_seq + write_events(v, v.next_seq, p_events) WHERE c.id = v.id;
    IF p_send THEN
        INSERT INTO outbox (tenant_id, conversation_id, channel, address, text)
            VALUES (v.tenant_id, v.id, v.channel, v.address, p_reply);
        NOTIFY subclaw_outbox;
    END IF;
    PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address);
    RETURN true;
END $$;

-- As before; and what became of an approval.
CREATE OR REPLACE VIEW operator_event AS
    SELECT conversation_id, seq, tenant_id, at, type,
           CASE
               WHEN type = 'turn.finished' THEN substring(body ->> 'outcome' from '^[a-z_]{1,20}$')
               WHEN type = 'reply.sent' THEN substring(body ->> 'delivery' from '^[a-z_]{1,20}$')
               WHEN type = 'tool.finished' AND body -> 'is_error' = 'true' THEN 'error'
               WHEN type = 'approval.decided' AND body -> 'approved' = 'true' THEN 'approved'
               WHEN type = 'approval.decided' THEN 'declined'
               WHEN type = 'approval.lapsed' AND body ->> 'reason' IN ('expired', 'void') THEN body ->> 'reason'
           END AS state,
           CASE
               WHEN type = 'model.replied' AND jsonb_typeof(body -> 'calls') = 'array'
                   THEN jsonb_array_length(body -> 'calls')
           END AS calls
    FROM event;

REVOKE ALL ON FUNCTION note_approval, open_approvals, expired_approvals, expire_approvals FROM PUBLIC;
GRANT EXECUTE ON FUNCTION open_approvals, expired_approvals, expire_approvals TO subclaw_app;

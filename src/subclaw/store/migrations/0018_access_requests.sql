-- What agents ask the operator for where only the operator opens hosts (`access = "operator"`): it waits, whoever runs
-- subclaw decides, and the agent hears of it.

-- A rule that an agent asks for, and why, in its words. call_id is the tool call that asked, which may be made again after
-- a crash.
CREATE TABLE access_request (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    conversation_id bigint NOT NULL REFERENCES conversation ON DELETE CASCADE,
    call_id         text NOT NULL,
    host            text NOT NULL,
    ports           integer[] NOT NULL,
    methods         text[] NOT NULL,
    paths           text[] NOT NULL,
    reason          text NOT NULL CHECK (length(reason) <= 500),
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    decided_at      timestamptz,
    UNIQUE (conversation_id, call_id)
);
CREATE INDEX access_request_tenant ON access_request (tenant_id);

ALTER TABLE access_request ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON access_request TO subclaw_app USING (tenant_id = current_tenant());
CREATE POLICY operator ON access_request FOR SELECT TO subclaw_operator USING (true);
GRANT SELECT, INSERT, DELETE ON access_request TO subclaw_app;
GRANT SELECT ON access_request TO subclaw_operator;

-- Put a request to the operator, once a call, and once as long as the same waits for the same conversation; false if
-- p_limit of the tenant's wait already. What has been over for 30 days goes.
CREATE FUNCTION ask_operator(
    p_tenant bigint, p_conversation bigint, p_call_id text, p_host text, p_ports integer[], p_methods text[],
    p_paths text[], p_reason text, p_life interval, p_limit integer
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    DELETE FROM access_request r WHERE r.tenant_id = p_tenant
        AND coalesce(r.decided_at, r.expires_at) < now() - interval '30 days';
    IF EXISTS (
        SELECT FROM access_request r WHERE r.conversation_id = p_conversation AND (r.call_id = p_call_id OR (
            r.decided_at IS NULL AND r.expires_at > now()
            AND (r.host, r.ports, r.methods, r.paths) = (p_host, p_ports, p_methods, p_paths)))
    ) THEN
        RETURN true;
    END IF;
    IF (SELECT count(*) FROM access_request r WHERE r.tenant_id = p_tenant AND r.decided_at IS NULL AND r.expires_at > now())
        >= p_limit
    THEN
        RETURN false;
    END IF;
    INSERT INTO access_request
        (tenant_id, conversation_id, call_id, host, ports, methods, paths, reason, expires_at)
        VALUES (p_tenant, p_conversation, p_call_id, p_host, p_ports, p_methods, p_paths, p_reason, now() + p_life);
    RETURN true;
END $$;

-- Decide a request that waits, with the rule if it is approved, and tell its conversation. Returns `decided`; `over` if
-- none of that number waits, `full` if the tenant has p_limit rules.
CREATE FUNCTION decide_access(p_id bigint, p_approved boolean, p_because text, p_limit integer) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE v access_request;
BEGIN
    SELECT * INTO v FROM access_request r WHERE r.id = p_id AND r.decided_at IS NULL AND r.expires_at > now() FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'over';
    END IF;
    IF p_approved AND add_egress_rule(
        'tenant', v.tenant_id, v.host, v.ports, v.methods, v.paths, 'inspect', '{}', v.reason, 'operator', p_limit) IS NULL
    THEN
        RETURN 'full';
    END IF;
    UPDATE access_request r SET decided_at = now() WHERE r.id = v.id;
    PERFORM tell_of_account(v.tenant_id, v.conversation_id, 'access', jsonb_build_object(
        'host', v.host, 'ports', v.ports, 'methods', v.methods, 'paths', v.paths, 'approved', p_approved,
        'because', p_because));
    RETURN 'decided';
END $$;

-- As before; and what the operator decided is told apart.
CREATE OR REPLACE FUNCTION drain(v conversation, p_first bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_count bigint;
    v_notices bigint;
BEGIN
    IF v.inbox_seq = v.drained_seq THEN
        RETURN 0;
    END IF;
    INSERT INTO event (conversation_id, seq, tenant_id, at, type, body)
        SELECT v.id, p_first + i.seq - v.drained_seq - 1, v.tenant_id, i.received_at,
               CASE s.parts[1] WHEN 'schedule' THEN 'schedule.due' WHEN 'secret' THEN 'secret.set'
                   WHEN 'account' THEN 'account.lost' WHEN 'access' THEN 'access.decided' ELSE 'message.received' END,
               CASE
                   WHEN s.parts[1] = 'schedule' THEN
                       jsonb_build_object('text', i.text, 'schedule_id', s.parts[2]::bigint)
                   WHEN s.parts[1] IN ('secret', 'account', 'access') THEN i.text::jsonb
                   ELSE jsonb_build_object('text', i.text, 'provider_id', i.provider_id)
                        || CASE WHEN i.removed IS NULL THEN '{}' ELSE jsonb_build_object('removed', i.removed) END
               END
        FROM inbox i, regexp_match(i.provider_id, '^(schedule|secret|account|access):([0-9]+)(:[0-9]+)?$') AS s (parts)
        WHERE i.conversation_id = v.id AND i.seq > v.drained_seq AND i.seq <= v.inbox_seq;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF EXISTS (
        SELECT FROM inbox i WHERE i.conversation_id = v.id AND i.seq > v.drained_seq AND i.seq <= v.inbox_seq
            AND i.notice IS NOT NULL
    ) THEN
        INSERT INTO event (conversation_id, seq, tenant_id, type, body)
            SELECT v.id, p_first + v_count + row_number() OVER (ORDER BY i.seq) - 1, v.tenant_id, 'reply.queued',
                   jsonb_build_object('text', i.notice)
            FROM inbox i WHERE i.conversation_id = v.id AND i.seq > v.drained_seq AND i.seq <= v.inbox_seq
                AND i.notice IS NOT NULL;
        GET DIAGNOSTICS v_notices = ROW_COUNT;
        v_count := v_count + v_notices;
        INSERT INTO outbox (tenant_id, conversation_id, channel, address, text)
            SELECT v.tenant_id, v.id, v.channel, v.address, i.notice
            FROM inbox i WHERE i.conversation_id = v.id AND i.seq > v.drained_seq AND i.seq <= v.inbox_seq
                AND i.notice IS NOT NULL AND i.send_notice ORDER BY i.seq;
        NOTIFY subclaw_outbox;
    END IF;
    RETURN v_count;
END $$;

-- As before, without what the operator decided and what came by a site either.
CREATE OR REPLACE FUNCTION waiting_messages(p_tenant bigint, p_conversation bigint, p_epoch bigint)
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE v conversation := hold(p_tenant, p_conversation, p_epoch);
BEGIN
    RETURN QUERY SELECT i.text FROM inbox i
        WHERE i.conversation_id = v.id AND i.seq > v.drained_seq
            AND i.provider_id !~ '^(schedule|secret|account|access|site):' ORDER BY i.seq;
END $$;

REVOKE ALL ON FUNCTION ask_operator, decide_access FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ask_operator TO subclaw_app;
GRANT EXECUTE ON FUNCTION decide_access TO subclaw_operator;

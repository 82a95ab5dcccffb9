-- The HTTP API: its keys, the calls that may be made again, and webhooks that go out.

-- A key is known by its SHA-256; session tokens that were signed with it are checked by verify_key. Without agents it is
-- for all of them. The bucket leaks per_minute calls a minute, and holds as many.
CREATE TABLE api_key (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL CHECK (length(name) <= 200),
    shown        text NOT NULL,
    key_hash     bytea NOT NULL UNIQUE CHECK (length(key_hash) = 32),
    verify_key   bytea NOT NULL CHECK (length(verify_key) = 32),
    scopes       text[] NOT NULL,
    agents       text[] NOT NULL,
    per_minute   integer NOT NULL CHECK (per_minute > 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    replaced_by  bigint REFERENCES api_key ON DELETE SET NULL,
    bucket       double precision NOT NULL DEFAULT 0,
    bucket_at    timestamptz NOT NULL DEFAULT now()
);
GRANT INSERT, UPDATE (expires_at, revoked_at, replaced_by),
    SELECT (id, name, shown, scopes, agents, per_minute, created_at, expires_at, revoked_at, last_used_at, replaced_by)
    ON api_key TO subclaw_operator;

-- What a key may, and how long it has to wait if it was used too much; nothing if it is not good.
CREATE FUNCTION use_api_key(p_hash bytea)
RETURNS TABLE (id bigint, scopes text[], agents text[], wait_s double precision) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    v api_key;
    v_level double precision;
BEGIN
    -- All calls with a key pass here one by one, and what is counted may be lost in a crash.
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT * INTO v FROM api_key k WHERE k.key_hash = p_hash AND k.revoked_at IS NULL
        AND (k.expires_at IS NULL OR k.expires_at > now()) FOR NO KEY UPDATE;
    IF v.id IS NULL THEN
        RETURN;
    END IF;
    v_level := greatest(0, v.bucket - extract(epoch FROM clock_timestamp() - v.bucket_at) * v.per_minute / 60);
    IF v_level + 1 > v.per_minute THEN
        RETURN QUERY SELECT v.id, v.scopes, v.agents, (v_level + 1 - v.per_minute) * 60 / v.per_minute;
        RETURN;
    END IF;
    UPDATE api_key k SET bucket = v_level + 1, bucket_at = clock_timestamp(), last_used_at = now() WHERE k.id = v.id;
    RETURN QUERY SELECT v.id, v.scopes, v.agents, 0::double precision;
END $$;

-- What checks the tokens that were signed with a key, while that is good.
CREATE FUNCTION api_key_verifier(p_id bigint) RETURNS TABLE (verify_key bytea, scopes text[], agents text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT k.verify_key, k.scopes, k.agents FROM api_key k
    WHERE k.id = p_id AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
$$;

-- Calls with an Idempotency-Key, and what they were answered; those that hold a customer's words go with the customer.
CREATE TABLE api_call (
    key_id       bigint NOT NULL REFERENCES api_key ON DELETE CASCADE,
    name         text NOT NULL CHECK (length(name) <= 400),
    request_hash bytea NOT NULL,
    tenant_id    bigint REFERENCES tenant ON DELETE CASCADE,
    begun_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    status       integer,
    body         bytea,
    PRIMARY KEY (key_id, name)
);
CREATE INDEX api_call_age ON api_call (key_id, begun_at);
CREATE INDEX api_call_tenant ON api_call (tenant_id) WHERE tenant_id IS NOT NULL;
ALTER TABLE api_call ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON api_call TO subclaw_app USING (tenant_id = current_tenant());

-- Begin a call: 'begun', 'kept' with its answer, 'other' if the name stood for another request, 'busy' if it is under way.
-- One that was begun p_abandoned ago, and not ended, is begun anew: whoever had it is gone.
CREATE FUNCTION begin_api_call(p_key bigint, p_name text, p_hash bytea, p_life interval, p_abandoned interval)
RETURNS TABLE (outcome text, status integer, body bytea) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE v api_call;
BEGIN
    DELETE FROM api_call c WHERE c.key_id = p_key AND c.begun_at < clock_timestamp() - p_life;
    INSERT INTO api_call (key_id, name, request_hash) VALUES (p_key, p_name, p_hash) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN QUERY SELECT 'begun', NULL::integer, NULL::bytea;
        RETURN;
    END IF;
    SELECT * INTO v FROM api_call c WHERE c.key_id = p_key AND c.name = p_name FOR UPDATE;
    IF v.request_hash <> p_hash THEN
        RETURN QUERY SELECT 'other', NULL::integer, NULL::bytea;
    ELSIF v.status IS NOT NULL THEN
        RETURN QUERY SELECT 'kept', v.status, v.body;
    ELSIF v.begun_at < clock_timestamp() - p_abandoned THEN
        UPDATE api_call c SET begun_at = clock_timestamp() WHERE c.key_id = p_key AND c.name = p_name;
        RETURN QUERY SELECT 'begun', NULL::integer, NULL::bytea;
    ELSE
        RETURN QUERY SELECT 'busy', NULL::integer, NULL::bytea;
    END IF;
END $$;

-- Keep what a call was answered; without a status it is forgotten, so that it can be made again. A customer who was erased
-- meanwhile leaves nothing.
CREATE FUNCTION end_api_call(p_key bigint, p_name text, p_status integer, p_body bytea, p_tenant bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF p_status IS NULL OR p_tenant IS NOT NULL AND NOT EXISTS (SELECT FROM tenant t WHERE t.id = p_tenant) THEN
        DELETE FROM api_call c WHERE c.key_id = p_key AND c.name = p_name;
    ELSE
        UPDATE api_call c SET status = p_status, body = p_body, tenant_id = p_tenant
            WHERE c.key_id = p_key AND c.name = p_name;
    END IF;
END $$;

-- Where webhooks go. Without an agent an endpoint hears of all of them. failing_since is the first of the failures that
-- no success has ended.
CREATE TABLE webhook_endpoint (
    id               text PRIMARY KEY,
    agent            text NOT NULL,
    url              text NOT NULL,
    events           text[] NOT NULL,
    sealed           bytea NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    failing_since    timestamptz,
    disabled_at      timestamptz,
    disabled_because text NOT NULL DEFAULT ''
);
GRANT SELECT, INSERT, DELETE, UPDATE (failing_since, disabled_at, disabled_because) ON webhook_endpoint TO subclaw_operator;

-- The outbox of webhooks: ids, no words. What is being sent is somebody's until claimed_until.
CREATE TABLE webhook_delivery (
    id            text PRIMARY KEY DEFAULT 'msg_' || replace(gen_random_uuid()::text, '-', ''),
    endpoint_id   text NOT NULL REFERENCES webhook_endpoint ON DELETE CASCADE,
    tenant_id     bigint REFERENCES tenant ON DELETE CASCADE,
    type          text NOT NULL,
    body          text NOT NULL,
    state         text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sent', 'dead')),
    attempts      integer NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    send_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_until timestamptz,
    detail        text NOT NULL DEFAULT ''
);
CREATE INDEX webhook_delivery_due ON webhook_delivery (send_at) WHERE state = 'queued';
CREATE INDEX webhook_delivery_endpoint ON webhook_delivery (endpoint_id, created_at);
CREATE INDEX webhook_delivery_tenant ON webhook_delivery (tenant_id) WHERE tenant_id IS NOT NULL;
ALTER TABLE webhook_delivery ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON webhook_delivery TO subclaw_app USING (tenant_id = current_tenant());
CREATE POLICY operator ON webhook_delivery TO subclaw_operator USING (true);
GRANT SELECT, UPDATE (state, attempts, send_at, claimed_until) ON webhook_delivery TO subclaw_operator;

-- Puts what happened before every endpoint that wants to hear of it.
CREATE FUNCTION queue_webhooks(p_tenant bigint, p_agent text, p_type text, p_data jsonb) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO webhook_delivery (endpoint_id, tenant_id, type, body)
        SELECT e.id, p_tenant, p_type, jsonb_build_object(
            'type', p_type, 'timestamp', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'data', p_data)
        FROM webhook_endpoint e
        WHERE e.disabled_at IS NULL AND p_type = ANY (e.events) AND e.agent IN ('', p_agent);
    IF FOUND THEN
        NOTIFY subclaw_webhook;
    END IF;
END $$;

-- Those that are due, with where they go. Whoever claims them has until p_hold from now.
CREATE FUNCTION claim_webhooks(p_limit integer, p_hold interval)
RETURNS TABLE (id text, url text, endpoint_id text, sealed bytea, body text, attempts integer) LANGUAGE sql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE webhook_delivery d SET claimed_until = clock_timestamp() + p_hold, attempts = d.attempts + 1
    FROM (
        SELECT q.id FROM webhook_delivery q JOIN webhook_endpoint o ON o.id = q.endpoint_id
        WHERE q.state = 'queued' AND q.send_at <= clock_timestamp() AND o.disabled_at IS NULL
            AND (q.claimed_until IS NULL OR q.claimed_until < clock_timestamp())
        ORDER BY q.send_at LIMIT p_limit FOR UPDATE OF q SKIP LOCKED
    ) due, webhook_endpoint e
    WHERE d.id = due.id AND e.id = d.endpoint_id
    RETURNING d.id, e.url, e.id, e.sealed, d.body, d.attempts
$$;

-- Records what became of a try. With p_delay it is tried again; an endpoint that has failed for p_patience is disabled.
CREATE FUNCTION settle_webhook(
    p_id text, p_attempt integer, p_state text, p_delay interval, p_detail text, p_patience interval
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE v_endpoint text;
BEGIN
    UPDATE webhook_delivery d SET state = p_state, claimed_until = NULL, detail = left(p_detail, 300),
        send_at = clock_timestamp() + coalesce(p_delay, interval '0')
        WHERE d.id = p_id AND d.attempts = p_attempt AND d.state = 'queued' RETURNING d.endpoint_id INTO v_endpoint;
    IF p_state = 'sent' THEN
        UPDATE webhook_endpoint e SET failing_since = NULL WHERE e.id = v_endpoint AND e.failing_since IS NOT NULL;
        RETURN;
    END IF;
    UPDATE webhook_endpoint e SET failing_since = coalesce(e.failing_since, clock_timestamp()) WHERE e.id = v_endpoint;
    UPDATE webhook_endpoint e SET disabled_at = clock_timestamp(), disabled_because = left(p_detail, 300)
        WHERE e.id = v_endpoint AND e.disabled_at IS NULL AND e.failing_since <= clock_timestamp() - p_patience;
END $$;

REVOKE ALL ON FUNCTION use_api_key, api_key_verifier, begin_api_call, end_api_call, queue_webhooks, claim_webhooks,
    settle_webhook FROM PUBLIC;
GRANT EXECUTE ON FUNCTION use_api_key, api_key_verifier, begin_api_call, end_api_call, queue_webhooks, claim_webhooks,
    settle_webhook TO subclaw_app;

-- What a session's page or its owner's server reads after p_after: what was said and which steps were made, with neither
-- arguments nor results, and none of the messages by which an approval is decided.
CREATE FUNCTION session_events(p_session text, p_after bigint, p_limit integer)
RETURNS TABLE (turn_open boolean, items jsonb) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM present('api', p_session);
    RETURN QUERY SELECT c.turn_open, (
        SELECT coalesce(jsonb_agg(to_jsonb(said) ORDER BY said.seq), '[]') FROM (
            SELECT e.seq, e.type, e.at, CASE
                WHEN e.type = 'message.received' THEN
                    jsonb_build_object('text', e.body -> 'text', 'id', e.body -> 'provider_id')
                WHEN e.type = 'reply.queued' THEN
                    jsonb_build_object('text', e.body -> 'text', 'files', coalesce(e.body -> 'files', '[]'))
                WHEN e.type = 'turn.finished' THEN jsonb_build_object('outcome', e.body -> 'outcome')
                WHEN e.type IN ('tool.started', 'tool.finished') THEN
                    jsonb_build_object('call', e.body -> 'call_id', 'is_error', e.body -> 'is_error', 'tool', (
                        SELECT made.value -> 'name' FROM event m, jsonb_array_elements(m.body -> 'calls') made
                        WHERE m.conversation_id = c.id AND m.seq BETWEEN e.seq - 200 AND e.seq - 1
                            AND m.type = 'model.replied' AND made.value ->> 'id' = e.body ->> 'call_id' LIMIT 1))
                WHEN e.type = 'approval.requested' THEN
                    jsonb_build_object('approval', e.body -> 'approval_id', 'tool', e.body #> '{call,name}',
                                       'expires_at', e.body -> 'expires_at')
                WHEN e.type = 'approval.decided' THEN
                    jsonb_build_object('approval', e.body #> '{request,approval_id}', 'outcome',
                                       CASE WHEN e.body -> 'approved' = 'true' THEN 'approved' ELSE 'declined' END)
                WHEN e.type = 'approval.lapsed' THEN
                    jsonb_build_object('approval', e.body #> '{request,approval_id}', 'outcome', e.body -> 'reason')
                ELSE '{}'
            END AS body
            FROM event e WHERE e.conversation_id = c.id AND e.seq > p_after
                AND e.type IN ('message.received', 'reply.queued', 'turn.started', 'turn.finished', 'tool.started',
                               'tool.finished', 'approval.requested', 'approval.decided', 'approval.lapsed')
                AND NOT (e.type = 'message.received' AND starts_with(e.body ->> 'provider_id', 'approval:'))
            ORDER BY e.seq LIMIT p_limit
        ) said
    ) FROM conversation c WHERE c.channel = 'api' AND c.address = p_session;
END $$;

-- After which event a message is to be looked for, which is there already or will come; NULL for one that was not taken.
CREATE FUNCTION place_of_message(p_session text, p_provider_id text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM present('api', p_session);
    RETURN (SELECT coalesce((
        SELECT e.seq - 1 FROM event e WHERE e.conversation_id = c.id AND e.type = 'message.received'
            AND e.body ->> 'provider_id' = p_provider_id ORDER BY e.seq DESC LIMIT 1), c.next_seq - 1)
        FROM conversation c JOIN inbox i ON i.conversation_id = c.id
        WHERE c.channel = 'api' AND c.address = p_session AND i.provider_id = p_provider_id);
END $$;

-- What models took in a session from one event to another.
CREATE FUNCTION session_usage(p_session text, p_after bigint, p_until bigint)
RETURNS TABLE (input_tokens bigint, output_tokens bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM present('api', p_session);
    RETURN QUERY SELECT coalesce(sum(u.input_tokens), 0)::bigint, coalesce(sum(u.output_tokens), 0)::bigint
        FROM usage u JOIN conversation c ON c.id = u.conversation_id
        WHERE c.channel = 'api' AND c.address = p_session AND u.seq > p_after AND u.seq <= p_until;
END $$;

-- The session of a customer that was opened last.
CREATE FUNCTION newest_session(p_tenant bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN (SELECT s.id FROM session s WHERE s.tenant_id = p_tenant ORDER BY s.opened_at DESC, s.id LIMIT 1);
END $$;

-- The request for an approval, whole.
CREATE FUNCTION read_approval(p_tenant bigint, p_approval bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN (SELECT jsonb_build_object('type', e.type, 'body', e.body)
        FROM approval a JOIN event e ON e.conversation_id = a.conversation_id AND e.seq = a.seq WHERE a.id = p_approval);
END $$;

-- A page of a customer's rows in one table, as JSON, for the export: all that is in tables with a tenant.
CREATE FUNCTION tables_of_customer() RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT c.relname::text FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
    ORDER BY 1
$$;

CREATE FUNCTION export_customer(p_tenant bigint, p_table text, p_offset bigint, p_limit integer) RETURNS SETOF jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF p_table NOT IN (SELECT tables_of_customer())
        OR NOT EXISTS (SELECT FROM tenant t WHERE t.id = p_tenant AND t.agent IS NOT NULL) THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT to_jsonb(x) - ARRAY[''sealed'', ''binding'', ''code_hash'', ''token_hash'', ''link_hash'', ''state_hash'', ''verifier''] FROM %I x
         WHERE x.tenant_id = $1 ORDER BY x.ctid OFFSET $2 LIMIT $3', p_table) USING p_tenant, p_offset, p_limit;
END $$;

-- Erases a customer with all that is theirs, and says how many rows of which table went. A turn that runs meanwhile has lost
-- its lease. A machine has to be destroyed before, or its row would stand for a disk that nobody knows of.
CREATE FUNCTION erase_customer(p_tenant bigint) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    v tenant;
    v_table text;
    v_count bigint;
    v_removed jsonb := '{}';
BEGIN
    SELECT * INTO v FROM tenant t WHERE t.id = p_tenant AND t.agent IS NOT NULL FOR UPDATE;
    IF v.id IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM FROM conversation c WHERE c.tenant_id = p_tenant ORDER BY c.id FOR UPDATE;
    FOR v_table IN SELECT tables_of_customer() LOOP
        EXECUTE format('SELECT count(*) FROM %I x WHERE x.tenant_id = $1', v_table) INTO v_count USING p_tenant;
        IF v_count > 0 THEN
            v_removed := v_removed || jsonb_build_object(v_table, v_count);
        END IF;
    END LOOP;
    DELETE FROM control_message m USING identity i
        WHERE i.tenant_id = p_tenant AND (m.channel, m.address) = (i.channel, i.address);
    DELETE FROM consent k WHERE k.tenant_id = p_tenant;
    DELETE FROM tenant t WHERE t.id = p_tenant;
    PERFORM queue_webhooks(NULL, v.agent, 'customer.erased', jsonb_build_object(
        'agent', v.agent, 'customer', v.customer));
    RETURN v_removed;
END $$;

-- Receipts of erasure: proof that somebody was erased, by the hash of what the owner called them.
CREATE TABLE erasure (
    id         text PRIMARY KEY,
    agent      text NOT NULL,
    receipt    jsonb NOT NULL,
    erased_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT SELECT, INSERT ON erasure TO subclaw_operator;

REVOKE ALL ON FUNCTION session_events, place_of_message, session_usage, newest_session, read_approval,
    tables_of_customer, export_customer, erase_customer FROM PUBLIC;
GRANT EXECUTE ON FUNCTION session_events, place_of_message, session_usage, newest_session, read_approval,
    tables_of_customer, export_customer, erase_customer TO subclaw_app;

-- How people hand over secrets: keys are taken out of messages before these are stored, and the person is told so in the
-- transaction that stores the message; a link that works once takes the value, and wakes the agent.

-- A link by which one secret can be set. The token in it is kept as its SHA-256. Without a binding the person says where
-- the secret goes; kind says what was taken out of their message. call_id is the tool call that asked, which may be made
-- again after a crash.
CREATE TABLE secret_request (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    conversation_id bigint NOT NULL REFERENCES conversation ON DELETE CASCADE,
    call_id         text,
    token_hash      bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    name            text NOT NULL,
    binding         jsonb,
    kind            text NOT NULL,
    reason          text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    used_at         timestamptz,
    UNIQUE (conversation_id, call_id)
);
CREATE INDEX secret_request_tenant ON secret_request (tenant_id, id);

ALTER TABLE secret_request ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secret_request TO subclaw_app USING (tenant_id = current_tenant());
CREATE POLICY operator ON secret_request FOR SELECT TO subclaw_operator USING (true);
-- Who presents a token may see what it is for.
CREATE POLICY presented ON secret_request FOR SELECT TO subclaw_app
    USING (token_hash = decode(nullif(current_setting('subclaw.token_hash', true), ''), 'hex'));
GRANT SELECT, INSERT, UPDATE, DELETE ON secret_request TO subclaw_app;
GRANT SELECT (id, tenant_id, conversation_id, created_at, expires_at, used_at) ON secret_request TO subclaw_operator;

-- Make a link, in place of the one of the same call. Of a tenant's only the newest p_limit are kept, and those that are
-- over for a day, so that they can be told from what never was.
CREATE FUNCTION ask_secret(
    p_tenant bigint, p_conversation bigint, p_call_id text, p_token_hash bytea, p_name text, p_binding jsonb, p_kind text,
    p_reason text, p_life interval, p_limit integer
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    INSERT INTO secret_request AS r
        (tenant_id, conversation_id, call_id, token_hash, name, binding, kind, reason, expires_at)
        VALUES (p_tenant, p_conversation, p_call_id, p_token_hash, p_name, p_binding, p_kind, p_reason, now() + p_life)
        ON CONFLICT (conversation_id, call_id) DO UPDATE
            SET token_hash = p_token_hash, expires_at = now() + p_life WHERE r.used_at IS NULL;
    DELETE FROM secret_request r USING (
        SELECT o.id FROM secret_request o WHERE o.tenant_id = p_tenant AND (
            o.expires_at < now() - interval '1 day' OR o.id IN (
                SELECT n.id FROM secret_request n WHERE n.tenant_id = p_tenant ORDER BY n.id DESC OFFSET p_limit))
        FOR UPDATE SKIP LOCKED
    ) old WHERE r.id = old.id;
END $$;

CREATE FUNCTION present_token(p_token_hash bytea) RETURNS secret_request LANGUAGE plpgsql AS $$
DECLARE v secret_request;
BEGIN
    PERFORM set_config('subclaw.token_hash', encode(p_token_hash, 'hex'), true);
    SELECT * INTO v FROM secret_request r WHERE r.token_hash = p_token_hash;
    PERFORM be_tenant(v.tenant_id);
    RETURN v;
END $$;

-- What a link is for; nothing if there is none of that token.
CREATE FUNCTION find_secret_request(p_token_hash bytea) RETURNS TABLE (
    tenant_id bigint, tenant_name text, name text, binding jsonb, kind text, reason text, state text
) LANGUAGE plpgsql AS $$
DECLARE v secret_request := present_token(p_token_hash);
BEGIN
    RETURN QUERY SELECT t.id, t.name, v.name, v.binding, v.kind, v.reason,
        CASE WHEN v.used_at IS NOT NULL THEN 'used' WHEN v.expires_at <= now() THEN 'expired' ELSE 'open' END
        FROM tenant t WHERE t.id = v.tenant_id;
END $$;

-- Set the secret that a link is for and wake the conversation, once; returns the state that the link was in. It stays
-- open if the secret has another placeholder meanwhile (changed), or if there are p_limit already (full).
CREATE FUNCTION set_secret(
    p_token_hash bytea, p_name text, p_placeholder text, p_binding jsonb, p_sealed bytea, p_limit integer
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v secret_request := present_token(p_token_hash);
    v_conversation conversation;
    v_secret bigint;
BEGIN
    SELECT * INTO v FROM secret_request r WHERE r.id = v.id FOR UPDATE;
    IF v.id IS NULL OR v.used_at IS NOT NULL OR v.expires_at <= now() THEN
        RETURN CASE WHEN v.used_at IS NOT NULL THEN 'used' ELSE 'expired' END;
    END IF;
    v_secret := keep_bound_secret('tenant', v.tenant_id, p_name, p_placeholder, p_binding, p_sealed, p_limit);
    IF v_secret IS NULL OR v_secret = 0 THEN
        RETURN CASE WHEN v_secret = 0 THEN 'full' ELSE 'changed' END;
    END IF;
    UPDATE secret_request r SET used_at = now() WHERE r.id = v.id;
    SELECT * INTO v_conversation FROM conversation c WHERE c.id = v.conversation_id FOR UPDATE;
    INSERT INTO inbox (conversation_id, seq, tenant_id, provider_id, text, received_at)
        VALUES (v.conversation_id, v_conversation.inbox_seq + 1, v.tenant_id, 'secret:' || v.id,
                jsonb_build_object('name', p_name, 'binding', p_binding)::text, now());
    UPDATE conversation c SET inbox_seq = c.inbox_seq + 1, wake_at = coalesce(c.wake_at, now())
        WHERE c.id = v.conversation_id;
    IF v_conversation.owner IS NULL THEN
        NOTIFY subclaw_wake;
    ELSE
        PERFORM pg_notify('subclaw_inbox', v.conversation_id::text);
    END IF;
    RETURN 'open';
END $$;

-- removed says what was taken out of a message, and notice is what the person is told of it.
ALTER TABLE inbox ADD COLUMN removed text[], ADD COLUMN notice text, ADD COLUMN send_notice boolean;

-- As before; and with p_removed that keys of these kinds were taken out of the text. Then p_notice is for the person, and
-- goes to the outbox with p_send; each of p_token_hashes is of a link in it, by which a key of the same place is handed
-- over after all.
DROP FUNCTION receive(text, text, text, text, timestamptz, text[]);
CREATE FUNCTION receive(
    p_channel text, p_address text, p_provider_id text, p_text text, p_received_at timestamptz, p_names text[],
    p_removed text[] DEFAULT NULL, p_notice text DEFAULT NULL, p_send boolean DEFAULT NULL,
    p_token_hashes bytea[] DEFAULT '{}', p_life interval DEFAULT NULL, p_limit integer DEFAULT NULL
) RETURNS TABLE (tenant_id bigint, conversation_id bigint, duplicate boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_tenant bigint := present(p_channel, p_address);
    v conversation;
BEGIN
    IF v_tenant IS NULL THEN
        v_tenant := welcome(p_channel, p_address, p_names);
    END IF;
    SELECT * INTO STRICT v FROM conversation c WHERE c.channel = p_channel AND c.address = p_address FOR UPDATE;
    IF EXISTS (SELECT FROM inbox i WHERE i.conversation_id = v.id AND i.provider_id = p_provider_id) THEN
        RETURN QUERY SELECT v_tenant, v.id, true;
        RETURN;
    END IF;
    INSERT INTO inbox VALUES
        (v.id, v.inbox_seq + 1, v_tenant, p_provider_id, p_text, p_received_at, p_removed, p_notice, p_send);
    FOR n IN 1 .. cardinality(p_token_hashes) LOOP
        PERFORM ask_secret(v_tenant, v.id, NULL, p_token_hashes[n], '', NULL, p_removed[n], '', p_life, p_limit);
    END LOOP;
    UPDATE conversation c SET inbox_seq = v.inbox_seq + 1, wake_at = coalesce(c.wake_at, now()) WHERE c.id = v.id;
    IF v.owner IS NULL THEN
        NOTIFY subclaw_wake;
    ELSE
        PERFORM pg_notify('subclaw_inbox', v.id::text);
    END IF;
    RETURN QUERY SELECT v_tenant, v.id, false;
END $$;

-- As before; and a secret that was set is told apart, and the notices of what was removed follow as replies.
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
                   WHEN 'account' THEN 'account.lost' ELSE 'message.received' END,
               CASE
                   WHEN s.parts[1] = 'schedule' THEN
                       jsonb_build_object('text', i.text, 'schedule_id', s.parts[2]::bigint)
                   WHEN s.parts[1] IN ('secret', 'account') THEN i.text::jsonb
                   ELSE jsonb_build_object('text', i.text, 'provider_id', i.provider_id)
                        || CASE WHEN i.removed IS NULL THEN '{}' ELSE jsonb_build_object('removed', i.removed) END
               END
        FROM inbox i, regexp_match(i.provider_id, '^(schedule|secret|account):([0-9]+)$') AS s (parts)
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

-- As before, without what nobody said: secrets that were set, accounts that were lost.
CREATE OR REPLACE FUNCTION waiting_messages(p_tenant bigint, p_conversation bigint, p_epoch bigint)
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE v conversation := hold(p_tenant, p_conversation, p_epoch);
BEGIN
    RETURN QUERY SELECT i.text FROM inbox i
        WHERE i.conversation_id = v.id AND i.seq > v.drained_seq AND i.provider_id NOT LIKE 'schedule:%'
            AND i.provider_id NOT LIKE 'secret:%' AND i.provider_id NOT LIKE 'account:%' ORDER BY i.seq;
END $$;

REVOKE ALL ON FUNCTION ask_secret, present_token, find_secret_request, set_secret, receive FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ask_secret, present_token, find_secret_request, set_secret, receive TO subclaw_app;

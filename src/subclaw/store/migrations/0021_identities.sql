-- One person with several channels, what the law wants of channels, and tenants that are suspended.

-- channels counts the addresses that a tenant ever had, so that the number of one is never another's.
ALTER TABLE tenant
    ADD COLUMN channels          integer NOT NULL DEFAULT 0,
    ADD COLUMN suspended_at      timestamptz,
    ADD COLUMN suspended_because text NOT NULL DEFAULT '' CHECK (length(suspended_because) <= 500);
CREATE INDEX tenant_suspended ON tenant (id) WHERE suspended_at IS NOT NULL;
GRANT UPDATE (channels) ON tenant TO subclaw_app;

ALTER TABLE identity
    ADD COLUMN number    integer NOT NULL DEFAULT 0,
    ADD COLUMN linked_at timestamptz NOT NULL DEFAULT now();
UPDATE identity i SET number = n.number FROM (
    SELECT o.channel, o.address, row_number() OVER (PARTITION BY o.tenant_id ORDER BY o.channel, o.address) AS number
    FROM identity o
) n WHERE (i.channel, i.address) = (n.channel, n.address);
UPDATE tenant t SET channels = (SELECT count(*) FROM identity i WHERE i.tenant_id = t.id);

CREATE FUNCTION number_identity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tenant t SET channels = t.channels + 1 WHERE t.id = NEW.tenant_id RETURNING t.channels INTO NEW.number;
    RETURN NEW;
END $$;
CREATE TRIGGER number_identity BEFORE INSERT ON identity FOR EACH ROW EXECUTE FUNCTION number_identity();

-- How much was heard by heard_at, as a bucket that leaks; until when nothing is read, since it was too much; and when it was
-- told that its tenant is suspended.
ALTER TABLE conversation
    ADD COLUMN heard_count        real NOT NULL DEFAULT 0,
    ADD COLUMN heard_at           timestamptz,
    ADD COLUMN deaf_until         timestamptz,
    ADD COLUMN suspension_told_at timestamptz;

-- purpose is why this is said although otherwise nothing is. What is held until later keeps nothing else back; unasked_at
-- is when something was sent for which nobody had asked just then.
ALTER TABLE outbox
    ADD COLUMN purpose    text CHECK (purpose IN ('suspended', 'opted out', 'unlinked')),
    ADD COLUMN held_until timestamptz,
    ADD COLUMN unasked_at timestamptz;
CREATE INDEX outbox_unasked ON outbox (tenant_id, unasked_at) WHERE unasked_at IS NOT NULL;

-- What people said of being written to, and when: only ever appended to, and the last row of an address counts. It is the
-- address's, whoever has it, and stays when its tenant goes. evidence_id is the provider's name of the message.
CREATE TABLE consent (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   bigint REFERENCES tenant ON DELETE SET NULL,
    channel     text NOT NULL,
    address     text NOT NULL,
    state       text NOT NULL CHECK (state IN ('in', 'out')),
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    how         text NOT NULL,
    evidence_id text NOT NULL
);
CREATE INDEX consent_address ON consent (channel, address, id);
CREATE INDEX consent_tenant ON consent (tenant_id);

-- A code by which another channel becomes this tenant's. It is kept as its SHA-256.
CREATE TABLE link_code (
    code_hash       bytea PRIMARY KEY CHECK (length(code_hash) = 32),
    tenant_id       bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    conversation_id bigint NOT NULL REFERENCES conversation ON DELETE CASCADE,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at      timestamptz NOT NULL,
    used_at         timestamptz
);
CREATE INDEX link_code_tenant ON link_code (tenant_id);
CREATE INDEX link_code_conversation ON link_code (conversation_id);

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['consent', 'link_code'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own ON %I TO subclaw_app USING (tenant_id = current_tenant())', name);
        EXECUTE format('CREATE POLICY operator ON %I FOR SELECT TO subclaw_operator USING (true)', name);
    END LOOP;
END $$;
-- Who presents an address may note what it said before it is anybody's, and who presents a code may see whose it is.
CREATE POLICY presented ON consent TO subclaw_app USING (tenant_id IS NULL
    AND channel = current_setting('subclaw.channel', true) AND address = current_setting('subclaw.address', true));
CREATE POLICY presented ON link_code FOR SELECT TO subclaw_app
    USING (code_hash = decode(nullif(current_setting('subclaw.code_hash', true), ''), 'hex'));
GRANT SELECT, INSERT ON consent TO subclaw_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON link_code TO subclaw_app;
GRANT SELECT ON consent TO subclaw_operator;
GRANT SELECT (tenant_id, conversation_id, created_at, expires_at, used_at) ON link_code TO subclaw_operator;

-- Codes that were none, by who sent them; and the messages that were taken here, and are in no inbox.
CREATE TABLE link_guess (
    channel text NOT NULL,
    address text NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX link_guess_at ON link_guess (at);
CREATE TABLE control_message (
    channel     text NOT NULL,
    address     text NOT NULL,
    provider_id text NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (channel, address, provider_id)
);
CREATE INDEX control_message_at ON control_message (at);
CREATE INDEX control_message_sender ON control_message (channel, address, at);
GRANT SELECT, INSERT, DELETE ON link_guess, control_message TO subclaw_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO subclaw_app;

-- Begin with a message that is taken here: who writes, and where; nothing if it was taken before. Strangers are no tenant
-- and have no conversation. Until the end of the transaction nobody else makes the address a tenant's. It is too_many if
-- there were p_limit within a minute.
CREATE FUNCTION begin_control(p_channel text, p_address text, p_provider_id text, p_limit integer)
RETURNS TABLE (tenant_id bigint, conversation_id bigint, too_many boolean) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(p_channel || ' ' || p_address, 0));
    DELETE FROM control_message m WHERE m.at < now() - interval '30 days';
    INSERT INTO control_message VALUES (p_channel, p_address, p_provider_id) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN QUERY SELECT present(p_channel, p_address), (
            SELECT c.id FROM conversation c WHERE c.channel = p_channel AND c.address = p_address), (
            SELECT count(*) > p_limit FROM control_message m WHERE m.channel = p_channel AND m.address = p_address
                AND m.at > clock_timestamp() - interval '1 minute');
    END IF;
END $$;

-- Say something of subclaw's own in a conversation: it is in the transcript, and sent with p_send.
CREATE FUNCTION say_notice(p_tenant bigint, p_conversation bigint, p_text text, p_send boolean, p_purpose text)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE v conversation;
BEGIN
    PERFORM be_tenant(p_tenant);
    SELECT * INTO STRICT v FROM conversation c WHERE c.id = p_conversation FOR UPDATE;
    UPDATE conversation c SET next_seq = v.next_seq + write_events(v, v.next_seq, jsonb_build_array(jsonb_build_object(
        'type', 'reply.queued', 'body', jsonb_build_object('text', p_text))))
        WHERE c.id = v.id;
    IF p_send THEN
        INSERT INTO outbox (tenant_id, conversation_id, channel, address, text, purpose)
            VALUES (v.tenant_id, v.id, v.channel, v.address, p_text, p_purpose);
        NOTIFY subclaw_outbox;
    END IF;
    PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address);
END $$;

-- Keep a code instead of the one that the tenant had; false if it had p_limit in an hour.
CREATE FUNCTION keep_link_code(
    p_tenant bigint, p_conversation bigint, p_code_hash bytea, p_life interval, p_limit integer
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    PERFORM FROM tenant t WHERE t.id = p_tenant FOR NO KEY UPDATE;
    DELETE FROM link_code l WHERE l.tenant_id = p_tenant AND l.created_at < now() - interval '1 hour';
    IF (SELECT count(*) FROM link_code l WHERE l.tenant_id = p_tenant) >= p_limit THEN
        RETURN false;
    END IF;
    UPDATE link_code l SET expires_at = now() WHERE l.tenant_id = p_tenant AND l.expires_at > now();
    INSERT INTO link_code (code_hash, tenant_id, conversation_id, expires_at)
        VALUES (p_code_hash, p_tenant, p_conversation, now() + p_life);
    RETURN true;
END $$;

-- Whether a tenant has nothing that it could lose: no answer of an agent's, nothing that it made, set or was given, and no
-- other address. Whatever is not named here counts, so that what comes later does too.
CREATE FUNCTION has_nothing(p_tenant bigint) RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    v_table text;
    v_found boolean;
BEGIN
    IF (SELECT count(*) FROM identity i WHERE i.tenant_id = p_tenant) > 1
        OR EXISTS (SELECT FROM tenant t WHERE t.id = p_tenant AND t.suspended_at IS NOT NULL) THEN
        RETURN false;
    END IF;
    FOR v_table IN
        SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attname = 'tenant_id'
            AND NOT a.attisdropped AND c.relname <> ALL (ARRAY[
                'identity', 'conversation', 'inbox', 'event', 'outbox', 'outbox_part', 'consent', 'link_code',
                'budget_counter', 'budget_change', 'egress_decision', 'egress_usage', 'machine', 'machine_use', 'house',
                'house_file', 'onboarding', 'platform_answer'])
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE tenant_id = $1)', v_table) INTO v_found USING p_tenant;
        IF v_found THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END $$;

-- Take a code. `locked`: too many that were none, from there or from all; `wrong`: it is none (any more); `here`: it is for
-- another channel; `full`: there are p_channels already; `taken`: the address is a tenant's that has something; `linked`.
-- With the last the address is the tenant's, with a conversation, and a tenant without anything is gone.
CREATE FUNCTION redeem_link_code(
    p_channel text, p_address text, p_code_hash bytea, p_sender_limit integer, p_total_limit integer, p_channels integer
) RETURNS TABLE (outcome text, tenant_id bigint, conversation_id bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_own bigint := present(p_channel, p_address);
    v link_code;
    v_conversation bigint;
BEGIN
    DELETE FROM link_guess g WHERE g.at < now() - interval '1 hour';
    IF (SELECT count(*) >= p_total_limit OR count(*) FILTER (
            WHERE g.channel = p_channel AND g.address = p_address) >= p_sender_limit FROM link_guess g) THEN
        RETURN QUERY SELECT 'locked', v_own, NULL::bigint;
        RETURN;
    END IF;
    PERFORM set_config('subclaw.code_hash', encode(p_code_hash, 'hex'), true);
    SELECT * INTO v FROM link_code l WHERE l.code_hash = p_code_hash;
    PERFORM be_tenant(v.tenant_id);
    SELECT * INTO v FROM link_code l
        WHERE l.code_hash = p_code_hash AND l.used_at IS NULL AND l.expires_at > clock_timestamp() FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO link_guess (channel, address) VALUES (p_channel, p_address);
        RETURN QUERY SELECT 'wrong', v_own, NULL::bigint;
        RETURN;
    END IF;
    IF v.tenant_id = v_own THEN
        RETURN QUERY SELECT 'here', v_own, NULL::bigint;
        RETURN;
    END IF;
    UPDATE link_code l SET used_at = now() WHERE l.code_hash = p_code_hash;
    IF (SELECT count(*) FROM identity i WHERE i.tenant_id = v.tenant_id) >= p_channels THEN
        RETURN QUERY SELECT 'full', v_own, NULL::bigint;
        RETURN;
    END IF;
    IF v_own IS NOT NULL THEN
        PERFORM be_tenant(v_own);
        -- Held, so that nothing is said there between this look and its end.
        PERFORM FROM conversation c WHERE c.channel = p_channel AND c.address = p_address FOR UPDATE;
        IF NOT has_nothing(v_own) THEN
            RETURN QUERY SELECT 'taken', v_own, NULL::bigint;
            RETURN;
        END IF;
        DELETE FROM tenant t WHERE t.id = v_own;
        PERFORM be_tenant(v.tenant_id);
    END IF;
    INSERT INTO identity (channel, address, tenant_id) VALUES (p_channel, p_address, v.tenant_id);
    INSERT INTO conversation AS c (tenant_id, channel, address) VALUES (v.tenant_id, p_channel, p_address)
        RETURNING c.id INTO v_conversation;
    RETURN QUERY SELECT 'linked', v.tenant_id, v_conversation;
END $$;

-- The addresses of a tenant with their numbers and conversations, the first one first; nobody links or unlinks meanwhile.
CREATE FUNCTION numbered_ways(p_tenant bigint)
RETURNS TABLE (number integer, channel text, address text, conversation_id bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    PERFORM FROM tenant t WHERE t.id = p_tenant FOR NO KEY UPDATE;
    RETURN QUERY SELECT i.number, i.channel, i.address, c.id
        FROM identity i JOIN conversation c ON c.channel = i.channel AND c.address = i.address
        WHERE i.tenant_id = p_tenant ORDER BY i.number, i.channel, i.address;
END $$;

-- Let an address be the tenant's no more. Its conversation is kept, under an address that nobody has; what was set there
-- for later comes in p_heir.
CREATE FUNCTION unlink_way(p_tenant bigint, p_conversation bigint, p_heir bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE v conversation;
BEGIN
    PERFORM be_tenant(p_tenant);
    SELECT * INTO STRICT v FROM conversation c WHERE c.id = p_conversation FOR UPDATE;
    DELETE FROM identity i WHERE i.channel = v.channel AND i.address = v.address;
    UPDATE schedule s SET conversation_id = p_heir WHERE s.conversation_id = v.id AND s.state = 'pending';
    DELETE FROM link_code l WHERE l.conversation_id = v.id;
    UPDATE conversation c SET address = format('%s (unlinked %s)', v.address, v.id), owner = NULL, epoch = v.epoch + 1,
        wake_at = NULL WHERE c.id = v.id;
END $$;

-- Whether an address has said that it is not to be written to. Consent is the address's, whoever had it.
CREATE FUNCTION is_opted_out(p_channel text, p_address text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT coalesce((SELECT c.state = 'out' FROM consent c WHERE c.channel = p_channel AND c.address = p_address
                     ORDER BY c.id DESC LIMIT 1), false)
$$;

-- Note what an address said. What it had said before is not noted again; returns whether this is new.
CREATE FUNCTION note_consent(p_channel text, p_address text, p_state text, p_how text, p_evidence_id text)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE v_tenant bigint := present(p_channel, p_address);
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('consent ' || p_channel || ' ' || p_address, 0));
    IF is_opted_out(p_channel, p_address) = (p_state = 'out') THEN
        RETURN false;
    END IF;
    INSERT INTO consent (tenant_id, channel, address, state, how, evidence_id)
        VALUES (v_tenant, p_channel, p_address, p_state, p_how, p_evidence_id);
    RETURN true;
END $$;

-- Who writes first may be written to.
CREATE FUNCTION note_first_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO consent (tenant_id, channel, address, state, how, evidence_id)
        SELECT c.tenant_id, c.channel, c.address, 'in', 'wrote first', NEW.provider_id FROM conversation c
        WHERE c.id = NEW.conversation_id AND NOT is_opted_out(c.channel, c.address);
    RETURN NULL;
END $$;
CREATE TRIGGER note_first_message AFTER INSERT ON inbox FOR EACH ROW
    WHEN (NEW.seq = 1 AND NEW.provider_id !~ '^(schedule|secret|account|access|site):') EXECUTE FUNCTION note_first_message();

CREATE FUNCTION strangers_lately(p_span interval) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT count(*) FROM tenant t WHERE t.created_at > now() - p_span
$$;

-- Ask whether a message is let in. If it is too much, or the tenant is suspended, this is said once, and then nothing is
-- read for a while (p_pause) or until that is over. Too much is more than p_burst at once and p_per_minute on the whole,
-- and more than p_strangers new senders within a minute; NULL is no limit. One that is p_urgent is let in sooner.
CREATE FUNCTION admit_message(
    p_channel text, p_address text, p_provider_id text, p_received_at timestamptz, p_urgent boolean, p_burst integer,
    p_per_minute integer, p_pause interval, p_strangers integer, p_slow text, p_suspended text, p_send boolean
) RETURNS TABLE (outcome text, tenant_id bigint, conversation_id bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_tenant bigint := present(p_channel, p_address);
    v conversation;
    v_suspended_at timestamptz;
    v_because text;
    v_at timestamptz := least(p_received_at, clock_timestamp());
    v_heard real;
BEGIN
    IF v_tenant IS NULL THEN
        RETURN QUERY SELECT CASE WHEN strangers_lately(interval '1 minute') >= p_strangers THEN 'crowded' ELSE 'in' END,
            NULL::bigint, NULL::bigint;
        RETURN;
    END IF;
    SELECT t.suspended_at, t.suspended_because INTO v_suspended_at, v_because FROM tenant t WHERE t.id = v_tenant;
    SELECT * INTO STRICT v FROM conversation c WHERE c.channel = p_channel AND c.address = p_address;
    IF v_suspended_at IS NULL AND p_burst IS NULL
        OR EXISTS (SELECT FROM inbox i WHERE i.conversation_id = v.id AND i.provider_id = p_provider_id) THEN
        RETURN QUERY SELECT 'in', v_tenant, v.id;
        RETURN;
    END IF;
    SELECT * INTO STRICT v FROM conversation c WHERE c.id = v.id FOR UPDATE;
    v_at := greatest(v_at, v.heard_at);
    v_heard := greatest(0, v.heard_count - coalesce(extract(epoch FROM v_at - v.heard_at), 0) * p_per_minute / 60) + 1;
    IF v_suspended_at IS NOT NULL THEN
        IF v.suspension_told_at IS NULL OR v.suspension_told_at < v_suspended_at THEN
            PERFORM say_notice(v_tenant, v.id, concat_ws(' ', p_suspended, nullif(v_because, '')), p_send, 'suspended');
            UPDATE conversation c SET suspension_told_at = clock_timestamp() WHERE c.id = v.id;
        END IF;
    ELSIF (p_urgent OR v.deaf_until IS NULL OR v.deaf_until <= clock_timestamp())
        AND v_heard <= p_burst * (1 + p_urgent::integer) THEN
        UPDATE conversation c SET heard_count = v_heard, heard_at = v_at WHERE c.id = v.id;
        RETURN QUERY SELECT 'in', v_tenant, v.id;
        RETURN;
    ELSIF v.deaf_until IS NULL OR v.deaf_until <= clock_timestamp() THEN
        PERFORM say_notice(v_tenant, v.id, p_slow, p_send, NULL);
        UPDATE conversation c SET deaf_until = clock_timestamp() + p_pause WHERE c.id = v.id;
    END IF;
    RETURN QUERY SELECT 'out', v_tenant, v.id;
END $$;

-- `admit_message`, and `receive` if the message is let in. A stranger's is not stored, for they are to be met first.
CREATE FUNCTION admit_and_receive(
    p_channel text, p_address text, p_provider_id text, p_received_at timestamptz, p_urgent boolean, p_burst integer,
    p_per_minute integer, p_pause interval, p_strangers integer, p_slow text, p_suspended text, p_send boolean, p_text text
) RETURNS TABLE (outcome text, tenant_id bigint, conversation_id bigint, duplicate boolean) LANGUAGE plpgsql AS $$
BEGIN
    SELECT a.outcome, a.tenant_id, a.conversation_id INTO STRICT outcome, tenant_id, conversation_id FROM admit_message(
        p_channel, p_address, p_provider_id, p_received_at, p_urgent, p_burst, p_per_minute, p_pause, p_strangers, p_slow,
        p_suspended, p_send) a;
    IF outcome = 'in' AND tenant_id IS NOT NULL THEN
        SELECT r.duplicate INTO STRICT duplicate
            FROM receive(p_channel, p_address, p_provider_id, p_text, p_received_at, '{}') r;
    END IF;
    RETURN NEXT;
END $$;

-- Suspend a tenant: what runs for it ends as if its worker had died, and is taken up again after it. NULL if there is no
-- such tenant; said again it changes what is told.
CREATE FUNCTION suspend_tenant(p_name text, p_because text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE v_tenant bigint;
BEGIN
    UPDATE tenant t SET suspended_at = coalesce(t.suspended_at, clock_timestamp()), suspended_because = p_because
        WHERE t.name = p_name RETURNING t.id INTO v_tenant;
    UPDATE conversation c SET owner = NULL, epoch = c.epoch + 1, wake_at = now()
        WHERE c.tenant_id = v_tenant AND c.owner IS NOT NULL;
    RETURN v_tenant;
END $$;

-- Let a tenant go on, with all that waited. NULL if there is no such tenant.
CREATE FUNCTION resume_tenant(p_name text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE v tenant;
BEGIN
    SELECT * INTO v FROM tenant t WHERE t.name = p_name FOR UPDATE;
    UPDATE outbox o SET send_until = o.send_until + (clock_timestamp() - v.suspended_at)
        WHERE o.tenant_id = v.id AND o.state IN ('queued', 'sending', 'unknown') AND v.suspended_at IS NOT NULL;
    UPDATE tenant t SET suspended_at = NULL, suspended_because = '' WHERE t.id = v.id;
    NOTIFY subclaw_wake;
    NOTIFY subclaw_outbox;
    NOTIFY subclaw_schedule;
    RETURN v.id;
END $$;

CREATE FUNCTION is_suspended(p_tenant bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN EXISTS (SELECT FROM tenant t WHERE t.id = p_tenant AND t.suspended_at IS NOT NULL);
END $$;

-- The same, for a host.
CREATE FUNCTION machine_is_suspended(p_tenant bigint) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM tenant t WHERE t.id = p_tenant AND t.suspended_at IS NOT NULL)
$$;

-- As before; and no turn of a suspended tenant's.
CREATE OR REPLACE FUNCTION claim(p_worker integer, p_limit integer, p_tenant_limit integer, p_window integer)
RETURNS TABLE (tenant_id bigint, conversation_id bigint, epoch bigint) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    -- A crash of the database ends every lease anyway.
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN QUERY
    WITH busy AS MATERIALIZED (
        SELECT c.tenant_id, count(*) AS turns FROM conversation c WHERE c.owner IS NOT NULL GROUP BY c.tenant_id
    ), waiting AS MATERIALIZED (
        SELECT c.id, c.tenant_id, c.wake_at FROM conversation c
        WHERE c.owner IS NULL AND c.wake_at <= now()
            AND c.tenant_id NOT IN (SELECT b.tenant_id FROM busy b WHERE b.turns >= p_tenant_limit)
            AND c.tenant_id NOT IN (SELECT t.id FROM tenant t WHERE t.suspended_at IS NOT NULL)
        ORDER BY c.wake_at LIMIT p_window
    ), placed AS (
        SELECT w.id, w.wake_at,
               row_number() OVER (PARTITION BY w.tenant_id ORDER BY w.wake_at) + coalesce(b.turns, 0) AS place
        FROM waiting w LEFT JOIN busy b ON b.tenant_id = w.tenant_id
    ), due AS (
        SELECT c.id FROM conversation c JOIN placed p ON p.id = c.id
        WHERE p.place <= p_tenant_limit AND c.owner IS NULL AND c.wake_at <= now()
        ORDER BY p.place, p.wake_at LIMIT p_limit FOR UPDATE OF c SKIP LOCKED
    )
    UPDATE conversation c SET owner = p_worker, epoch = c.epoch + 1, wake_at = NULL
    FROM due WHERE c.id = due.id RETURNING c.tenant_id, c.id, c.epoch;
END $$;

-- As before; and nothing of a suspended tenant's is due.
CREATE OR REPLACE FUNCTION claim_due(p_limit integer) RETURNS TABLE (
    id bigint, due_at timestamptz, if_missed text, time_zone text, repeat text, wall_at timestamp, left_count integer,
    until_at timestamptz, at timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM set_config('idle_in_transaction_session_timeout', '15s', true);
    RETURN QUERY SELECT s.id, s.due_at, s.if_missed, s.time_zone, s.repeat, s.wall_at, s.left_count, s.until_at, now()
        FROM schedule s JOIN conversation c ON c.id = s.conversation_id
        WHERE s.state = 'pending' AND s.due_at <= now()
            AND s.tenant_id NOT IN (SELECT t.id FROM tenant t WHERE t.suspended_at IS NOT NULL)
        ORDER BY s.due_at, s.id LIMIT p_limit FOR NO KEY UPDATE OF s, c SKIP LOCKED;
END $$;

CREATE OR REPLACE FUNCTION next_due() RETURNS double precision LANGUAGE sql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT extract(epoch FROM min(s.due_at) - clock_timestamp())::double precision
    FROM schedule s WHERE s.state = 'pending'
        AND s.tenant_id NOT IN (SELECT t.id FROM tenant t WHERE t.suspended_at IS NOT NULL)
$$;

CREATE OR REPLACE FUNCTION expired_approvals(p_now timestamptz, p_limit integer)
RETURNS TABLE (tenant_id bigint, conversation_id bigint, channel text) LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT c.tenant_id, c.id, c.channel FROM approval a JOIN conversation c ON c.id = a.conversation_id
    WHERE a.state = 'open' AND a.expires_at <= p_now
        AND c.owner IS NULL AND NOT c.turn_open AND c.inbox_seq = c.drained_seq
        AND c.tenant_id NOT IN (SELECT t.id FROM tenant t WHERE t.suspended_at IS NOT NULL)
    GROUP BY c.id ORDER BY min(a.expires_at) LIMIT p_limit
$$;

-- As before; nothing of a suspended tenant's but the word that it is, and what is held until later keeps nothing back.
CREATE OR REPLACE FUNCTION claim_outbox(p_worker integer, p_limit integer)
RETURNS TABLE (tenant_id bigint, id bigint) LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE outbox o SET state = 'sending', owner = p_worker, attempts = o.attempts + 1
    FROM (
        SELECT queued.id FROM outbox queued WHERE queued.state = 'queued' AND queued.send_at <= now()
            AND (queued.purpose = 'suspended'
                OR queued.tenant_id NOT IN (SELECT t.id FROM tenant t WHERE t.suspended_at IS NOT NULL))
            AND (queued.purpose IS NOT NULL
                OR NOT EXISTS (SELECT FROM outbox earlier WHERE earlier.conversation_id = queued.conversation_id
                               AND earlier.id < queued.id AND (earlier.state = 'sending'
                                   OR earlier.state = 'queued' AND (earlier.held_until IS NULL OR earlier.held_until <= now())
                                   OR earlier.state = 'unknown' AND earlier.hold_until > now())))
        ORDER BY queued.send_at, queued.id LIMIT p_limit FOR UPDATE SKIP LOCKED
    ) due
    WHERE o.id = due.id RETURNING o.tenant_id, o.id
$$;

-- As before; and barred is why it must not be sent to this address. It is_unasked if it is neither the text of a schedule
-- nor within p_recent of what the person wrote, wherever; then slow_s is for how long p_limit such in an hour are the most.
DROP FUNCTION read_outbound(bigint, bigint);
CREATE FUNCTION read_outbound(p_tenant bigint, p_id bigint, p_recent interval, p_limit integer)
RETURNS TABLE (
    channel text, address text, text text, attempts integer, written_at timestamptz, send_until timestamptz,
    unknown_at timestamptz, overtaken boolean, parts jsonb, barred text, is_unasked boolean, time_zone text,
    slow_s double precision
) LANGUAGE plpgsql AS $$
DECLARE
    v outbox;
    v_unasked boolean;
    v_slow_s double precision := 0;
BEGIN
    PERFORM be_tenant(p_tenant);
    SELECT * INTO v FROM outbox o WHERE o.id = p_id;
    v_unasked := v.schedule_id IS NULL AND v.purpose IS NULL AND NOT EXISTS (
        SELECT FROM conversation c CROSS JOIN LATERAL (
            SELECT i.received_at FROM inbox i WHERE i.conversation_id = c.id
                AND i.provider_id !~ '^(schedule|secret|account|access|site):'
            ORDER BY i.seq DESC LIMIT 1
        ) said WHERE c.tenant_id = p_tenant AND said.received_at > clock_timestamp() - p_recent);
    IF v_unasked THEN
        v_slow_s := unasked_wait_s(p_tenant, p_limit);
    END IF;
    RETURN QUERY SELECT v.channel, v.address, v.text, v.attempts, v.written_at, v.send_until, v.unknown_at,
        EXISTS (SELECT FROM outbox later WHERE later.conversation_id = v.conversation_id AND later.id > v.id
                AND later.state IN ('sent', 'delivered')),
        (SELECT coalesce(jsonb_agg(jsonb_build_object('text', p.text, 'state', p.state, 'begun_at', p.begun_at)
                                   ORDER BY p.part), '[]')
         FROM outbox_part p WHERE p.outbox_id = v.id),
        CASE
            WHEN v.purpose IS DISTINCT FROM 'opted out' AND is_opted_out(v.channel, v.address) THEN 'opted out'
            WHEN v.purpose IS DISTINCT FROM 'unlinked' AND NOT EXISTS (SELECT FROM identity i
                WHERE (i.channel, i.address, i.tenant_id) = (v.channel, v.address, p_tenant)) THEN 'no address of the tenant'
        END,
        v_unasked, (SELECT t.time_zone FROM tenant t WHERE t.id = p_tenant), v_slow_s
        WHERE v.id IS NOT NULL;
END $$;

-- For how long p_limit of what nobody asked for within an hour are the most; 0 if there is room.
CREATE FUNCTION unasked_wait_s(p_tenant bigint, p_limit integer) RETURNS double precision LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN coalesce((
        SELECT extract(epoch FROM o.unasked_at + interval '1 hour' - clock_timestamp())::double precision FROM outbox o
        WHERE o.tenant_id = p_tenant AND o.unasked_at > clock_timestamp() - interval '1 hour'
        ORDER BY o.unasked_at DESC OFFSET p_limit - 1 LIMIT 1), 0);
END $$;

CREATE FUNCTION note_unasked(p_tenant bigint, p_id bigint, p_worker integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE v outbox := hold_outbound(p_tenant, p_id, p_worker, 'sending');
BEGIN
    UPDATE outbox o SET unasked_at = clock_timestamp() WHERE o.id = v.id;
END $$;

-- Hold a reply until later; that was no try, and it has its day from then on.
CREATE FUNCTION put_off_outbox(p_tenant bigint, p_id bigint, p_worker integer, p_until timestamptz, p_detail text)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE v outbox := hold_outbound(p_tenant, p_id, p_worker, 'sending');
BEGIN
    UPDATE outbox o SET state = 'queued', owner = NULL, attempts = v.attempts - 1, send_at = p_until, held_until = p_until,
        send_until = greatest(v.send_until, p_until + interval '1 day'), detail = p_detail WHERE o.id = v.id;
END $$;

-- How many schedules a tenant has set within an hour.
CREATE FUNCTION schedules_set_lately(p_tenant bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN (SELECT count(*) FROM schedule s
            WHERE s.tenant_id = p_tenant AND s.created_at > clock_timestamp() - interval '1 hour');
END $$;

-- As before; and says which of them must not be written to.
DROP FUNCTION ways_to_person(bigint, bigint);
CREATE FUNCTION ways_to_person(p_tenant bigint, p_conversation bigint)
RETURNS TABLE (channel text, address text, is_here boolean, opted_out boolean) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT i.channel, i.address, c.id = p_conversation, is_opted_out(i.channel, i.address)
        FROM identity i JOIN conversation c ON c.channel = i.channel AND c.address = i.address
            LEFT JOIN LATERAL (
                SELECT m.received_at FROM inbox m
                WHERE m.conversation_id = c.id AND m.provider_id !~ '^(schedule|secret|account|access|site):'
                ORDER BY m.seq DESC LIMIT 1
            ) said ON true
        WHERE i.tenant_id = p_tenant
        ORDER BY i.preferred DESC, said.received_at DESC NULLS LAST, c.id = p_conversation DESC, i.channel, i.address;
END $$;

REVOKE ALL ON FUNCTION number_identity, begin_control, say_notice, keep_link_code, has_nothing, redeem_link_code,
    numbered_ways, unlink_way, is_opted_out, note_consent, note_first_message, strangers_lately, admit_message,
    admit_and_receive, suspend_tenant, resume_tenant, is_suspended, machine_is_suspended, read_outbound, unasked_wait_s,
    note_unasked, put_off_outbox, schedules_set_lately, ways_to_person FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_control, say_notice, keep_link_code, has_nothing, redeem_link_code, numbered_ways,
    unlink_way, is_opted_out, note_consent, strangers_lately, admit_message, admit_and_receive, is_suspended, read_outbound,
    unasked_wait_s, note_unasked, put_off_outbox, schedules_set_lately, ways_to_person TO subclaw_app;
GRANT EXECUTE ON FUNCTION suspend_tenant, resume_tenant TO subclaw_operator;
GRANT EXECUTE ON FUNCTION machine_is_suspended TO subclaw_host;

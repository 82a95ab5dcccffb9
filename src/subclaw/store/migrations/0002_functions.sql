-- One function a step, each one transaction. Whoever calls runs as subclaw_app, under row-level security; the three
-- that look across tenants (claim, claim_outbox, reap) are SECURITY DEFINER and return what is needed to go on, no words.

CREATE FUNCTION be_tenant(p_tenant bigint) RETURNS void LANGUAGE sql AS
    $$ SELECT set_config('subclaw.tenant', p_tenant::text, true) $$;

CREATE FUNCTION present(p_channel text, p_address text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE v_tenant bigint;
BEGIN
    PERFORM set_config('subclaw.channel', p_channel, true), set_config('subclaw.address', p_address, true);
    SELECT tenant_id INTO v_tenant FROM identity WHERE channel = p_channel AND address = p_address;
    PERFORM be_tenant(v_tenant);
    RETURN v_tenant;
END $$;

CREATE FUNCTION welcome(p_channel text, p_address text, p_names text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_tenant bigint;
    v_name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(p_channel || ' ' || p_address, 0));
    v_tenant := present(p_channel, p_address);
    IF v_tenant IS NOT NULL THEN
        RETURN v_tenant;
    END IF;
    v_tenant := nextval(pg_get_serial_sequence('tenant', 'id'));
    PERFORM be_tenant(v_tenant);
    FOREACH v_name IN ARRAY p_names LOOP
        INSERT INTO tenant (id, name) VALUES (v_tenant, v_name) ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
    END LOOP;
    INSERT INTO identity (channel, address, tenant_id) VALUES (p_channel, p_address, v_tenant);
    INSERT INTO conversation (tenant_id, channel, address) VALUES (v_tenant, p_channel, p_address);
    RETURN v_tenant;
END $$;

-- Message persisted and conversation awake, in one transaction. p_names are names to try for a stranger's tenant.
CREATE FUNCTION receive(
    p_channel text, p_address text, p_provider_id text, p_text text, p_received_at timestamptz, p_names text[]
) RETURNS TABLE (tenant_id bigint, conversation_id bigint, duplicate boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_tenant bigint := present(p_channel, p_address);
    v_conversation bigint;
    v_seq bigint;
BEGIN
    IF v_tenant IS NULL THEN
        v_tenant := welcome(p_channel, p_address, p_names);
    END IF;
    SELECT c.id, c.inbox_seq + 1 INTO STRICT v_conversation, v_seq
        FROM conversation c WHERE c.channel = p_channel AND c.address = p_address FOR UPDATE;
    IF EXISTS (SELECT FROM inbox i WHERE i.conversation_id = v_conversation AND i.provider_id = p_provider_id) THEN
        RETURN QUERY SELECT v_tenant, v_conversation, true;
        RETURN;
    END IF;
    INSERT INTO inbox VALUES (v_conversation, v_seq, v_tenant, p_provider_id, p_text, p_received_at);
    UPDATE conversation c SET inbox_seq = v_seq, wake_at = coalesce(c.wake_at, now()) WHERE c.id = v_conversation;
    NOTIFY subclaw_wake;
    RETURN QUERY SELECT v_tenant, v_conversation, false;
END $$;

CREATE FUNCTION claim(p_worker integer, p_limit integer)
RETURNS TABLE (tenant_id bigint, conversation_id bigint, epoch bigint) LANGUAGE sql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    UPDATE conversation c SET owner = p_worker, epoch = c.epoch + 1, wake_at = NULL
    FROM (
        SELECT id FROM conversation WHERE owner IS NULL AND wake_at <= now()
        ORDER BY wake_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    ) due
    WHERE c.id = due.id RETURNING c.tenant_id, c.id, c.epoch
$$;

-- Raise if the lease is over; otherwise hold the conversation's row until the end of the transaction.
CREATE FUNCTION hold(p_tenant bigint, p_conversation bigint, p_epoch bigint) RETURNS conversation LANGUAGE plpgsql AS $$
DECLARE v conversation;
BEGIN
    PERFORM be_tenant(p_tenant);
    SELECT * INTO v FROM conversation c
        WHERE c.id = p_conversation AND c.epoch = p_epoch AND c.owner IS NOT NULL FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'lease lost' USING ERRCODE = 'SC001';
    END IF;
    RETURN v;
END $$;

-- Append events, each {"type": …, "body": …}, at v.next_seq; returns how many.
CREATE FUNCTION write_events(v conversation, p_first bigint, p_events jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE v_count bigint;
BEGIN
    INSERT INTO event (conversation_id, seq, tenant_id, type, body)
        SELECT v.id, p_first + e.n - 1, v.tenant_id, e.value ->> 'type', e.value -> 'body'
        FROM jsonb_array_elements(p_events) WITH ORDINALITY AS e (value, n);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    INSERT INTO usage (conversation_id, seq, tenant_id, model, input_tokens, output_tokens)
        SELECT v.id, p_first + e.n - 1, v.tenant_id, e.value #>> '{body,usage,model}',
               (e.value #>> '{body,usage,input_tokens}')::integer, (e.value #>> '{body,usage,output_tokens}')::integer
        FROM jsonb_array_elements(p_events) WITH ORDINALITY AS e (value, n)
        WHERE e.value ->> 'type' = 'model.replied';
    RETURN v_count;
END $$;

-- Move what waits in the inbox into the transcript, from p_first on; returns how many.
CREATE FUNCTION drain(v conversation, p_first bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE v_count bigint;
BEGIN
    IF v.inbox_seq = v.drained_seq THEN
        RETURN 0;
    END IF;
    INSERT INTO event (conversation_id, seq, tenant_id, at, type, body)
        SELECT v.id, p_first + i.seq - v.drained_seq - 1, v.tenant_id, i.received_at, 'message.received',
               jsonb_build_object('text', i.text, 'provider_id', i.provider_id)
        FROM inbox i WHERE i.conversation_id = v.id AND i.seq > v.drained_seq AND i.seq <= v.inbox_seq;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

CREATE FUNCTION transcript(p_conversation bigint, p_from bigint) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('type', e.type, 'body', e.body) ORDER BY e.seq), '[]')
    FROM event e WHERE e.conversation_id = p_conversation AND e.seq >= p_from
$$;

-- Begin a turn, or find the one that a dead worker left; returns the last p_limit events.
CREATE FUNCTION open_turn(p_tenant bigint, p_conversation bigint, p_epoch bigint, p_limit integer)
RETURNS TABLE (name text, channel text, address text, failures integer, events jsonb) LANGUAGE plpgsql AS $$
DECLARE
    v conversation := hold(p_tenant, p_conversation, p_epoch);
    v_next bigint := v.next_seq;
BEGIN
    IF NOT v.turn_open AND v.inbox_seq > v.drained_seq THEN
        v_next := v_next + write_events(v, v_next, '[{"type": "turn.started", "body": {}}]');
        v_next := v_next + drain(v, v_next);
        UPDATE conversation c SET next_seq = v_next, drained_seq = v.inbox_seq, turn_open = true WHERE c.id = v.id;
        PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address);
    END IF;
    RETURN QUERY SELECT t.name, v.channel, v.address, v.failures, transcript(v.id, v_next - p_limit)
        FROM tenant t WHERE t.id = p_tenant;
END $$;

-- Append what happened; with p_drain also what was said meanwhile. Returns the events that the caller does not know.
CREATE FUNCTION append(p_tenant bigint, p_conversation bigint, p_epoch bigint, p_events jsonb, p_drain boolean)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v conversation := hold(p_tenant, p_conversation, p_epoch);
    v_said_from bigint := v.next_seq + write_events(v, v.next_seq, p_events);
    v_said bigint := CASE WHEN p_drain THEN drain(v, v_said_from) ELSE 0 END;
BEGIN
    UPDATE conversation c SET next_seq = v_said_from + v_said,
        drained_seq = CASE WHEN p_drain THEN v.inbox_seq ELSE v.drained_seq END WHERE c.id = v.id;
    IF v_said = 0 THEN
        RETURN '[]';
    END IF;
    PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address);
    RETURN transcript(v.id, v_said_from);
END $$;

-- End the turn: its last events, the reply on its way, and the lease given back unless more was said meanwhile.
CREATE FUNCTION finish(
    p_tenant bigint, p_conversation bigint, p_epoch bigint, p_events jsonb, p_reply text, p_send boolean
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v conversation := hold(p_tenant, p_conversation, p_epoch);
    v_done boolean := v.inbox_seq = v.drained_seq;
    v_count bigint := write_events(v, v.next_seq, p_events);
BEGIN
    UPDATE conversation c SET turn_open = false, next_seq = v.next_seq + v_count,
        owner = CASE WHEN v_done THEN NULL ELSE v.owner END, wake_at = NULL, failures = 0 WHERE c.id = v.id;
    IF p_send THEN
        INSERT INTO outbox (tenant_id, conversation_id, channel, address, text)
            VALUES (v.tenant_id, v.id, v.channel, v.address, p_reply);
        NOTIFY subclaw_outbox;
    END IF;
    PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address);
    RETURN v_done;
END $$;

-- Count that the turn could not go on. Returns how often by now, and the channel that a last word would go to.
CREATE FUNCTION fail_turn(p_tenant bigint, p_conversation bigint, p_epoch bigint)
RETURNS TABLE (failures integer, channel text) LANGUAGE plpgsql AS $$
DECLARE v conversation := hold(p_tenant, p_conversation, p_epoch);
BEGIN
    UPDATE conversation c SET failures = v.failures + 1 WHERE c.id = v.id;
    RETURN QUERY SELECT v.failures + 1, v.channel;
END $$;

-- Give the lease back with the turn unfinished, to be taken up again after p_delay.
CREATE FUNCTION release(p_tenant bigint, p_conversation bigint, p_epoch bigint, p_delay interval)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE v conversation := hold(p_tenant, p_conversation, p_epoch);
BEGIN
    UPDATE conversation c SET owner = NULL, wake_at = now() + p_delay WHERE c.id = v.id;
    NOTIFY subclaw_wake;
END $$;

-- Messages of one conversation go out one after the other, in order.
CREATE FUNCTION claim_outbox(p_worker integer, p_limit integer)
RETURNS TABLE (tenant_id bigint, id bigint) LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE outbox o SET state = 'sending', owner = p_worker, attempts = o.attempts + 1
    FROM (
        SELECT queued.id FROM outbox queued WHERE queued.state = 'queued' AND queued.send_at <= now()
            AND NOT EXISTS (SELECT FROM outbox earlier WHERE earlier.conversation_id = queued.conversation_id
                            AND earlier.id < queued.id AND earlier.state IN ('queued', 'sending'))
        ORDER BY queued.send_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    ) due
    WHERE o.id = due.id RETURNING o.tenant_id, o.id
$$;

CREATE FUNCTION read_outbound(p_tenant bigint, p_id bigint)
RETURNS TABLE (channel text, address text, text text, attempts integer) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT o.channel, o.address, o.text, o.attempts FROM outbox o WHERE o.id = p_id;
END $$;

-- Record what became of a try. A retry goes back to the queue; anything else is an event in the transcript too.
CREATE FUNCTION settle_outbox(
    p_tenant bigint, p_id bigint, p_worker integer, p_state text, p_provider_id text, p_detail text, p_delay interval
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_conversation bigint;
    v conversation;
BEGIN
    PERFORM be_tenant(p_tenant);
    UPDATE outbox SET state = p_state, owner = NULL, provider_id = p_provider_id, detail = p_detail,
        send_at = now() + p_delay
        WHERE id = p_id AND state = 'sending' AND owner = p_worker RETURNING conversation_id INTO v_conversation;
    IF v_conversation IS NULL OR p_state = 'queued' THEN
        RETURN;
    END IF;
    SELECT * INTO v FROM conversation c WHERE c.id = v_conversation FOR UPDATE;
    UPDATE conversation c SET next_seq = v.next_seq + write_events(v, v.next_seq, jsonb_build_array(jsonb_build_object(
        'type', 'reply.sent', 'body', jsonb_build_object('outbox_id', p_id, 'delivery', p_state))))
        WHERE c.id = v.id;
END $$;

-- Free what dead workers held. A worker lives as long as a session holds the advisory lock (p_class, its id).
CREATE FUNCTION reap(p_class integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    v_count integer;
    v_live integer[];
BEGIN
    IF NOT EXISTS (SELECT FROM conversation WHERE owner IS NOT NULL)
       AND NOT EXISTS (SELECT FROM outbox WHERE state = 'sending') THEN
        RETURN 0;
    END IF;
    v_live := ARRAY(SELECT objid::bigint::integer FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND classid::bigint = p_class AND database = (SELECT oid FROM pg_database WHERE datname = current_database()));
    UPDATE conversation SET owner = NULL, epoch = epoch + 1, wake_at = now(), failures = failures + turn_open::integer
        WHERE owner IS NOT NULL AND owner <> ALL (v_live);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    UPDATE outbox SET state = 'unknown', owner = NULL, detail = 'the sender died in the middle of sending'
        WHERE state = 'sending' AND owner <> ALL (v_live);
    IF v_count > 0 THEN
        NOTIFY subclaw_wake;
    END IF;
    RETURN v_count;
END $$;

-- What a person and their agent said after p_after, and whether the agent is at work.
CREATE FUNCTION read_feed(p_channel text, p_address text, p_after bigint, p_limit integer)
RETURNS TABLE (turn_open boolean, items jsonb) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM present(p_channel, p_address);
    RETURN QUERY SELECT c.turn_open, (
        SELECT coalesce(jsonb_agg(to_jsonb(said) ORDER BY said.seq), '[]') FROM (
            SELECT e.seq, e.type, e.body, e.at FROM event e
            WHERE e.conversation_id = c.id AND e.seq > p_after AND e.type IN ('message.received', 'reply.queued')
            ORDER BY e.seq LIMIT p_limit
        ) said
    ) FROM conversation c WHERE c.channel = p_channel AND c.address = p_address;
END $$;

CREATE FUNCTION set_site(p_tenant bigint, p_release text, p_port integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    INSERT INTO site (tenant_id, release, port) VALUES (p_tenant, p_release, p_port)
        ON CONFLICT (tenant_id) DO UPDATE SET release = p_release, port = p_port, updated_at = now();
END $$;

CREATE FUNCTION tenant_name(p_tenant bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN (SELECT t.name FROM tenant t WHERE t.id = p_tenant);
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO subclaw_app;
GRANT EXECUTE ON FUNCTION current_tenant() TO subclaw_operator, subclaw_egress;

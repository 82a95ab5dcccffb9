-- Turns: the worker that runs one is told of what is said meanwhile, and may hear it, or turn it away; and tenants who
-- say a lot do not keep others waiting.

-- What belongs to a conversation goes with it, and that with its tenant. To check the tenant of each row as well takes
-- time, locks the tenant, and would have whoever erases one look through everybody's rows.
ALTER TABLE inbox DROP CONSTRAINT inbox_tenant_id_fkey;
ALTER TABLE event DROP CONSTRAINT event_tenant_id_fkey;
ALTER TABLE usage DROP CONSTRAINT usage_tenant_id_fkey;
ALTER TABLE outbox DROP CONSTRAINT outbox_tenant_id_fkey;

-- As before; and planned once for each connection, since nearly every step begins with it.
CREATE OR REPLACE FUNCTION be_tenant(p_tenant bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('subclaw.tenant', p_tenant::text, true);
END $$;

CREATE OR REPLACE FUNCTION receive(
    p_channel text, p_address text, p_provider_id text, p_text text, p_received_at timestamptz, p_names text[]
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
    INSERT INTO inbox VALUES (v.id, v.inbox_seq + 1, v_tenant, p_provider_id, p_text, p_received_at);
    UPDATE conversation c SET inbox_seq = v.inbox_seq + 1, wake_at = coalesce(c.wake_at, now()) WHERE c.id = v.id;
    IF v.owner IS NULL THEN
        NOTIFY subclaw_wake;
    ELSE
        PERFORM pg_notify('subclaw_inbox', v.id::text);
    END IF;
    RETURN QUERY SELECT v_tenant, v.id, false;
END $$;

-- As before, without the events; and says whether the turn was begun before, and for how long it has been going on.
DROP FUNCTION open_turn(bigint, bigint, bigint, integer);
CREATE FUNCTION open_turn(p_tenant bigint, p_conversation bigint, p_epoch bigint)
RETURNS TABLE (name text, channel text, address text, failures integer, resumed boolean, age_s double precision)
LANGUAGE plpgsql AS $$
DECLARE
    v conversation := hold(p_tenant, p_conversation, p_epoch);
    v_next bigint := v.next_seq;
BEGIN
    -- A crash of the database may forget this as long as nothing follows from it: the inbox has it still.
    PERFORM set_config('synchronous_commit', 'off', true);
    IF NOT v.turn_open AND v.inbox_seq > v.drained_seq THEN
        v_next := v_next + write_events(v, v_next, '[{"type": "turn.started", "body": {}}]');
        v_next := v_next + drain(v, v_next);
        UPDATE conversation c SET next_seq = v_next, drained_seq = v.inbox_seq, turn_open = true WHERE c.id = v.id;
        PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address || ' begun');
    END IF;
    RETURN QUERY SELECT t.name, v.channel, v.address, v.failures, v.turn_open,
        CASE WHEN v.turn_open THEN coalesce((
            SELECT extract(epoch FROM clock_timestamp() - e.at)::double precision FROM event e
            WHERE e.conversation_id = v.id AND e.type = 'turn.started' ORDER BY e.seq DESC LIMIT 1), 0) ELSE 0 END
        FROM tenant t WHERE t.id = p_tenant;
END $$;

-- As before; and a turn that has finished a step was not begun in vain: it does not end a turn that its workers died.
CREATE OR REPLACE FUNCTION append(p_tenant bigint, p_conversation bigint, p_epoch bigint, p_events jsonb, p_drain boolean)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v conversation := hold(p_tenant, p_conversation, p_epoch);
    v_said_from bigint := v.next_seq + write_events(v, v.next_seq, p_events);
    v_said bigint := CASE WHEN p_drain THEN drain(v, v_said_from) ELSE 0 END;
BEGIN
    UPDATE conversation c SET next_seq = v_said_from + v_said,
        drained_seq = CASE WHEN p_drain THEN v.inbox_seq ELSE v.drained_seq END,
        failures = CASE WHEN p_events @? '$[*] ? (@.type != "tool.started")' THEN 0 ELSE v.failures END
        WHERE c.id = v.id;
    IF v_said = 0 THEN
        RETURN '[]';
    END IF;
    PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address);
    RETURN transcript(v.id, v_said_from);
END $$;

-- What people said that is not in the transcript yet, oldest first.
CREATE FUNCTION waiting_messages(p_tenant bigint, p_conversation bigint, p_epoch bigint)
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE v conversation := hold(p_tenant, p_conversation, p_epoch);
BEGIN
    RETURN QUERY SELECT i.text FROM inbox i
        WHERE i.conversation_id = v.id AND i.seq > v.drained_seq AND i.provider_id NOT LIKE 'schedule:%' ORDER BY i.seq;
END $$;

-- Answer the messages that wait with one p_reply and leave them out of the turn. What a schedule put there is in it.
CREATE FUNCTION turn_away(p_tenant bigint, p_conversation bigint, p_epoch bigint, p_reply text, p_send boolean)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v conversation := hold(p_tenant, p_conversation, p_epoch);
    v_first bigint := v.next_seq;
    v_count bigint := drain(v, v_first);
    v_answered bigint;
BEGIN
    UPDATE event e SET body = e.body || '{"turned_away": true}'
        WHERE e.conversation_id = v.id AND e.seq >= v_first AND e.type = 'message.received';
    GET DIAGNOSTICS v_answered = ROW_COUNT;
    IF v_answered > 0 THEN
        v_count := v_count + write_events(v, v_first + v_count, jsonb_build_array(jsonb_build_object(
            'type', 'reply.queued', 'body', jsonb_build_object('text', p_reply))));
        IF p_send THEN
            INSERT INTO outbox (tenant_id, conversation_id, channel, address, text)
                VALUES (v.tenant_id, v.id, v.channel, v.address, p_reply);
            NOTIFY subclaw_outbox;
        END IF;
    END IF;
    UPDATE conversation c SET next_seq = v_first + v_count, drained_seq = v.inbox_seq WHERE c.id = v.id;
    PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address);
END $$;

REVOKE ALL ON FUNCTION open_turn, waiting_messages, turn_away FROM PUBLIC;
GRANT EXECUTE ON FUNCTION open_turn, waiting_messages, turn_away TO subclaw_app;

-- As before; and the tenants with the fewest turns under way come first, none with more than p_tenant_limit. Of those
-- that may come only the p_window that have waited longest are looked at, so ask again while something is claimed.
DROP FUNCTION claim(integer, integer);
CREATE FUNCTION claim(p_worker integer, p_limit integer, p_tenant_limit integer, p_window integer)
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

REVOKE ALL ON FUNCTION claim FROM PUBLIC;
GRANT EXECUTE ON FUNCTION claim TO subclaw_app;

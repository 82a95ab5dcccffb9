-- Messages that come while a turn runs: the worker that runs it is told, and may hear them, or turn them away.

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

-- As before; and says whether the turn was begun before, and for how long it has been going on.
DROP FUNCTION open_turn(bigint, bigint, bigint, integer);
CREATE FUNCTION open_turn(p_tenant bigint, p_conversation bigint, p_epoch bigint, p_limit integer)
RETURNS TABLE (
    name text, channel text, address text, failures integer, resumed boolean, age_s double precision, events jsonb
) LANGUAGE plpgsql AS $$
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
    RETURN QUERY SELECT t.name, v.channel, v.address, v.failures, v.turn_open,
        CASE WHEN v.turn_open THEN coalesce((
            SELECT extract(epoch FROM clock_timestamp() - e.at)::double precision FROM event e
            WHERE e.conversation_id = v.id AND e.type = 'turn.started' ORDER BY e.seq DESC LIMIT 1), 0) ELSE 0 END,
        transcript(v.id, v_next - p_limit)
        FROM tenant t WHERE t.id = p_tenant;
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

-- As before; outcomes and deliveries, which are this product's own words, pass whatever they are.
CREATE OR REPLACE VIEW operator_event AS
    SELECT conversation_id, seq, tenant_id, at, type,
           CASE
               WHEN type = 'turn.finished' THEN substring(body ->> 'outcome' from '^[a-z_]{1,20}$')
               WHEN type = 'reply.sent' THEN substring(body ->> 'delivery' from '^[a-z_]{1,20}$')
               WHEN type = 'tool.finished' AND body -> 'is_error' = 'true' THEN 'error'
           END AS state,
           CASE
               WHEN type = 'model.replied' AND jsonb_typeof(body -> 'calls') = 'array'
                   THEN jsonb_array_length(body -> 'calls')
           END AS calls
    FROM event;

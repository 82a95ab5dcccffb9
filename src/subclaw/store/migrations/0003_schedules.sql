-- What agents set for later. A schedule happens in the one transaction that marks it as fired, so a crash neither loses
-- nor doubles it; call_id is the tool call that set it, which may be made again after a crash.

CREATE TABLE schedule (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    conversation_id bigint NOT NULL REFERENCES conversation ON DELETE CASCADE,
    call_id         text NOT NULL,
    due_at          timestamptz NOT NULL,
    mode            text NOT NULL CHECK (mode IN ('message', 'agent_turn')),
    text            text NOT NULL,
    state           text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'fired', 'cancelled')),
    created_at      timestamptz NOT NULL DEFAULT now(),
    fired_at        timestamptz CHECK ((fired_at IS NOT NULL) = (state = 'fired')),
    UNIQUE (conversation_id, call_id)
);
CREATE INDEX schedule_due ON schedule (due_at) WHERE state = 'pending';
CREATE INDEX schedule_tenant ON schedule (tenant_id, due_at);

ALTER TABLE schedule ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON schedule TO subclaw_app USING (tenant_id = current_tenant());
CREATE POLICY operator ON schedule FOR SELECT TO subclaw_operator USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON schedule TO subclaw_app;
GRANT SELECT (id, tenant_id, conversation_id, due_at, mode, state, created_at, fired_at) ON schedule
    TO subclaw_operator;

-- Returns the schedule, or nothing if p_limit of the tenant's wait already. The tenant's row is locked, so that the
-- limit holds for calls at once, too.
CREATE FUNCTION set_schedule(
    p_tenant bigint, p_conversation bigint, p_call_id text, p_due_at timestamptz, p_mode text, p_text text,
    p_limit integer
) RETURNS SETOF schedule LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    PERFORM FROM tenant t WHERE t.id = p_tenant FOR NO KEY UPDATE;
    RETURN QUERY SELECT * FROM schedule s WHERE s.conversation_id = p_conversation AND s.call_id = p_call_id;
    IF FOUND OR (SELECT count(*) FROM schedule s WHERE s.tenant_id = p_tenant AND s.state = 'pending') >= p_limit THEN
        RETURN;
    END IF;
    RETURN QUERY INSERT INTO schedule (tenant_id, conversation_id, call_id, due_at, mode, text)
        SELECT c.tenant_id, c.id, p_call_id, p_due_at, p_mode, p_text FROM conversation c WHERE c.id = p_conversation
        RETURNING *;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such conversation';
    END IF;
    NOTIFY subclaw_schedule;
END $$;

CREATE FUNCTION pending_schedules(p_tenant bigint) RETURNS SETOF schedule LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT * FROM schedule s WHERE s.tenant_id = p_tenant AND s.state = 'pending' ORDER BY s.due_at, s.id;
END $$;

-- Returns the state that the schedule is in afterwards, or NULL if there is none.
CREATE FUNCTION cancel_schedule(p_tenant bigint, p_id bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    UPDATE schedule s SET state = 'cancelled' WHERE s.id = p_id AND s.state = 'pending';
    RETURN (SELECT s.state FROM schedule s WHERE s.id = p_id);
END $$;

-- Let up to p_limit due schedules happen; returns how many did. A message's text becomes a reply, and is sent unless
-- the channel is one of p_read_in_place, whose replies are read from the transcript; an agent's turn begins as from a
-- message in the inbox, under a provider_id that no channel gives. Conversations that somebody writes to right now are
-- passed over until the next time: whoever waits for no lock is in no deadlock.
CREATE FUNCTION fire_due(p_limit integer, p_read_in_place text[]) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    v_due schedule;
    v conversation;
    v_count integer := 0;
BEGIN
    FOR v_due IN
        WITH due AS MATERIALIZED (
            SELECT s.id FROM schedule s JOIN conversation c ON c.id = s.conversation_id
            WHERE s.state = 'pending' AND s.due_at <= now()
            ORDER BY s.due_at, s.id LIMIT p_limit FOR UPDATE SKIP LOCKED
        ), fired AS (
            UPDATE schedule s SET state = 'fired', fired_at = now() FROM due WHERE s.id = due.id RETURNING s.*
        )
        SELECT * FROM fired ORDER BY due_at, id
    LOOP
        SELECT * INTO v FROM conversation c WHERE c.id = v_due.conversation_id;
        IF v_due.mode = 'agent_turn' THEN
            PERFORM wake_for(v, v_due);
        ELSE
            PERFORM say(v, v_due, v.channel <> ALL (p_read_in_place));
        END IF;
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END $$;

CREATE FUNCTION wake_for(v conversation, p_due schedule) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO inbox (conversation_id, seq, tenant_id, provider_id, text, received_at)
        VALUES (v.id, v.inbox_seq + 1, v.tenant_id, 'schedule:' || p_due.id, p_due.text, now())
        ON CONFLICT (conversation_id, provider_id) DO NOTHING;
    IF FOUND THEN
        UPDATE conversation c SET inbox_seq = v.inbox_seq + 1, wake_at = coalesce(c.wake_at, now()) WHERE c.id = v.id;
        NOTIFY subclaw_wake;
    END IF;
END $$;

CREATE FUNCTION say(v conversation, p_due schedule, p_send boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE conversation c SET next_seq = v.next_seq + write_events(v, v.next_seq, jsonb_build_array(jsonb_build_object(
        'type', 'reply.queued', 'body', jsonb_build_object('text', p_due.text, 'schedule_id', p_due.id))))
        WHERE c.id = v.id;
    IF p_send THEN
        INSERT INTO outbox (tenant_id, conversation_id, channel, address, text)
            VALUES (v.tenant_id, v.id, v.channel, v.address, p_due.text);
        NOTIFY subclaw_outbox;
    END IF;
    PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address);
END $$;

-- How long until the next schedule is due, in seconds by the database's clock; NULL if none waits.
CREATE FUNCTION next_due() RETURNS double precision LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT extract(epoch FROM min(s.due_at) - clock_timestamp())::double precision
    FROM schedule s WHERE s.state = 'pending'
$$;

-- As before; and what a schedule put in the inbox is told apart from what a person said.
CREATE OR REPLACE FUNCTION drain(v conversation, p_first bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE v_count bigint;
BEGIN
    IF v.inbox_seq = v.drained_seq THEN
        RETURN 0;
    END IF;
    INSERT INTO event (conversation_id, seq, tenant_id, at, type, body)
        SELECT v.id, p_first + i.seq - v.drained_seq - 1, v.tenant_id, i.received_at,
               CASE WHEN s.id IS NULL THEN 'message.received' ELSE 'schedule.due' END,
               CASE WHEN s.id IS NULL THEN jsonb_build_object('text', i.text, 'provider_id', i.provider_id)
                    ELSE jsonb_build_object('text', i.text, 'schedule_id', s.id::bigint) END
        FROM inbox i, substring(i.provider_id from '^schedule:([0-9]+)$') AS s (id)
        WHERE i.conversation_id = v.id AND i.seq > v.drained_seq AND i.seq <= v.inbox_seq;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

REVOKE ALL ON FUNCTION set_schedule, pending_schedules, cancel_schedule, fire_due, wake_for, say, next_due FROM PUBLIC;
GRANT EXECUTE ON FUNCTION set_schedule, pending_schedules, cancel_schedule, fire_due, next_due TO subclaw_app;

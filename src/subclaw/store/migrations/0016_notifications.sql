-- What agents send their people beside their replies. One is written in the conversation that it goes to, in the one
-- transaction that notes it here; call_id is the tool call that sent it, which may be made again after a crash.

-- The way in which a person is to be told of things; without one, it is the one in which they wrote last.
ALTER TABLE identity ADD COLUMN preferred boolean NOT NULL DEFAULT false;

-- The calls of the last month, with no words. caller_id is the conversation that the call was made in; it is not
-- referenced, since the check of that would wait for whoever writes there.
CREATE TABLE notification (
    tenant_id bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    caller_id bigint NOT NULL,
    call_id   text NOT NULL,
    turn_id   text NOT NULL,
    sent_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, caller_id, call_id)
);
CREATE INDEX notification_recent ON notification (tenant_id, sent_at);

ALTER TABLE notification ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notification TO subclaw_app USING (tenant_id = current_tenant());
CREATE POLICY operator ON notification FOR SELECT TO subclaw_operator USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON notification TO subclaw_app;
GRANT SELECT ON notification TO subclaw_operator;

-- The addresses by which a tenant's person is reached, the preferred one first.
CREATE FUNCTION ways_to_person(p_tenant bigint, p_conversation bigint)
RETURNS TABLE (channel text, address text, is_here boolean) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT i.channel, i.address, c.id = p_conversation
        FROM identity i JOIN conversation c ON c.channel = i.channel AND c.address = i.address
            LEFT JOIN LATERAL (
                SELECT m.received_at FROM inbox m
                WHERE m.conversation_id = c.id AND m.provider_id !~ '^(schedule|secret|account):[0-9]+$'
                ORDER BY m.seq DESC LIMIT 1
            ) said ON true
        WHERE i.tenant_id = p_tenant
        ORDER BY i.preferred DESC, said.received_at DESC NULLS LAST, c.id = p_conversation DESC, i.channel, i.address;
END $$;

CREATE FUNCTION prefer_way(p_tenant bigint, p_channel text, p_address text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    UPDATE identity i SET preferred = NOT i.preferred
        WHERE i.tenant_id = p_tenant AND i.preferred <> (i.channel = p_channel AND i.address = p_address);
END $$;

-- Returns what became of it: `sent` (now, or when the same call was made before), `turn` or `hour` for the limit that it
-- would be beyond, with the seconds until that has room again, or `nowhere`. A tenant's calls wait for each other, so
-- that the limits hold; then, for the moment, for whoever writes in the conversation: a turn that runs there goes on
-- after what is written here, as it does after a schedule's text.
CREATE FUNCTION send_notification(
    p_tenant bigint, p_conversation bigint, p_call_id text, p_turn_id text, p_channel text, p_address text, p_text text,
    p_send boolean, p_turn_limit integer, p_hour_limit integer
) RETURNS TABLE (outcome text, wait_s double precision) LANGUAGE plpgsql AS $$
DECLARE
    v conversation;
    v_oldest timestamptz;
BEGIN
    PERFORM be_tenant(p_tenant);
    PERFORM pg_advisory_xact_lock(hashtextextended('notification ' || p_tenant, 0));
    IF EXISTS (SELECT FROM notification n
               WHERE (n.tenant_id, n.caller_id, n.call_id) = (p_tenant, p_conversation, p_call_id)) THEN
        RETURN QUERY SELECT 'sent', 0.0::double precision;
        RETURN;
    END IF;
    IF (SELECT count(*) FROM notification n WHERE n.tenant_id = p_tenant AND n.caller_id = p_conversation
        AND n.turn_id = p_turn_id) >= p_turn_limit THEN
        RETURN QUERY SELECT 'turn', 0.0::double precision;
        RETURN;
    END IF;
    SELECT n.sent_at INTO v_oldest FROM notification n
        WHERE n.tenant_id = p_tenant AND n.sent_at > clock_timestamp() - interval '1 hour'
        ORDER BY n.sent_at DESC OFFSET p_hour_limit - 1 LIMIT 1;
    IF FOUND THEN
        RETURN QUERY SELECT 'hour',
            extract(epoch FROM v_oldest + interval '1 hour' - clock_timestamp())::double precision;
        RETURN;
    END IF;
    SELECT c.* INTO v FROM conversation c JOIN identity i ON i.channel = c.channel AND i.address = c.address
        WHERE c.channel = p_channel AND c.address = p_address AND i.tenant_id = p_tenant FOR UPDATE OF c;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'nowhere', 0.0::double precision;
        RETURN;
    END IF;
    DELETE FROM notification n WHERE n.tenant_id = p_tenant AND n.sent_at < clock_timestamp() - interval '30 days';
    INSERT INTO notification (tenant_id, caller_id, call_id, turn_id)
        VALUES (p_tenant, p_conversation, p_call_id, p_turn_id);
    PERFORM write_notification(v, p_conversation, p_text, p_send);
    RETURN QUERY SELECT 'sent', 0.0::double precision;
END $$;

-- The conversation that it was sent from has the call; another is told where it came from.
CREATE FUNCTION write_notification(v conversation, p_caller bigint, p_text text, p_send boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_body jsonb := jsonb_build_object('text', p_text)
        || CASE WHEN p_caller = v.id THEN '{}' ELSE jsonb_build_object('from_conversation_id', p_caller) END;
BEGIN
    UPDATE conversation c SET next_seq = v.next_seq + write_events(v, v.next_seq, jsonb_build_array(jsonb_build_object(
        'type', 'reply.queued', 'body', v_body)))
        WHERE c.id = v.id;
    IF p_send THEN
        INSERT INTO outbox (tenant_id, conversation_id, channel, address, text)
            VALUES (v.tenant_id, v.id, v.channel, v.address, p_text);
        NOTIFY subclaw_outbox;
    END IF;
    PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address);
END $$;

-- As before; and what was sent from another conversation.
CREATE OR REPLACE FUNCTION is_told(p_type text, p_body jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_type
        WHEN 'tool.started' THEN false
        WHEN 'reply.sent' THEN false
        WHEN 'turn.finished' THEN false
        WHEN 'reply.queued' THEN 'number' IN (
            jsonb_typeof(p_body -> 'schedule_id'), jsonb_typeof(p_body -> 'from_conversation_id'))
        ELSE true
    END
$$;

REVOKE ALL ON FUNCTION ways_to_person, prefer_way, send_notification, write_notification FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ways_to_person, prefer_way, send_notification, write_notification TO subclaw_app;

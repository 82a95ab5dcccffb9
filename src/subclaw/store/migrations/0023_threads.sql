-- Where in its place a message was said, and is answered: a thread, by the name that its channel gives it; '' is the place.
ALTER TABLE inbox ADD COLUMN thread text NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN thread text NOT NULL DEFAULT '';

CREATE FUNCTION note_thread(p_tenant bigint, p_conversation bigint, p_provider_id text, p_thread text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    UPDATE inbox i SET thread = p_thread WHERE i.conversation_id = p_conversation AND i.provider_id = p_provider_id;
END $$;

-- Where the last of what the transcript has was said; what nobody said, such as a reminder, is said nowhere.
CREATE FUNCTION thread_of(p_conversation bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN coalesce((
        SELECT i.thread FROM inbox i JOIN conversation c ON c.id = i.conversation_id
        WHERE i.conversation_id = p_conversation AND i.seq <= c.drained_seq
            AND i.provider_id !~ '^(schedule|secret|account|access|site):' ORDER BY i.seq DESC LIMIT 1
    ), '');
END $$;

-- Whoever writes a reply need not know of threads.
CREATE FUNCTION reply_in_thread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.thread := thread_of(NEW.conversation_id);
    RETURN NEW;
END $$;
CREATE TRIGGER reply_in_thread BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION reply_in_thread();

DROP FUNCTION read_outbound;

-- As before, with its thread.
CREATE FUNCTION read_outbound(p_tenant bigint, p_id bigint, p_recent interval, p_limit integer)
RETURNS TABLE (
    channel text, address text, thread text, text text, attempts integer, written_at timestamptz,
    send_until timestamptz, unknown_at timestamptz, overtaken boolean, parts jsonb, barred text, is_unasked boolean,
    time_zone text, slow_s double precision
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
    RETURN QUERY SELECT v.channel, v.address, v.thread, v.text, v.attempts, v.written_at, v.send_until, v.unknown_at,
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

REVOKE ALL ON FUNCTION note_thread, thread_of, reply_in_thread, read_outbound FROM PUBLIC;
GRANT EXECUTE ON FUNCTION note_thread, thread_of, read_outbound TO subclaw_app;

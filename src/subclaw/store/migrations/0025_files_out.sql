-- Files that go out: kept with their content until they have arrived, and for whoever has the link to one.

-- The id is random, and whoever knows it may have the file. The content is not compressed, so that a piece of it is read
-- without the rest.
CREATE TABLE outgoing_file (
    id         text PRIMARY KEY,
    tenant_id  bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    name       text NOT NULL,
    media_type text NOT NULL,
    content    bytea NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE outgoing_file ALTER COLUMN content SET STORAGE EXTERNAL;
CREATE INDEX outgoing_file_tenant ON outgoing_file (tenant_id, made_at);
ALTER TABLE outgoing_file ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON outgoing_file TO subclaw_app USING (tenant_id = current_tenant());
GRANT SELECT, INSERT, DELETE ON outgoing_file TO subclaw_app;

-- The files of a reply, as its event has them, and which of them a part is; NULL if it is a text.
ALTER TABLE outbox ADD COLUMN files jsonb NOT NULL DEFAULT '[]';
ALTER TABLE outbox_part ADD COLUMN file_id text;

-- Keep a file. Of a tenant's, those are forgotten that are older than p_age, and the oldest that are beyond p_limit bytes.
CREATE FUNCTION keep_file(
    p_tenant bigint, p_id text, p_name text, p_media_type text, p_content bytea, p_age interval, p_limit bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    INSERT INTO outgoing_file (id, tenant_id, name, media_type, content)
        VALUES (p_id, p_tenant, p_name, p_media_type, p_content);
    DELETE FROM outgoing_file f USING (
        SELECT o.id, sum(length(o.content)) OVER (ORDER BY o.made_at DESC, o.id) AS bytes FROM outgoing_file o
        WHERE o.tenant_id = p_tenant
    ) kept
    WHERE f.id = kept.id AND (kept.bytes > p_limit OR f.made_at < clock_timestamp() - p_age);
END $$;

CREATE FUNCTION file_content(p_tenant bigint, p_id text) RETURNS bytea LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN (SELECT f.content FROM outgoing_file f WHERE f.id = p_id);
END $$;

-- For whoever has the link: what a file is, and a piece of it.
CREATE FUNCTION open_file(p_id text, p_age interval)
RETURNS TABLE (name text, media_type text, size_bytes integer) LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT f.name, f.media_type, length(f.content) FROM outgoing_file f
    WHERE f.id = p_id AND f.made_at > clock_timestamp() - p_age
$$;
CREATE FUNCTION file_piece(p_id text, p_offset integer, p_limit integer) RETURNS bytea LANGUAGE sql STABLE
SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT substring(f.content FROM p_offset + 1 FOR p_limit) FROM outgoing_file f WHERE f.id = p_id
$$;

-- What has arrived need not be kept; a file that the person got a link to is no part.
CREATE FUNCTION forget_arrived_file() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM outgoing_file f WHERE f.id = NEW.file_id;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_arrived_file AFTER UPDATE OF state ON outbox_part FOR EACH ROW
    WHEN (NEW.state = 'delivered' AND NEW.file_id IS NOT NULL) EXECUTE FUNCTION forget_arrived_file();

CREATE FUNCTION reply_files(p_events jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_path_query_first(p_events, '$[*] ? (@.type == "reply.queued").body.files'), '[]')
$$;

-- As before; and the files of the reply are those of its event.
CREATE OR REPLACE FUNCTION finish(
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
        INSERT INTO outbox (tenant_id, conversation_id, channel, address, text, files)
            VALUES (v.tenant_id, v.id, v.channel, v.address, p_reply, reply_files(p_events));
        NOTIFY subclaw_outbox;
    END IF;
    PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address);
    RETURN v_done;
END $$;

DROP FUNCTION send_notification, write_notification;

-- As before, with files. The conversation that it was sent from has the call; another is told where it came from.
CREATE FUNCTION write_notification(v conversation, p_caller bigint, p_text text, p_files jsonb, p_send boolean)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_body jsonb := jsonb_build_object('text', p_text, 'files', p_files)
        || CASE WHEN p_caller = v.id THEN '{}' ELSE jsonb_build_object('from_conversation_id', p_caller) END;
BEGIN
    UPDATE conversation c SET next_seq = v.next_seq + write_events(v, v.next_seq, jsonb_build_array(jsonb_build_object(
        'type', 'reply.queued', 'body', v_body)))
        WHERE c.id = v.id;
    IF p_send THEN
        INSERT INTO outbox (tenant_id, conversation_id, channel, address, text, files)
            VALUES (v.tenant_id, v.id, v.channel, v.address, p_text, p_files);
        NOTIFY subclaw_outbox;
    END IF;
    PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address);
END $$;

-- As before, with files.
CREATE FUNCTION send_notification(
    p_tenant bigint, p_conversation bigint, p_call_id text, p_turn_id text, p_channel text, p_address text, p_text text,
    p_files jsonb, p_send boolean, p_turn_limit integer, p_hour_limit integer
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
    PERFORM write_notification(v, p_conversation, p_text, p_files, p_send);
    RETURN QUERY SELECT 'sent', 0.0::double precision;
END $$;

-- A reply's files, and by number which of its parts are files.
CREATE FUNCTION outbound_files(p_tenant bigint, p_id bigint) RETURNS TABLE (files jsonb, file_ids jsonb)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT o.files, (SELECT coalesce(jsonb_agg(coalesce(p.file_id, '') ORDER BY p.part), '[]')
                                  FROM outbox_part p WHERE p.outbox_id = o.id)
        FROM outbox o WHERE o.id = p_id;
END $$;

DROP FUNCTION begin_part;

-- As before; p_files says which of the parts are files, an empty text for each that is none.
CREATE FUNCTION begin_part(
    p_tenant bigint, p_id bigint, p_worker integer, p_part integer, p_plan text[], p_files text[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE v outbox := hold_outbound(p_tenant, p_id, p_worker, 'sending');
BEGIN
    IF p_plan IS NOT NULL THEN
        IF EXISTS (SELECT FROM outbox_part p WHERE p.outbox_id = v.id AND p.state <> 'queued') THEN
            RETURN false;
        END IF;
        DELETE FROM outbox_part p WHERE p.outbox_id = v.id;
        INSERT INTO outbox_part (outbox_id, part, tenant_id, text, file_id)
            SELECT v.id, planned.n - 1, v.tenant_id, planned.text, nullif(planned.file_id, '')
            FROM unnest(p_plan, p_files) WITH ORDINALITY AS planned (text, file_id, n);
    END IF;
    UPDATE outbox_part p SET state = 'sending', begun_at = clock_timestamp()
        WHERE p.outbox_id = v.id AND p.part = p_part AND p.state = 'queued';
    RETURN FOUND;
END $$;

-- The provider takes no such file: the part becomes a text, and is still to be sent.
CREATE FUNCTION reword_part(p_tenant bigint, p_id bigint, p_worker integer, p_part integer, p_text text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE v outbox := hold_outbound(p_tenant, p_id, p_worker, 'sending');
BEGIN
    UPDATE outbox_part p SET text = p_text, file_id = NULL, state = 'queued'
        WHERE p.outbox_id = v.id AND p.part = p_part AND p.state = 'sending';
END $$;

REVOKE ALL ON FUNCTION keep_file, file_content, open_file, file_piece, forget_arrived_file, reply_files,
    write_notification, send_notification, outbound_files, begin_part, reword_part FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_file, file_content, open_file, file_piece, reply_files, write_notification,
    send_notification, outbound_files, begin_part, reword_part TO subclaw_app;

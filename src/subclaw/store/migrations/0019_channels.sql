-- What comes with messages: who speaks, where several people write, and files.

-- more is told with a message, as parts of its event: {"speaker": …, "attachments": [{"name", "media_type", "size_bytes"}]}.
ALTER TABLE inbox ADD COLUMN more jsonb;

-- A file that waits for the turn that puts it into the machine: its content, or what the channel fetches it by.
CREATE TABLE attachment (
    conversation_id bigint NOT NULL REFERENCES conversation ON DELETE CASCADE,
    provider_id     text NOT NULL,
    number          integer NOT NULL CHECK (number >= 0),
    tenant_id       bigint NOT NULL,
    handle          text NOT NULL,
    content         bytea CHECK (octet_length(content) <= 16777216),
    received_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (conversation_id, provider_id, number)
);
CREATE INDEX attachment_tenant ON attachment (tenant_id, received_at);
ALTER TABLE attachment ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON attachment TO subclaw_app USING (tenant_id = current_tenant());
GRANT SELECT, INSERT, DELETE ON attachment TO subclaw_app;

-- `receive`, with what comes with the message. What nobody took for a week is forgotten: its turn was ended before.
CREATE FUNCTION receive_more(
    p_channel text, p_address text, p_provider_id text, p_text text, p_received_at timestamptz, p_names text[],
    p_removed text[], p_notice text, p_send boolean, p_token_hashes bytea[], p_life interval, p_limit integer,
    p_more jsonb, p_handles text[], p_contents bytea[]
) RETURNS TABLE (tenant_id bigint, conversation_id bigint, duplicate boolean) LANGUAGE plpgsql AS $$
DECLARE v record;
BEGIN
    SELECT * INTO STRICT v FROM receive(
        p_channel, p_address, p_provider_id, p_text, p_received_at, p_names,
        p_removed, p_notice, p_send, p_token_hashes, p_life, p_limit);
    IF NOT v.duplicate THEN
        UPDATE inbox i SET more = p_more WHERE i.conversation_id = v.conversation_id AND i.provider_id = p_provider_id;
        DELETE FROM attachment a WHERE a.tenant_id = v.tenant_id AND a.received_at < now() - interval '7 days';
        INSERT INTO attachment (conversation_id, provider_id, number, tenant_id, handle, content)
            SELECT v.conversation_id, p_provider_id, f.number - 1, v.tenant_id, f.handle, f.content
            FROM unnest(p_handles, p_contents) WITH ORDINALITY AS f (handle, content, number);
    END IF;
    RETURN QUERY SELECT v.tenant_id, v.conversation_id, v.duplicate;
END $$;

CREATE FUNCTION tell_more() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.body := coalesce(
        (SELECT NEW.body || i.more FROM inbox i
            WHERE i.conversation_id = NEW.conversation_id AND i.provider_id = NEW.body ->> 'provider_id'),
        NEW.body);
    RETURN NEW;
END $$;
CREATE TRIGGER tell_more BEFORE INSERT ON event FOR EACH ROW WHEN (NEW.type = 'message.received')
    EXECUTE FUNCTION tell_more();

CREATE FUNCTION waiting_attachments(p_tenant bigint, p_conversation bigint, p_epoch bigint, p_provider_id text)
RETURNS TABLE (channel text, number integer, handle text, content bytea) LANGUAGE plpgsql AS $$
DECLARE v conversation := hold(p_tenant, p_conversation, p_epoch);
BEGIN
    RETURN QUERY SELECT v.channel, a.number, a.handle, a.content FROM attachment a
        WHERE a.conversation_id = v.id AND a.provider_id = p_provider_id ORDER BY a.number;
END $$;

CREATE FUNCTION forget_attachments(p_tenant bigint, p_conversation bigint, p_epoch bigint, p_provider_id text)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE v conversation := hold(p_tenant, p_conversation, p_epoch);
BEGIN
    DELETE FROM attachment a WHERE a.conversation_id = v.id AND a.provider_id = p_provider_id;
END $$;

REVOKE ALL ON FUNCTION receive_more, tell_more, waiting_attachments, forget_attachments FROM PUBLIC;
GRANT EXECUTE ON FUNCTION receive_more, tell_more, waiting_attachments, forget_attachments TO subclaw_app;

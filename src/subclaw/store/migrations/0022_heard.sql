-- What an address was last heard of: what people wrote, to their agent or to subclaw, and not what reminders and pages say
-- in their stead.
CREATE FUNCTION last_heard(p_channel text, p_address text) RETURNS TABLE (provider_id text, heard_at timestamptz)
LANGUAGE plpgsql AS $$
DECLARE v_conversation bigint;
BEGIN
    PERFORM present(p_channel, p_address);
    SELECT c.id INTO v_conversation FROM conversation c WHERE c.channel = p_channel AND c.address = p_address;
    RETURN QUERY SELECT m.id, m.at FROM (
        (SELECT i.provider_id, i.received_at FROM inbox i
            WHERE i.conversation_id = v_conversation AND i.provider_id !~ '^(schedule|secret|account|access|site):'
            ORDER BY i.seq DESC LIMIT 1)
        UNION ALL (SELECT a.provider_id, a.at FROM platform_answer a
            WHERE a.conversation_id = v_conversation ORDER BY a.at DESC LIMIT 1)
        UNION ALL (SELECT m.provider_id, m.at FROM control_message m
            WHERE m.channel = p_channel AND m.address = p_address ORDER BY m.at DESC LIMIT 1)
    ) AS m (id, at) ORDER BY m.at DESC LIMIT 1;
END $$;

REVOKE ALL ON FUNCTION last_heard FROM PUBLIC;
GRANT EXECUTE ON FUNCTION last_heard TO subclaw_app;

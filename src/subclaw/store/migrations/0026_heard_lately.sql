-- Where in a channel something was said lately, and what was said last there: a provider that does not tell what was said while
-- nobody listened is asked for what came after it.
CREATE FUNCTION heard_lately(p_channel text, p_since timestamptz, p_limit integer)
RETURNS TABLE (address text, provider_id text, heard_at timestamptz) LANGUAGE sql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT c.address, i.provider_id, i.received_at
    FROM conversation c CROSS JOIN LATERAL (
        SELECT i.provider_id, i.received_at FROM inbox i
        WHERE i.conversation_id = c.id AND i.provider_id !~ '^(schedule|secret|account|access|site):'
        ORDER BY i.seq DESC LIMIT 1
    ) i
    WHERE c.channel = p_channel AND i.received_at >= p_since ORDER BY i.received_at DESC LIMIT p_limit
$$;

REVOKE ALL ON FUNCTION heard_lately FROM PUBLIC;
GRANT EXECUTE ON FUNCTION heard_lately TO subclaw_app;

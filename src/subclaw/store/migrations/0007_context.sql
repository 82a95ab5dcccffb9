-- What a turn looks back on begins at the last summary of the conversation; and a summary is metered.

CREATE INDEX event_summary ON event (conversation_id, seq) WHERE type = 'history.summarised';

-- What a model is told of an event of a turn that is over, or what such a turn is told by.
CREATE FUNCTION is_told(p_type text, p_body jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_type
        WHEN 'tool.started' THEN false
        WHEN 'reply.sent' THEN false
        WHEN 'turn.finished' THEN false
        WHEN 'reply.queued' THEN jsonb_typeof(p_body -> 'schedule_id') = 'number'
        ELSE true
    END
$$;

-- How long a body is, as text. One that is not compressed is about as long as it is stored.
CREATE FUNCTION body_bytes(p_body jsonb) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN pg_column_compression(p_body) IS NULL THEN pg_column_size(p_body)
                ELSE octet_length(p_body::text) END
$$;

-- Where the history of a conversation with this summary begins: after the last reply that is not told word for word any
-- more, but not after the beginning of the turn that the summary was made in. 0 is the beginning of the conversation.
CREATE FUNCTION summary_from(p_conversation bigint, p_summary bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN least(
        coalesce((SELECT e.seq FROM event e WHERE e.conversation_id = p_conversation AND e.seq < p_summary
            AND e.type = 'turn.started' ORDER BY e.seq DESC LIMIT 1), 0),
        coalesce((SELECT e.seq + 1 FROM event e WHERE e.conversation_id = p_conversation AND e.seq < p_summary
            AND e.type IN ('model.replied', 'model.failed') ORDER BY e.seq DESC LIMIT 1 OFFSET (
                SELECT (s.body ->> 'kept_replies')::integer FROM event s
                WHERE s.conversation_id = p_conversation AND s.seq = p_summary)), 0)
    );
END $$;

-- The events that a turn goes by, oldest first: the last summary and what comes after it, without what no model is told
-- of. There are at most p_limit and p_limit_bytes of them, from the beginning of a turn on; but the last turn is whole,
-- since what it does next follows from it. Volatile, so that it sees what the statement that calls it has written.
CREATE FUNCTION transcript_from_summary(p_conversation bigint, p_limit integer, p_limit_bytes bigint)
RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_summary bigint;
    v_from bigint;
    v_turn bigint;
    v_bound bigint;
    v_more boolean;
BEGIN
    SELECT e.seq INTO v_summary FROM event e
        WHERE e.conversation_id = p_conversation AND e.type = 'history.summarised' ORDER BY e.seq DESC LIMIT 1;
    v_from := CASE WHEN v_summary IS NULL THEN 0 ELSE summary_from(p_conversation, v_summary) END;
    SELECT e.seq INTO v_turn FROM event e
        WHERE e.conversation_id = p_conversation AND e.type = 'turn.started' ORDER BY e.seq DESC LIMIT 1;
    SELECT min(s.seq) FILTER (WHERE s.fits), bool_or(NOT s.fits) INTO v_bound, v_more FROM (
        SELECT n.seq, row_number() OVER w <= p_limit AND sum(n.bytes) OVER w <= p_limit_bytes AS fits FROM (
            SELECT e.seq, body_bytes(e.body) AS bytes FROM event e
            WHERE e.conversation_id = p_conversation AND e.seq >= v_from AND is_told(e.type, e.body)
            ORDER BY e.seq DESC LIMIT p_limit + 1
        ) n WINDOW w AS (ORDER BY n.seq DESC)
    ) s;
    IF v_more THEN
        v_from := (SELECT e.seq FROM event e WHERE e.conversation_id = p_conversation AND e.seq >= v_bound
            AND e.type = 'turn.started' ORDER BY e.seq LIMIT 1);
    END IF;
    RETURN (
        SELECT coalesce(json_agg(json_build_object('type', e.type, 'body', e.body) ORDER BY e.seq), '[]')
        FROM event e WHERE e.conversation_id = p_conversation AND (e.seq = v_summary OR e.seq >= least(v_from, v_turn))
            AND (e.seq >= v_turn OR is_told(e.type, e.body))
    );
END $$;

CREATE FUNCTION meter_summary() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage (conversation_id, seq, tenant_id, model, input_tokens, output_tokens)
        VALUES (NEW.conversation_id, NEW.seq, NEW.tenant_id, NEW.body #>> '{usage,model}',
                (NEW.body #>> '{usage,input_tokens}')::integer, (NEW.body #>> '{usage,output_tokens}')::integer);
    RETURN NULL;
END $$;

CREATE TRIGGER summary_usage AFTER INSERT ON event FOR EACH ROW
    WHEN (NEW.type IN ('history.summarised', 'history.summary_failed') AND jsonb_typeof(NEW.body -> 'usage') = 'object')
    EXECUTE FUNCTION meter_summary();

REVOKE ALL ON FUNCTION is_told, body_bytes, summary_from, transcript_from_summary, meter_summary FROM PUBLIC;
GRANT EXECUTE ON FUNCTION is_told, body_bytes, summary_from, transcript_from_summary, meter_summary TO subclaw_app;

-- Who has something is looked at before who lives. The other way round, a worker that begins in between is taken for
-- dead, and loses what it has claimed; and a reaper may wait in between, for the row that another one frees.

-- Return which owners are dead: their sessions, which hold locks of the class p_class, have ended. Ids are never given twice.
CREATE FUNCTION dead_among(p_owners integer[], p_class integer) RETURNS integer[] LANGUAGE sql AS $$
    SELECT coalesce(array_agg(had.owner), '{}') FROM unnest(p_owners) AS had (owner)
    WHERE had.owner NOT IN (SELECT objid::bigint::integer FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND classid::bigint = p_class AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
$$;

CREATE OR REPLACE FUNCTION reap_outbox(p_class integer, p_delay interval, p_hold interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_count integer;
    v_dead integer[] := ARRAY(SELECT DISTINCT owner FROM outbox WHERE owner IS NOT NULL);
BEGIN
    IF v_dead = '{}' THEN
        RETURN 0;
    END IF;
    v_dead := dead_among(v_dead, p_class);
    IF v_dead = '{}' THEN
        RETURN 0;
    END IF;
    UPDATE outbox SET owner = NULL WHERE state = 'unknown' AND owner = ANY (v_dead);
    UPDATE outbox SET state = 'queued', owner = NULL, send_at = now()
        WHERE state = 'sending' AND owner = ANY (v_dead)
            AND NOT EXISTS (SELECT FROM outbox_part p WHERE p.outbox_id = outbox.id AND p.state = 'sending');
    UPDATE outbox SET state = 'unknown', owner = NULL, detail = 'the sender died in the middle of sending',
        unknown_at = now(), ask_at = now() + p_delay, hold_until = now() + p_hold
        WHERE state = 'sending' AND owner = ANY (v_dead);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

CREATE OR REPLACE FUNCTION reap(p_class integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    v_count integer;
    v_dead integer[] := ARRAY(SELECT DISTINCT owner FROM conversation WHERE owner IS NOT NULL);
BEGIN
    IF v_dead = '{}' THEN
        RETURN 0;
    END IF;
    v_dead := dead_among(v_dead, p_class);
    IF v_dead = '{}' THEN
        RETURN 0;
    END IF;
    UPDATE conversation SET owner = NULL, epoch = epoch + 1, wake_at = now(), failures = failures + turn_open::integer
        WHERE owner = ANY (v_dead);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF v_count > 0 THEN
        NOTIFY subclaw_wake;
    END IF;
    RETURN v_count;
END $$;

REVOKE ALL ON FUNCTION dead_among FROM PUBLIC;

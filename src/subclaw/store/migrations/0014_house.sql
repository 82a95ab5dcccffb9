-- Houses: what was last seen of the files by which a tenant makes its agent its own, and what waits to be put into its
-- machine. A tenant who has changed nothing has no row here.

-- model is the one that a tenant's agent has instead of the operator's (provider:model); time_zone is an IANA name.
ALTER TABLE tenant ADD COLUMN model text CHECK (length(model) BETWEEN 3 AND 200),
    ADD COLUMN time_zone text CHECK (length(time_zone) BETWEEN 1 AND 64);
GRANT UPDATE (time_zone) ON tenant TO subclaw_app;
GRANT UPDATE (model, time_zone) ON tenant TO subclaw_operator;

-- revision counts changes; laid has the fingerprints of the defaults that were laid in the machine, by path.
CREATE TABLE house (
    tenant_id bigint PRIMARY KEY REFERENCES tenant ON DELETE CASCADE,
    revision  bigint NOT NULL DEFAULT 1,
    laid      jsonb NOT NULL DEFAULT '{}'
);

-- content is NULL for a file that is not there or, with a problem, cannot be used; served is the last version that could
-- be. A row that is waiting is not in the machine yet.
CREATE TABLE house_file (
    tenant_id  bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    path       text NOT NULL CHECK (length(path) BETWEEN 1 AND 200),
    content    bytea,
    problem    text NOT NULL DEFAULT '',
    served     bytea,
    is_waiting boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, path)
);

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['house', 'house_file'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own ON %I TO subclaw_app USING (tenant_id = current_tenant())', name);
    END LOOP;
END $$;
GRANT SELECT ON house, house_file TO subclaw_app;

-- As before; and says what a turn needs to know of its tenant.
DROP FUNCTION open_turn(bigint, bigint, bigint);
CREATE FUNCTION open_turn(p_tenant bigint, p_conversation bigint, p_epoch bigint)
RETURNS TABLE (
    name text, channel text, address text, failures integer, resumed boolean, age_s double precision,
    model text, time_zone text, house_revision bigint, is_awake boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v conversation := hold(p_tenant, p_conversation, p_epoch);
    v_next bigint := v.next_seq;
BEGIN
    -- A crash of the database may forget this as long as nothing follows from it: the inbox has it still.
    PERFORM set_config('synchronous_commit', 'off', true);
    IF NOT v.turn_open AND v.inbox_seq > v.drained_seq THEN
        v_next := v_next + write_events(v, v_next, '[{"type": "turn.started", "body": {}}]');
        v_next := v_next + drain(v, v_next);
        UPDATE conversation c SET next_seq = v_next, drained_seq = v.inbox_seq, turn_open = true WHERE c.id = v.id;
        PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address || ' begun');
    END IF;
    RETURN QUERY SELECT t.name, v.channel, v.address, v.failures, v.turn_open,
        CASE WHEN v.turn_open THEN coalesce((
            SELECT extract(epoch FROM clock_timestamp() - e.at)::double precision FROM event e
            WHERE e.conversation_id = v.id AND e.type = 'turn.started' ORDER BY e.seq DESC LIMIT 1), 0) ELSE 0 END,
        t.model, t.time_zone, h.revision, coalesce(m.state = 'awake', false)
        FROM tenant t LEFT JOIN house h ON h.tenant_id = t.id LEFT JOIN machine m ON m.tenant_id = t.id
        WHERE t.id = p_tenant;
END $$;
REVOKE ALL ON FUNCTION open_turn FROM PUBLIC;
GRANT EXECUTE ON FUNCTION open_turn TO subclaw_app;

-- Servers in machines as sites: how long visitors may have a machine awake, and what is served when a server has stopped.

-- For how many seconds visits may have a machine awake that sleeps: what the plan and the budgets have left.
CREATE FUNCTION visits_left(p_tenant bigint) RETURNS double precision LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT CASE WHEN machine_is_suspended(p_tenant) THEN 0 ELSE coalesce(awake_left(p_tenant), 0) END
$$;

-- When it was found that a version's server answers no more, and when its agent was last told of errors.
ALTER TABLE site_version ADD COLUMN failed_at timestamptz, ADD COLUMN errors_told_at timestamptz;

-- The server on a port has stopped answering. If that is what is served, the last version before it that has not failed
-- is again, and the agent is told; if there is none, it is told once. Returns the number of the version that is served.
CREATE FUNCTION port_failed(p_tenant bigint, p_port integer, p_speaker text, p_back text, p_nothing text)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_now site_version;
    v record;
    v_id text;
BEGIN
    PERFORM be_tenant(p_tenant);
    PERFORM pg_advisory_xact_lock(hashtextextended('site versions', p_tenant));
    SELECT o.* INTO v_now FROM site_version o JOIN site s ON (s.tenant_id, s.version) = (o.tenant_id, o.number)
        WHERE s.tenant_id = p_tenant AND o.port = p_port;
    IF v_now.number IS NULL THEN
        RETURN NULL;
    END IF;
    v_id := 'port:' || v_now.number || ':' || (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    UPDATE site_version o SET failed_at = now() WHERE (o.tenant_id, o.number) = (p_tenant, v_now.number);
    WITH RECURSIVE earlier AS (
        SELECT o.*, 1 AS steps FROM site_version o WHERE (o.tenant_id, o.number) = (p_tenant, v_now.before)
        UNION ALL
        SELECT o.*, e.steps + 1 FROM site_version o JOIN earlier e ON (o.tenant_id, o.number) = (p_tenant, e.before)
            WHERE e.steps < 100
    )
    SELECT e.number, e.release, e.port INTO v
        FROM earlier e WHERE e.failed_at IS NULL AND e.port IS DISTINCT FROM p_port ORDER BY e.steps LIMIT 1;
    IF v.number IS NOT NULL THEN
        UPDATE site s SET release = v.release, port = v.port, version = v.number, updated_at = now()
            WHERE s.tenant_id = p_tenant;
        PERFORM tell_agent(p_tenant, v_id, p_speaker, replace(p_back, '{version}', v.number::text));
    ELSIF v_now.failed_at IS NULL THEN
        PERFORM tell_agent(p_tenant, v_id, p_speaker, p_nothing);
    END IF;
    RETURN coalesce(v.number, v_now.number);
END $$;

-- The server on a port answers with nothing but errors. If that is what is served, the agent is told, once a day.
CREATE FUNCTION port_errs(p_tenant bigint, p_port integer, p_speaker text, p_text text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE v_number integer;
BEGIN
    PERFORM be_tenant(p_tenant);
    UPDATE site_version v SET errors_told_at = clock_timestamp() FROM site s
        WHERE s.tenant_id = p_tenant AND (v.tenant_id, v.number) = (s.tenant_id, s.version) AND v.port = p_port
            AND coalesce(v.errors_told_at < clock_timestamp() - interval '1 day', true)
        RETURNING v.number INTO v_number;
    IF FOUND THEN
        PERFORM tell_agent(p_tenant, 'errors:' || v_number || ':' || (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
            p_speaker, p_text);
    END IF;
END $$;

-- The server on a port answers, as far as is known now.
CREATE FUNCTION port_answers(p_tenant bigint, p_port integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    UPDATE site_version v SET failed_at = NULL, errors_told_at = NULL
        WHERE v.tenant_id = p_tenant AND v.port = p_port AND num_nonnulls(v.failed_at, v.errors_told_at) > 0;
END $$;
GRANT UPDATE (failed_at, errors_told_at) ON site_version TO subclaw_app;

REVOKE ALL ON FUNCTION visits_left, port_failed, port_errs, port_answers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION visits_left, port_failed, port_errs TO subclaw_host;
GRANT EXECUTE ON FUNCTION port_answers TO subclaw_app;

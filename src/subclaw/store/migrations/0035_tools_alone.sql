-- Rules and secrets that are for what the tools of one business's agent call on the host, and for nobody's machine.

ALTER TABLE egress_rule
    ADD COLUMN tools text NOT NULL DEFAULT '' CHECK (length(tools) <= 40),
    ADD CHECK (tools = '' OR scope = 'operator');

CREATE FUNCTION agent_of_tenant(p_tenant bigint) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT t.agent FROM tenant t WHERE t.id = p_tenant
$$;

-- As before, with whose tools it is for. Returns NULL if there are p_limit rules of that scope and tenant already.
DROP FUNCTION add_egress_rule(
    egress_scope, bigint, text, integer[], text[], text[], text, text[], text, text, integer);
CREATE FUNCTION add_egress_rule(
    p_scope egress_scope, p_tenant bigint, p_host text, p_ports integer[], p_methods text[], p_paths text[],
    p_mode text, p_addresses text[], p_comment text, p_created_by text, p_limit integer, p_tools text DEFAULT ''
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE v_id bigint;
BEGIN
    PERFORM be_tenant(p_tenant);
    IF (SELECT count(*) FROM egress_rule r WHERE r.scope = p_scope AND r.tenant_id IS NOT DISTINCT FROM p_tenant)
        < p_limit
    THEN
        INSERT INTO egress_rule
            (scope, tenant_id, host, ports, methods, paths, mode, addresses, comment, created_by, tools)
            VALUES (p_scope, p_tenant, p_host, p_ports, p_methods, p_paths, p_mode, p_addresses, p_comment, p_created_by,
                    p_tools)
            RETURNING id INTO v_id;
    END IF;
    RETURN v_id;
END $$;

-- As before, without what is for the tools of another agent than the tenant's.
CREATE OR REPLACE FUNCTION egress_rules(p_tenant bigint, p_limit integer) RETURNS SETOF egress_rule
LANGUAGE plpgsql AS $$
DECLARE v_agent text := agent_of_tenant(p_tenant);
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT r.* FROM egress_rule r
        WHERE p_tenant IS NULL OR r.tenant_id = p_tenant
            OR r.tenant_id IS NULL AND (r.tools = '' OR r.tools = v_agent)
        ORDER BY r.scope, r.id LIMIT p_limit;
END $$;

-- As before, with what is for the tools of the tenant's agent and without what is for those of another: so that neither
-- hides a secret of the same name.
CREATE OR REPLACE FUNCTION tenant_egress(p_tenant bigint) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE v_agent text := agent_of_tenant(p_tenant);
BEGIN
    RETURN jsonb_build_object(
        'starter', (SELECT starter FROM egress_setting),
        'rules', (
            SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.id), '[]')
            FROM egress_rule r
            WHERE r.tenant_id = p_tenant OR r.tenant_id IS NULL AND (r.tools = '' OR r.tools = v_agent)),
        'secrets', (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                'id', s.id, 'name', s.name, 'scope', s.scope, 'tenant_id', s.tenant_id, 'placeholder', s.placeholder,
                'binding', s.binding, 'sealed', encode(s.sealed, 'base64'), 'minted', s.minted_by IS NOT NULL,
                'grant', CASE WHEN g.id IS NOT NULL THEN jsonb_build_object(
                    'id', g.id, 'provider', g.provider, 'generation', g.generation,
                    'expires_at_s', extract(epoch FROM g.expires_at),
                    'renewed_at_s', extract(epoch FROM g.renewed_at), 'renewable', g.renewable, 'over', g.over) END
                ) ORDER BY s.id), '[]')
            FROM (
                SELECT DISTINCT ON (b.name) b.* FROM bound_secret b
                WHERE (b.tenant_id IS NULL OR b.tenant_id = p_tenant)
                    AND coalesce(b.binding ->> 'tools', '') IN ('', v_agent)
                    AND (b.expires_at IS NULL OR b.expires_at > now()) ORDER BY b.name, b.scope DESC
            ) s LEFT JOIN oauth_grant g ON g.secret_id = s.id),
        'quota', (
            SELECT jsonb_build_object(
                'requests_per_minute', coalesce(max(q.requests_per_minute) FILTER (WHERE q.tenant_id IS NOT NULL),
                                                max(q.requests_per_minute)),
                'connections', coalesce(max(q.connections) FILTER (WHERE q.tenant_id IS NOT NULL), max(q.connections)),
                'bytes_per_day', coalesce(max(q.bytes_per_day) FILTER (WHERE q.tenant_id IS NOT NULL),
                                          max(q.bytes_per_day)))
            FROM egress_quota q WHERE q.tenant_id IS NULL OR q.tenant_id = p_tenant));
END $$;

-- As before; a name that is for the tools of another agent is none here.
CREATE OR REPLACE FUNCTION placeholders_of(p_tenant bigint) RETURNS TABLE (name text, placeholder text)
LANGUAGE plpgsql AS $$
DECLARE v_agent text := agent_of_tenant(p_tenant);
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT DISTINCT ON (s.name) s.name, s.placeholder FROM bound_secret s
        WHERE s.minted_by IS NULL AND coalesce(s.binding ->> 'tools', '') IN ('', v_agent)
        ORDER BY s.name, s.scope DESC;
END $$;

REVOKE ALL ON FUNCTION agent_of_tenant, add_egress_rule FROM PUBLIC;
GRANT EXECUTE ON FUNCTION agent_of_tenant TO subclaw_app, subclaw_operator, subclaw_egress;
GRANT EXECUTE ON FUNCTION add_egress_rule TO subclaw_app, subclaw_operator;

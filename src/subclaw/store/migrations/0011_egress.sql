-- Egress of machines: which hosts they may reach, the secrets that are bound to what they are for, what each tenant may
-- use, and the log of what was decided. The gateway reads it all in one call and hears of every change; a tenant's own
-- rules and secrets are the tenant's, and an operator's or an agent's count for all.

CREATE TYPE egress_scope AS ENUM ('operator', 'agent', 'tenant');

-- A rule as `core.policy.Rule` has it. created_by is who made it: `operator`, `agent.toml`, `user`.
CREATE TABLE egress_rule (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope      egress_scope NOT NULL,
    tenant_id  bigint REFERENCES tenant ON DELETE CASCADE,
    host       text NOT NULL CHECK (host ~ '^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*$' AND length(host) <= 255),
    ports      integer[] NOT NULL CHECK (cardinality(ports) BETWEEN 1 AND 32 AND 1 <= ALL (ports) AND 65535 >= ALL (ports)),
    methods    text[] NOT NULL DEFAULT '{}' CHECK (cardinality(methods) <= 32),
    paths      text[] NOT NULL DEFAULT '{}' CHECK (cardinality(paths) <= 64),
    mode       text NOT NULL CHECK (mode IN ('inject', 'inspect', 'splice', 'deny')),
    addresses  text[] NOT NULL DEFAULT '{}' CHECK (cardinality(addresses) <= 16),
    comment    text NOT NULL DEFAULT '' CHECK (length(comment) <= 500),
    created_by text NOT NULL CHECK (length(created_by) BETWEEN 1 AND 40),
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((scope = 'tenant') = (tenant_id IS NOT NULL)),
    CHECK (scope = 'operator' OR addresses = '{}')
);
CREATE INDEX egress_rule_tenant ON egress_rule (tenant_id);

-- A secret for machines as `core.secret.BoundSecret` has it. A minted one came in an answer to a request with minted_by in
-- it, and goes with that.
CREATE TABLE bound_secret (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL CHECK (name ~ '^[A-Z_][A-Z0-9_]{0,63}$'),
    scope        egress_scope NOT NULL,
    tenant_id    bigint REFERENCES tenant ON DELETE CASCADE,
    placeholder  text NOT NULL CHECK (length(placeholder) BETWEEN 16 AND 10000),
    binding      jsonb NOT NULL CHECK (jsonb_typeof(binding) = 'object'),
    sealed       bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    minted_by    bigint REFERENCES bound_secret ON DELETE CASCADE,
    expires_at   timestamptz,
    CHECK ((scope = 'tenant') = (tenant_id IS NOT NULL)),
    CHECK (minted_by IS NULL OR (scope = 'tenant' AND expires_at IS NOT NULL))
);
CREATE UNIQUE INDEX bound_secret_name ON bound_secret (scope, coalesce(tenant_id, 0), name);
CREATE INDEX bound_secret_tenant ON bound_secret (tenant_id);
CREATE INDEX bound_secret_minted_by ON bound_secret (minted_by) WHERE minted_by IS NOT NULL;

-- Whether the list of hosts that subclaw comes with is allowed.
CREATE TABLE egress_setting (
    single  boolean PRIMARY KEY DEFAULT true CHECK (single),
    starter boolean NOT NULL
);
INSERT INTO egress_setting (starter) VALUES (true);

-- What a tenant may use; without a tenant, what each may that has nothing of its own. NULL is as `core.quota` has it.
CREATE TABLE egress_quota (
    tenant_id           bigint REFERENCES tenant ON DELETE CASCADE,
    requests_per_minute integer CHECK (requests_per_minute >= 0),
    connections         integer CHECK (connections >= 0),
    bytes_per_day       bigint CHECK (bytes_per_day >= 0)
);
CREATE UNIQUE INDEX egress_quota_tenant ON egress_quota (coalesce(tenant_id, 0));

-- What was decided in an hour, equal decisions counted together. key is the digest of what makes them equal.
CREATE TABLE egress_decision (
    tenant_id      bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    hour           timestamptz NOT NULL,
    key            bytea NOT NULL,
    host           text NOT NULL,
    port           integer NOT NULL,
    method         text NOT NULL,
    path           text NOT NULL,
    allowed        boolean NOT NULL,
    mode           text NOT NULL,
    reason         text NOT NULL,
    count          bigint NOT NULL,
    sent_bytes     bigint NOT NULL,
    received_bytes bigint NOT NULL,
    last_at        timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, hour, key)
) WITH (fillfactor = 80);
CREATE INDEX egress_decision_hour ON egress_decision (hour);

CREATE TABLE egress_usage (
    tenant_id      bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    day            date NOT NULL,
    requests       bigint NOT NULL,
    connections    bigint NOT NULL,
    sent_bytes     bigint NOT NULL,
    received_bytes bigint NOT NULL,
    PRIMARY KEY (tenant_id, day)
) WITH (fillfactor = 50);

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['egress_rule', 'bound_secret', 'egress_quota', 'egress_decision', 'egress_usage'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own ON %I FOR SELECT TO subclaw_app USING (tenant_id = current_tenant())', name);
        EXECUTE format('CREATE POLICY operator ON %I TO subclaw_operator USING (true)', name);
        EXECUTE format('CREATE POLICY egress ON %I TO subclaw_egress USING (true)', name);
    END LOOP;
END $$;

-- What an operator made for a tenant stays, whatever is done in the tenant's name.
CREATE POLICY made ON egress_rule FOR INSERT TO subclaw_app
    WITH CHECK (tenant_id = current_tenant() AND created_by <> 'operator');
CREATE POLICY unmade ON egress_rule FOR DELETE TO subclaw_app
    USING (tenant_id = current_tenant() AND created_by <> 'operator');
CREATE POLICY shared ON bound_secret FOR SELECT TO subclaw_app
    USING (scope <> 'tenant' AND current_tenant() IS NOT NULL);
CREATE POLICY kept ON bound_secret FOR INSERT TO subclaw_app WITH CHECK (tenant_id = current_tenant());
CREATE POLICY kept_anew ON bound_secret FOR UPDATE TO subclaw_app USING (tenant_id = current_tenant());
CREATE POLICY forgotten ON bound_secret FOR DELETE TO subclaw_app USING (tenant_id = current_tenant());

-- Seals are read by the gateway alone.
GRANT SELECT, INSERT, DELETE ON egress_rule TO subclaw_app, subclaw_operator;
GRANT SELECT (id, name, scope, tenant_id, placeholder, binding, created_at, updated_at, last_used_at, minted_by, expires_at),
    INSERT (name, scope, tenant_id, placeholder, binding, sealed), UPDATE (binding, sealed, updated_at), DELETE
    ON bound_secret TO subclaw_app, subclaw_operator;
GRANT SELECT, INSERT (name, scope, tenant_id, placeholder, binding, sealed, minted_by, expires_at),
    UPDATE (binding, sealed, updated_at, last_used_at), DELETE ON bound_secret TO subclaw_egress;
GRANT SELECT, INSERT, UPDATE, DELETE ON egress_quota TO subclaw_operator;
GRANT SELECT, UPDATE ON egress_setting TO subclaw_operator;
GRANT SELECT ON egress_decision, egress_usage TO subclaw_app, subclaw_operator;
GRANT SELECT ON egress_rule, egress_setting, egress_quota, egress_usage TO subclaw_egress;

-- Whoever listens is told whose policy has changed; nothing stands for everybody's.
CREATE FUNCTION tell_egress() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('subclaw_egress', coalesce(
        CASE TG_OP WHEN 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END ->> 'tenant_id', ''));
    RETURN NULL;
END $$;
CREATE TRIGGER tell_egress AFTER INSERT OR UPDATE OR DELETE ON egress_rule FOR EACH ROW EXECUTE FUNCTION tell_egress();
CREATE TRIGGER tell_egress AFTER INSERT OR UPDATE OF binding, sealed OR DELETE ON bound_secret FOR EACH ROW
    EXECUTE FUNCTION tell_egress();
CREATE TRIGGER tell_egress AFTER INSERT OR UPDATE OR DELETE ON egress_quota FOR EACH ROW
    EXECUTE FUNCTION tell_egress();
CREATE TRIGGER tell_egress AFTER UPDATE ON egress_setting FOR EACH ROW EXECUTE FUNCTION tell_egress();

-- What a secret is bound to holds for those that were minted with it.
CREATE FUNCTION forget_minted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM bound_secret s WHERE s.minted_by = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_minted AFTER UPDATE OF binding ON bound_secret FOR EACH ROW
    WHEN (OLD.binding IS DISTINCT FROM NEW.binding) EXECUTE FUNCTION forget_minted();

-- Returns NULL if there are p_limit rules of that scope and tenant already.
CREATE FUNCTION add_egress_rule(
    p_scope egress_scope, p_tenant bigint, p_host text, p_ports integer[], p_methods text[], p_paths text[],
    p_mode text, p_addresses text[], p_comment text, p_created_by text, p_limit integer
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE v_id bigint;
BEGIN
    PERFORM be_tenant(p_tenant);
    IF (SELECT count(*) FROM egress_rule r WHERE r.scope = p_scope AND r.tenant_id IS NOT DISTINCT FROM p_tenant)
        < p_limit
    THEN
        INSERT INTO egress_rule
            (scope, tenant_id, host, ports, methods, paths, mode, addresses, comment, created_by)
            VALUES (p_scope, p_tenant, p_host, p_ports, p_methods, p_paths, p_mode, p_addresses, p_comment, p_created_by)
            RETURNING id INTO v_id;
    END IF;
    RETURN v_id;
END $$;

-- Whoever speaks for a tenant removes a rule that is the tenant's own; the operator any.
CREATE FUNCTION remove_egress_rule(p_tenant bigint, p_id bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    DELETE FROM egress_rule r WHERE r.id = p_id AND (p_tenant IS NULL OR r.tenant_id = p_tenant);
    RETURN FOUND;
END $$;

CREATE FUNCTION egress_rules(p_tenant bigint, p_limit integer) RETURNS SETOF egress_rule LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT r.* FROM egress_rule r WHERE p_tenant IS NULL OR r.tenant_id IS NULL OR r.tenant_id = p_tenant
        ORDER BY r.scope, r.id LIMIT p_limit;
END $$;

-- What the agent's file says, in place of what it said before.
CREATE FUNCTION replace_agent_rules(p_rules jsonb, p_starter boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM egress_rule r WHERE r.created_by = 'agent.toml';
    INSERT INTO egress_rule (scope, host, ports, methods, paths, mode, comment, created_by)
        SELECT 'agent', r.host, r.ports, r.methods, r.paths, r.mode, r.comment, 'agent.toml'
        FROM jsonb_to_recordset(p_rules)
            AS r (host text, ports integer[], methods text[], paths text[], mode text, comment text);
    UPDATE egress_setting s SET starter = p_starter WHERE s.starter <> p_starter;
END $$;

-- Keep a secret, in place of the value of one of the same scope and name, whose placeholder stays: the seal is bound to
-- that. Returns NULL if it has another placeholder, 0 if there are p_limit of that scope and tenant already, without those
-- that were minted.
CREATE FUNCTION keep_bound_secret(
    p_scope egress_scope, p_tenant bigint, p_name text, p_placeholder text, p_binding jsonb, p_sealed bytea,
    p_limit integer
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE v_id bigint;
BEGIN
    PERFORM be_tenant(p_tenant);
    IF NOT EXISTS (
        SELECT FROM bound_secret s
        WHERE s.scope = p_scope AND coalesce(s.tenant_id, 0) = coalesce(p_tenant, 0) AND s.name = p_name
    ) AND (
        SELECT count(*) FROM bound_secret s
        WHERE s.scope = p_scope AND s.tenant_id IS NOT DISTINCT FROM p_tenant AND s.minted_by IS NULL
    ) >= p_limit THEN
        RETURN 0;
    END IF;
    INSERT INTO bound_secret AS s (name, scope, tenant_id, placeholder, binding, sealed)
        VALUES (p_name, p_scope, p_tenant, p_placeholder, p_binding, p_sealed)
        ON CONFLICT (scope, coalesce(tenant_id, 0), name) DO UPDATE
            SET binding = p_binding, sealed = p_sealed, updated_at = now() WHERE s.placeholder = p_placeholder
        RETURNING s.id INTO v_id;
    RETURN v_id;
END $$;

CREATE FUNCTION existing_placeholder(p_scope egress_scope, p_tenant bigint, p_name text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN (
        SELECT s.placeholder FROM bound_secret s
        WHERE s.scope = p_scope AND coalesce(s.tenant_id, 0) = coalesce(p_tenant, 0) AND s.name = p_name);
END $$;

CREATE FUNCTION forget_bound_secret(p_scope egress_scope, p_tenant bigint, p_name text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    DELETE FROM bound_secret s
        WHERE s.scope = p_scope AND coalesce(s.tenant_id, 0) = coalesce(p_tenant, 0) AND s.name = p_name;
    RETURN FOUND;
END $$;

-- The secrets that a tenant has or that count for all; of everybody's if no tenant is said. No seals.
CREATE FUNCTION bound_secrets(p_tenant bigint, p_limit integer) RETURNS TABLE (
    id bigint, name text, scope egress_scope, tenant_id bigint, tenant_name text, placeholder text, binding jsonb,
    created_at timestamptz, updated_at timestamptz, last_used_at timestamptz
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT s.id, s.name, s.scope, s.tenant_id, t.name, s.placeholder, s.binding, s.created_at,
            s.updated_at, s.last_used_at
        FROM bound_secret s LEFT JOIN tenant t ON t.id = s.tenant_id
        WHERE p_tenant IS NULL OR s.tenant_id IS NULL OR s.tenant_id = p_tenant
        ORDER BY s.scope, t.name, s.name LIMIT p_limit;
END $$;

-- Commands have placeholders but for what was minted: those are in the answer that it came in.
CREATE FUNCTION placeholders_of(p_tenant bigint) RETURNS TABLE (name text, placeholder text)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT DISTINCT ON (s.name) s.name, s.placeholder FROM bound_secret s
        WHERE s.minted_by IS NULL ORDER BY s.name, s.scope DESC;
END $$;

-- Keep what was minted with a secret, and of the tenant's only the newest p_limit; returns ids, in the order given, or
-- nothing if that secret is gone.
CREATE FUNCTION keep_minted(p_tenant bigint, p_minted_by bigint, p_secrets jsonb, p_limit integer)
RETURNS SETOF bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM bound_secret s WHERE s.id = p_minted_by AND (s.tenant_id IS NULL OR s.tenant_id = p_tenant)
        FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
        INSERT INTO bound_secret (name, scope, tenant_id, placeholder, binding, sealed, minted_by, expires_at)
        SELECT m.name, 'tenant', p_tenant, m.placeholder, m.binding, decode(m.sealed, 'base64'), p_minted_by,
            now() + make_interval(secs => m.lives_s)
        FROM ROWS FROM (jsonb_to_recordset(p_secrets)
            AS (name text, placeholder text, binding jsonb, sealed text, lives_s double precision)) WITH ORDINALITY m
        ORDER BY m.ordinality RETURNING id;
    DELETE FROM bound_secret s WHERE s.id IN (
        SELECT o.id FROM bound_secret o WHERE o.tenant_id = p_tenant AND o.minted_by IS NOT NULL
        ORDER BY o.id DESC OFFSET p_limit);
END $$;

CREATE FUNCTION decision_key(
    p_host text, p_port integer, p_method text, p_path text, p_allowed boolean, p_mode text, p_reason text
) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(convert_to(
        jsonb_build_array(p_host, p_port, p_method, p_path, p_allowed, p_mode, p_reason)::text, 'UTF8'))
$$;

-- Count decisions; those of tenants who are gone are left out. Beyond p_limit rows of a tenant in an hour paths are left
-- out, and beyond twice as many everything but whether it was allowed: a machine asks for as many names as it likes.
CREATE FUNCTION record_decisions(p_rows jsonb, p_limit integer) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO egress_decision AS d
        WITH asked AS (
            SELECT r.*, date_trunc('hour', r.last_at, 'UTC') AS hour,
                decision_key(r.host, r.port, r.method, r.path, r.allowed, r.mode, r.reason) AS key
            FROM jsonb_to_recordset(p_rows) AS r (
                    tenant bigint, host text, port integer, method text, path text, allowed boolean, mode text,
                    reason text, count bigint, sent_bytes bigint, received_bytes bigint, last_at timestamptz)
                JOIN tenant t ON t.id = r.tenant FOR KEY SHARE OF t
        ), held AS MATERIALIZED (
            SELECT h.tenant, h.hour, (
                SELECT count(*) FROM egress_decision e WHERE e.tenant_id = h.tenant AND e.hour = h.hour) AS rows
            FROM (SELECT DISTINCT a.tenant, a.hour FROM asked a) h
        ), known AS MATERIALIZED (
            SELECT a.*, EXISTS (
                SELECT FROM egress_decision e
                WHERE e.tenant_id = a.tenant AND e.hour = a.hour AND e.key = a.key) AS is_known
            FROM asked a
        ), ranked AS (
            SELECT k.*, CASE WHEN k.is_known THEN 0 ELSE
                h.rows + dense_rank() OVER (PARTITION BY k.tenant, k.hour, k.is_known ORDER BY k.key) END AS row
            FROM known k JOIN held h ON h.tenant = k.tenant AND h.hour = k.hour
        ), bounded AS (
            SELECT r.tenant, r.hour, r.allowed, r.count, r.sent_bytes, r.received_bytes, r.last_at,
                CASE WHEN r.row > 2 * p_limit THEN '*' ELSE r.host END AS host,
                CASE WHEN r.row > 2 * p_limit THEN 0 ELSE r.port END AS port,
                CASE WHEN r.row > 2 * p_limit THEN '*' ELSE r.method END AS method,
                CASE WHEN r.row > p_limit THEN '*' ELSE r.path END AS path,
                CASE WHEN r.row > 2 * p_limit THEN '' ELSE r.mode END AS mode,
                CASE WHEN r.row > 2 * p_limit THEN '' ELSE r.reason END AS reason
            FROM ranked r
        )
        SELECT b.tenant, b.hour, decision_key(b.host, b.port, b.method, b.path, b.allowed, b.mode, b.reason) AS key,
            b.host, b.port, b.method, b.path, b.allowed, b.mode, b.reason, sum(b.count), sum(b.sent_bytes),
            sum(b.received_bytes), max(b.last_at)
        FROM bounded b GROUP BY b.tenant, b.hour, b.host, b.port, b.method, b.path, b.allowed, b.mode, b.reason
        ORDER BY b.tenant, b.hour, key
        ON CONFLICT (tenant_id, hour, key) DO UPDATE SET count = d.count + excluded.count,
            sent_bytes = d.sent_bytes + excluded.sent_bytes,
            received_bytes = d.received_bytes + excluded.received_bytes,
            last_at = greatest(d.last_at, excluded.last_at);
END $$;

CREATE FUNCTION record_egress_usage(p_rows jsonb) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO egress_usage AS u
        SELECT r.tenant, (now() AT TIME ZONE 'UTC')::date, sum(r.requests), sum(r.connections), sum(r.sent_bytes),
            sum(r.received_bytes)
        FROM (
            SELECT r.* FROM jsonb_to_recordset(p_rows) AS r (
                    tenant bigint, requests bigint, connections bigint, sent_bytes bigint, received_bytes bigint)
                JOIN tenant t ON t.id = r.tenant ORDER BY t.id FOR KEY SHARE OF t
        ) r GROUP BY r.tenant ORDER BY r.tenant
        ON CONFLICT (tenant_id, day) DO UPDATE SET requests = u.requests + excluded.requests,
            connections = u.connections + excluded.connections, sent_bytes = u.sent_bytes + excluded.sent_bytes,
            received_bytes = u.received_bytes + excluded.received_bytes;
END $$;

REVOKE ALL ON FUNCTION tell_egress, forget_minted, keep_minted, add_egress_rule, remove_egress_rule, egress_rules,
    replace_agent_rules, keep_bound_secret, existing_placeholder, forget_bound_secret, bound_secrets, placeholders_of,
    record_decisions, decision_key, record_egress_usage FROM PUBLIC;
GRANT EXECUTE ON FUNCTION be_tenant TO subclaw_operator, subclaw_egress;
GRANT EXECUTE ON FUNCTION add_egress_rule, remove_egress_rule, egress_rules, forget_bound_secret, bound_secrets
    TO subclaw_app, subclaw_operator;
GRANT EXECUTE ON FUNCTION keep_bound_secret, existing_placeholder TO subclaw_app, subclaw_operator, subclaw_egress;
GRANT EXECUTE ON FUNCTION placeholders_of TO subclaw_app;
GRANT EXECUTE ON FUNCTION replace_agent_rules TO subclaw_operator;
GRANT EXECUTE ON FUNCTION keep_minted, record_decisions, record_egress_usage TO subclaw_egress;

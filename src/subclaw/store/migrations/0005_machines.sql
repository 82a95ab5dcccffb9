-- Which host keeps a tenant's disk, and what the tenant's plan gives its machine. The row is a lease: host is its owner
-- and generation its epoch. A host speaks as subclaw_host, which may call the functions below and nothing else: it has no
-- right to any table.

-- awake_s_per_day is for how long, per day (UTC), a claim to stay awake is honoured. Plans are the operator's.
CREATE TABLE plan (
    name               text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9-]{0,61}[a-z0-9]$'),
    idle_timeout_s     integer NOT NULL CHECK (idle_timeout_s BETWEEN 1 AND 86400),
    awake_s_per_day    integer NOT NULL CHECK (awake_s_per_day BETWEEN 0 AND 86400),
    disk_mb            integer NOT NULL CHECK (disk_mb BETWEEN 64 AND 1048576),
    sleeps_with_memory boolean NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now()
);
INSERT INTO plan (name, idle_timeout_s, awake_s_per_day, disk_mb, sleeps_with_memory)
    VALUES ('standard', 300, 4 * 3600, 8192, true);

ALTER TABLE tenant ADD COLUMN plan text NOT NULL DEFAULT 'standard' REFERENCES plan;

-- image is the golden image of the newest start; since is when the state was entered.
CREATE TABLE machine (
    tenant_id  bigint PRIMARY KEY REFERENCES tenant ON DELETE CASCADE,
    host       text NOT NULL,
    generation bigint NOT NULL CHECK (generation > 0),
    state      text NOT NULL CHECK (state IN ('awake', 'asleep', 'asleep with memory')),
    image      text NOT NULL,
    since      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX machine_host ON machine (host);

-- Machine seconds; day is in UTC. It stays when a machine is destroyed: a new one has no new budget.
CREATE TABLE machine_use (
    tenant_id bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    day       date NOT NULL,
    awake_s   double precision NOT NULL CHECK (awake_s >= 0),
    PRIMARY KEY (tenant_id, day)
);

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'subclaw_host') THEN
        CREATE ROLE subclaw_host NOLOGIN;
    END IF;
    GRANT subclaw_host TO CURRENT_USER;
END $$;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['machine', 'machine_use'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own ON %I TO subclaw_app USING (tenant_id = current_tenant())', name);
        EXECUTE format('CREATE POLICY operator ON %I FOR SELECT TO subclaw_operator USING (true)', name);
    END LOOP;
END $$;
GRANT SELECT ON machine, machine_use TO subclaw_app, subclaw_operator;
GRANT SELECT, INSERT, UPDATE ON plan TO subclaw_operator;

-- Who is on which plan is for the operator to say: whoever acts as a tenant may write its other columns alone.
REVOKE INSERT, UPDATE ON tenant FROM subclaw_app;
GRANT INSERT (id, name), UPDATE (name) ON tenant TO subclaw_app;
GRANT UPDATE (plan) ON tenant TO subclaw_operator;
CREATE POLICY operator_plan ON tenant FOR UPDATE TO subclaw_operator USING (true);

-- What is left of a tenant's budget today.
CREATE FUNCTION awake_left(p_tenant bigint) RETURNS double precision LANGUAGE sql STABLE AS $$
    SELECT greatest(0, p.awake_s_per_day - coalesce(u.awake_s, 0))
    FROM tenant t JOIN plan p ON p.name = t.plan
        LEFT JOIN machine_use u ON u.tenant_id = t.id AND u.day = (now() AT TIME ZONE 'UTC')::date
    WHERE t.id = p_tenant
$$;

-- Count seconds awake up to p_now, each to the day that it lies in. More than a day at a time counts as a day.
CREATE FUNCTION count_awake(p_tenant bigint, p_awake_s double precision, p_now timestamptz) RETURNS void LANGUAGE plpgsql
AS $$
DECLARE
    v_to timestamp := p_now AT TIME ZONE 'UTC';
    v_from timestamp := v_to - make_interval(secs => least(p_awake_s, 86400));
BEGIN
    INSERT INTO machine_use AS u (tenant_id, day, awake_s)
        SELECT p_tenant, d.day::date,
               extract(epoch FROM least(v_to, d.day + interval '1 day') - greatest(v_from, d.day))
        FROM generate_series(date_trunc('day', v_from), v_to, interval '1 day') AS d (day)
        WHERE p_awake_s > 0
        ON CONFLICT (tenant_id, day) DO UPDATE SET awake_s = u.awake_s + excluded.awake_s;
END $$;

-- Return a machine's row and hold it until the end of the transaction; NULLs if the machine is not of this host and
-- start. The tenant's row comes first, as it does when a tenant is deleted, so that neither waits for the other.
CREATE FUNCTION hold_machine(p_host text, p_tenant bigint, p_generation bigint) RETURNS machine LANGUAGE plpgsql AS $$
DECLARE v machine;
BEGIN
    PERFORM FROM tenant t WHERE t.id = p_tenant FOR KEY SHARE;
    SELECT * INTO v FROM machine m
        WHERE m.tenant_id = p_tenant AND m.host = p_host AND m.generation = p_generation FOR UPDATE;
    RETURN v;
END $$;

-- Count a start. Returns nothing if there is no such tenant, and no generation if another host keeps its machine.
CREATE FUNCTION begin_machine(p_host text, p_tenant bigint, p_at_least bigint, p_image text)
RETURNS TABLE (
    generation bigint, idle_timeout_s integer, disk_mb integer, sleeps_with_memory boolean, awake_left_s double precision
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_plan plan;
    v_generation bigint;
BEGIN
    SELECT p.* INTO v_plan FROM tenant t JOIN plan p ON p.name = t.plan WHERE t.id = p_tenant FOR KEY SHARE OF t;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO machine AS m (tenant_id, host, generation, state, image)
        VALUES (p_tenant, p_host, p_at_least + 1, 'awake', p_image)
        ON CONFLICT (tenant_id) DO UPDATE SET generation = greatest(m.generation, p_at_least) + 1, state = 'awake',
            image = p_image, since = now()
        WHERE m.host = p_host RETURNING m.generation INTO v_generation;
    RETURN QUERY SELECT v_generation, v_plan.idle_timeout_s, v_plan.disk_mb, v_plan.sleeps_with_memory,
        awake_left(p_tenant);
END $$;

-- Add machine seconds; returns what is left of the budget, or NULL if the machine is not awake, of this host and start.
CREATE FUNCTION use_machine(p_host text, p_tenant bigint, p_generation bigint, p_awake_s double precision)
RETURNS double precision LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE v machine := hold_machine(p_host, p_tenant, p_generation);
BEGIN
    IF v.state IS DISTINCT FROM 'awake' THEN
        RETURN NULL;
    END IF;
    PERFORM count_awake(p_tenant, p_awake_s, now());
    RETURN awake_left(p_tenant);
END $$;

-- Say how a machine sleeps, and add its last seconds; said again, they are not added again. Returns whether the machine
-- is of this host and start.
CREATE FUNCTION end_machine(
    p_host text, p_tenant bigint, p_generation bigint, p_state text, p_awake_s double precision
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE v machine := hold_machine(p_host, p_tenant, p_generation);
BEGIN
    IF v.state = 'awake' THEN
        PERFORM count_awake(p_tenant, p_awake_s, now());
    END IF;
    UPDATE machine m SET state = p_state, since = now() WHERE m.tenant_id = v.tenant_id AND m.state <> p_state;
    RETURN v.tenant_id IS NOT NULL;
END $$;

-- Forget a machine whose disk is erased. Returns whether no other host keeps one.
CREATE FUNCTION destroy_machine(p_host text, p_tenant bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM machine m WHERE m.tenant_id = p_tenant AND m.host = p_host;
    RETURN NOT EXISTS (SELECT FROM machine m WHERE m.tenant_id = p_tenant);
END $$;

CREATE FUNCTION machines_of_host(p_host text) RETURNS TABLE (tenant_id bigint, generation bigint, state text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT m.tenant_id, m.generation, m.state FROM machine m WHERE m.host = p_host ORDER BY m.tenant_id
$$;

-- What a host's rows call awake and is not in p_awake sleeps; returns how many those are.
CREATE FUNCTION settle_machines(p_host text, p_awake bigint[]) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE v_count integer;
BEGIN
    UPDATE machine m SET state = 'asleep', since = now()
        WHERE m.host = p_host AND m.state = 'awake' AND m.tenant_id <> ALL (p_awake);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

-- A host may keep disks of tenants that were deleted while it was down.
CREATE FUNCTION tenants_that_exist(p_tenants bigint[]) RETURNS SETOF bigint LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT t.id FROM tenant t WHERE t.id = ANY (p_tenants)
$$;

REVOKE ALL ON FUNCTION awake_left, count_awake, hold_machine, begin_machine, use_machine, end_machine, destroy_machine,
    machines_of_host, settle_machines, tenants_that_exist FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_machine, use_machine, end_machine, destroy_machine, machines_of_host, settle_machines,
    tenants_that_exist TO subclaw_host;

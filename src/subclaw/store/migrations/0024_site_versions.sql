-- What a site was: each publishing is a version. Undoing one goes back to what was there `before` it; nothing is lost.
CREATE TABLE site_version (
    tenant_id    bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    number       integer NOT NULL,
    before       integer,
    release      text,
    port         integer CHECK (port BETWEEN 1 AND 65535),
    files        integer NOT NULL DEFAULT 0,
    size_bytes   bigint NOT NULL DEFAULT 0,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, number),
    CHECK (num_nonnulls(release, port) = 1)
);
INSERT INTO site_version (tenant_id, number, release, port, published_at)
    SELECT s.tenant_id, 1, s.release, s.port, s.updated_at FROM site s;

ALTER TABLE site ADD COLUMN version integer NOT NULL DEFAULT 1;
ALTER TABLE site ADD COLUMN taken_down_at timestamptz;
ALTER TABLE site ADD FOREIGN KEY (tenant_id, version) REFERENCES site_version;

ALTER TABLE site_version ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON site_version TO subclaw_app USING (tenant_id = current_tenant());
CREATE POLICY operator ON site_version FOR SELECT TO subclaw_operator USING (true);
GRANT SELECT, INSERT, DELETE ON site_version TO subclaw_app;
GRANT SELECT ON site_version TO subclaw_operator;

DROP FUNCTION set_site;

-- Stores what a tenant's hostname serves from now on, as a version; the same again is none. Keeps the newest p_keep.
CREATE FUNCTION publish_version(
    p_tenant bigint, p_release text, p_port integer, p_files integer, p_size_bytes bigint, p_keep integer
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_now site_version;
    v_number integer;
BEGIN
    PERFORM be_tenant(p_tenant);
    PERFORM pg_advisory_xact_lock(hashtextextended('site versions', p_tenant));
    SELECT v.* INTO v_now FROM site_version v JOIN site s ON (s.tenant_id, s.version) = (v.tenant_id, v.number)
        WHERE s.tenant_id = p_tenant;
    IF (v_now.release, v_now.port) IS NOT DISTINCT FROM (p_release, p_port) THEN
        RETURN v_now.number;
    END IF;
    SELECT coalesce(max(v.number), 0) + 1 INTO v_number FROM site_version v WHERE v.tenant_id = p_tenant;
    INSERT INTO site_version (tenant_id, number, before, release, port, files, size_bytes)
        VALUES (p_tenant, v_number, v_now.number, p_release, p_port, p_files, p_size_bytes);
    INSERT INTO site (tenant_id, release, port, version) VALUES (p_tenant, p_release, p_port, v_number)
        ON CONFLICT (tenant_id) DO UPDATE SET release = p_release, port = p_port, version = v_number, updated_at = now();
    DELETE FROM site_version v WHERE v.tenant_id = p_tenant AND v.number <= v_number - p_keep;
    RETURN v_number;
END $$;

-- Makes a kept version the one that is served: p_number, or the one before the present (-1), or the newest after it (1).
-- Returns its number, or null if there is none such.
CREATE FUNCTION go_to_version(p_tenant bigint, p_number integer, p_step integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_now site_version;
    v site_version;
BEGIN
    PERFORM be_tenant(p_tenant);
    PERFORM pg_advisory_xact_lock(hashtextextended('site versions', p_tenant));
    SELECT o.* INTO v_now FROM site_version o JOIN site s ON (s.tenant_id, s.version) = (o.tenant_id, o.number)
        WHERE s.tenant_id = p_tenant;
    SELECT o.* INTO v FROM site_version o WHERE o.tenant_id = p_tenant AND CASE
            WHEN p_number IS NOT NULL THEN o.number = p_number
            WHEN p_step < 0 THEN o.number = v_now.before
            ELSE o.before = v_now.number END
        ORDER BY o.number DESC LIMIT 1;
    IF v.number IS NOT NULL THEN
        UPDATE site s SET release = v.release, port = v.port, version = v.number, updated_at = now()
            WHERE s.tenant_id = p_tenant;
    END IF;
    RETURN v.number;
END $$;

-- A tenant's versions, the newest first, and which is served.
CREATE FUNCTION site_versions(p_tenant bigint) RETURNS TABLE (
    number integer, release text, port integer, files integer, size_bytes bigint, published_at timestamptz,
    is_served boolean
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT v.number, v.release, v.port, v.files, v.size_bytes, v.published_at, v.number = s.version
        FROM site_version v JOIN site s ON s.tenant_id = v.tenant_id
        WHERE v.tenant_id = p_tenant ORDER BY v.number DESC;
END $$;

-- Whether what is served was published since the person wrote last: then "undo" means that.
CREATE FUNCTION published_lately(p_tenant bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN EXISTS (
        SELECT FROM site s JOIN site_version v ON (v.tenant_id, v.number) = (s.tenant_id, s.version)
        WHERE s.tenant_id = p_tenant AND v.published_at > coalesce((
            SELECT max(said.received_at) FROM conversation c CROSS JOIN LATERAL (
                SELECT i.received_at FROM inbox i WHERE i.conversation_id = c.id
                    AND i.provider_id !~ '^(schedule|secret|account|access|site):'
                ORDER BY i.seq DESC LIMIT 1
            ) said WHERE c.tenant_id = p_tenant), '-infinity'));
END $$;

CREATE FUNCTION site_is_down(p_tenant bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN EXISTS (SELECT FROM site s WHERE s.tenant_id = p_tenant AND s.taken_down_at IS NOT NULL);
END $$;

-- Takes a tenant's site down, or lets it be seen again; says whether there is one.
CREATE FUNCTION take_site_down(p_name text, p_down boolean) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE site s SET taken_down_at = CASE WHEN p_down THEN coalesce(s.taken_down_at, now()) END
        FROM tenant t WHERE t.id = s.tenant_id AND t.name = p_name;
    RETURN FOUND;
END $$;

REVOKE ALL ON FUNCTION publish_version, go_to_version, site_versions, published_lately, site_is_down,
    take_site_down FROM PUBLIC;
GRANT EXECUTE ON FUNCTION publish_version, go_to_version, site_versions, published_lately, site_is_down TO subclaw_app;
GRANT EXECUTE ON FUNCTION take_site_down TO subclaw_operator;

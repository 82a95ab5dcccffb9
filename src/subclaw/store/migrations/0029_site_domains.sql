-- What the router serves at which hostname, as it changes; hostnames of tenants' own; and certificates that were allowed.

-- Each transaction that changes what a hostname serves counts this up. The row's lock puts such transactions in the order
-- of their numbers, so whoever has seen a number has seen all that came before. What was taken away is not among the rows
-- any more: a router that knows less than `whole` begins anew.
CREATE TABLE site_generation (
    is_only    boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    generation bigint NOT NULL,
    whole      bigint NOT NULL
);
INSERT INTO site_generation (generation, whole) VALUES (1, 1);

ALTER TABLE site ADD COLUMN generation bigint NOT NULL DEFAULT 0;
CREATE INDEX site_changed ON site (generation);

-- Hostnames of tenants' own. Several tenants may want one; whoever showed to own it has it, and it is looked at again.
CREATE TABLE site_domain (
    hostname      text NOT NULL CHECK (hostname = lower(hostname) AND length(hostname) BETWEEN 3 AND 253),
    tenant_id     bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    token         text NOT NULL,
    asked_at      timestamptz NOT NULL DEFAULT now(),
    verified_at   timestamptz,
    checked_at    timestamptz NOT NULL DEFAULT now(),
    missing_since timestamptz,
    PRIMARY KEY (tenant_id, hostname)
);
CREATE UNIQUE INDEX site_domain_held ON site_domain (hostname) WHERE verified_at IS NOT NULL;
CREATE INDEX site_domain_checked ON site_domain (checked_at);

-- Hostnames that the operator refuses, with all below them, whoever shows to own them.
CREATE TABLE refused_domain (
    hostname   text PRIMARY KEY CHECK (hostname = lower(hostname) AND length(hostname) BETWEEN 3 AND 253),
    refused_at timestamptz NOT NULL DEFAULT now()
);

-- Hostnames for which a certificate was allowed: for the first time at first_at, and `times` since window_at.
CREATE TABLE certificate_name (
    hostname  text PRIMARY KEY,
    first_at  timestamptz NOT NULL DEFAULT now(),
    window_at timestamptz NOT NULL DEFAULT now(),
    times     integer NOT NULL DEFAULT 1
);
CREATE INDEX certificate_name_first ON certificate_name (first_at);

ALTER TABLE site_domain ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON site_domain TO subclaw_app USING (tenant_id = current_tenant());
CREATE POLICY operator ON site_domain FOR SELECT TO subclaw_operator USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON site_domain TO subclaw_app;
GRANT SELECT ON site_domain, refused_domain, site_generation TO subclaw_operator;

CREATE FUNCTION next_site_generation(p_whole boolean) RETURNS bigint LANGUAGE sql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT pg_notify('subclaw_sites', '');
    UPDATE site_generation g SET generation = g.generation + 1,
        whole = CASE WHEN p_whole THEN g.generation + 1 ELSE g.whole END
    RETURNING g.generation
$$;

CREATE FUNCTION count_site_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    NEW.generation := next_site_generation(false);
    RETURN NEW;
END $$;
CREATE TRIGGER count_site_change BEFORE INSERT OR UPDATE ON site FOR EACH ROW EXECUTE FUNCTION count_site_change();

CREATE FUNCTION count_site_loss() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM next_site_generation(true);
    RETURN NULL;
END $$;
CREATE TRIGGER count_site_loss AFTER DELETE ON site FOR EACH ROW EXECUTE FUNCTION count_site_loss();
CREATE TRIGGER count_site_loss AFTER DELETE ON site_domain FOR EACH ROW WHEN (OLD.verified_at IS NOT NULL)
    EXECUTE FUNCTION count_site_loss();

CREATE FUNCTION count_site_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM site s WHERE s.tenant_id = NEW.id) THEN
        PERFORM next_site_generation(true);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_site_move AFTER UPDATE OF name ON tenant FOR EACH ROW WHEN (OLD.name <> NEW.name)
    EXECUTE FUNCTION count_site_move();

-- Any change of the row counts it.
CREATE FUNCTION touch_site(p_tenant bigint) RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    UPDATE site s SET generation = s.generation WHERE s.tenant_id = p_tenant
$$;

CREATE FUNCTION touch_tenants_site() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM touch_site(NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER touch_site AFTER UPDATE OF suspended_at ON tenant FOR EACH ROW
    WHEN ((OLD.suspended_at IS NULL) <> (NEW.suspended_at IS NULL)) EXECUTE FUNCTION touch_tenants_site();

CREATE FUNCTION touch_rows_site() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM touch_site(coalesce(NEW.tenant_id, OLD.tenant_id));
    RETURN NULL;
END $$;
CREATE TRIGGER touch_site AFTER INSERT OR UPDATE OF verified_at ON site_domain FOR EACH ROW
    WHEN (NEW.verified_at IS NOT NULL) EXECUTE FUNCTION touch_rows_site();
CREATE TRIGGER touch_site AFTER INSERT OR DELETE ON private_site FOR EACH ROW EXECUTE FUNCTION touch_rows_site();

-- Want a hostname: the token by which the tenant shows to own it, the same whenever it is asked again. NULL if the tenant
-- has p_limit others; what nobody showed to own within p_within is forgotten.
CREATE FUNCTION want_domain(p_tenant bigint, p_hostname text, p_token text, p_limit integer, p_within interval)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE v_token text;
BEGIN
    PERFORM be_tenant(p_tenant);
    DELETE FROM site_domain d WHERE d.tenant_id = p_tenant AND d.verified_at IS NULL AND d.hostname <> p_hostname
        AND d.asked_at < now() - p_within;
    SELECT d.token INTO v_token FROM site_domain d WHERE d.tenant_id = p_tenant AND d.hostname = p_hostname;
    IF NOT FOUND AND p_limit > (SELECT count(*) FROM site_domain d WHERE d.tenant_id = p_tenant) THEN
        INSERT INTO site_domain (hostname, tenant_id, token) VALUES (p_hostname, p_tenant, p_token)
            ON CONFLICT DO NOTHING;
        RETURN p_token;
    END IF;
    RETURN v_token;
END $$;

CREATE FUNCTION domain_is_refused(p_hostname text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM refused_domain r
                   WHERE r.hostname = p_hostname OR right(p_hostname, length(r.hostname) + 1) = '.' || r.hostname)
$$;

-- Give a tenant a hostname that it showed to own; false if another has it, or the operator refuses it.
CREATE FUNCTION hold_domain(p_tenant bigint, p_hostname text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    UPDATE site_domain d SET verified_at = coalesce(d.verified_at, now()), checked_at = now(), missing_since = NULL
        WHERE d.tenant_id = p_tenant AND d.hostname = p_hostname AND NOT domain_is_refused(p_hostname);
    RETURN FOUND;
EXCEPTION WHEN unique_violation THEN
    RETURN false;
END $$;

CREATE FUNCTION domain_is_held(p_hostname text, p_but bigint) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM site_domain d
                   WHERE d.hostname = p_hostname AND d.tenant_id <> p_but AND d.verified_at IS NOT NULL)
$$;

-- Whose own a hostname is, whoever asks.
CREATE FUNCTION tenant_of_domain(p_hostname text) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT d.tenant_id FROM site_domain d WHERE d.hostname = p_hostname AND d.verified_at IS NOT NULL
$$;

CREATE FUNCTION drop_domain(p_tenant bigint, p_hostname text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    DELETE FROM site_domain d WHERE d.tenant_id = p_tenant AND d.hostname = p_hostname;
    RETURN FOUND;
END $$;

-- Refuses a hostname from now on, and takes it and all below it from whoever has or wants them; returns how many there were.
CREATE FUNCTION refuse_domain(p_hostname text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE v_count bigint;
BEGIN
    INSERT INTO refused_domain (hostname) VALUES (p_hostname) ON CONFLICT DO NOTHING;
    DELETE FROM site_domain d WHERE domain_is_refused(d.hostname);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

-- Refuses a hostname no more; false if it was not.
CREATE FUNCTION allow_domain(p_hostname text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM refused_domain r WHERE r.hostname = p_hostname;
    RETURN FOUND;
END $$;

CREATE FUNCTION tenant_domains(p_tenant bigint) RETURNS TABLE (hostname text, token text, is_held boolean)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT d.hostname, d.token, d.verified_at IS NOT NULL FROM site_domain d
        WHERE d.tenant_id = p_tenant ORDER BY d.hostname;
END $$;

-- Take hostnames that were not looked at for p_every; whoever takes them looks, and nobody else.
CREATE FUNCTION claim_domain_checks(p_limit integer, p_every interval)
RETURNS TABLE (tenant_id bigint, hostname text, token text) LANGUAGE sql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    UPDATE site_domain d SET checked_at = now() FROM (
        SELECT o.tenant_id, o.hostname FROM site_domain o
        WHERE o.verified_at IS NOT NULL AND o.checked_at < now() - p_every
        ORDER BY o.checked_at LIMIT p_limit FOR UPDATE SKIP LOCKED) due
    WHERE d.tenant_id = due.tenant_id AND d.hostname = due.hostname
    RETURNING d.tenant_id, d.hostname, d.token
$$;

-- Note that a hostname's records are gone; true if they are for longer than p_within. Then it is the tenant's no more, and
-- p_text is said where its person wrote last: sent there, but on channels that are read in place.
CREATE FUNCTION miss_domain(p_tenant bigint, p_hostname text, p_within interval, p_text text, p_in_place text[])
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE v conversation;
BEGIN
    PERFORM be_tenant(p_tenant);
    UPDATE site_domain d SET missing_since = coalesce(d.missing_since, now())
        WHERE d.tenant_id = p_tenant AND d.hostname = p_hostname;
    DELETE FROM site_domain d WHERE d.tenant_id = p_tenant AND d.hostname = p_hostname
        AND d.missing_since <= now() - p_within;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    SELECT c.* INTO v FROM conversation c WHERE c.tenant_id = p_tenant
        ORDER BY (SELECT max(i.received_at) FROM inbox i WHERE i.conversation_id = c.id) DESC NULLS LAST
        LIMIT 1 FOR UPDATE;
    IF FOUND THEN
        PERFORM write_notification(v, 0, p_text, '[]', v.channel <> ALL (p_in_place));
    END IF;
    RETURN true;
END $$;

-- Whether Caddy may have a certificate for a hostname: one that the router serves (p_is_known), a tenant's by name, or one
-- that a tenant showed to own; at most p_host_limit times an hour for each, and at most p_new_limit hostnames an hour that
-- never had one. A refusal says why.
CREATE FUNCTION allow_certificate(
    p_hostname text, p_name text, p_is_known boolean, p_host_limit integer, p_new_limit integer
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE v_times integer;
BEGIN
    IF NOT p_is_known AND named_tenant(p_name) IS NULL AND NOT EXISTS (
        SELECT FROM site_domain d WHERE d.hostname = p_hostname AND d.verified_at IS NOT NULL)
    THEN
        RETURN 'unknown';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('certificate names', 0));
    UPDATE certificate_name c SET
            times = CASE WHEN c.window_at < now() - interval '1 hour' THEN 1 ELSE c.times + 1 END,
            window_at = CASE WHEN c.window_at < now() - interval '1 hour' THEN now() ELSE c.window_at END
        WHERE c.hostname = p_hostname RETURNING c.times INTO v_times;
    IF FOUND THEN
        RETURN CASE WHEN v_times <= p_host_limit THEN 'allowed' ELSE 'too_often' END;
    END IF;
    IF p_new_limit <= (
        SELECT count(*) FROM certificate_name c WHERE c.first_at > now() - interval '1 hour')
    THEN
        RETURN 'too_many';
    END IF;
    INSERT INTO certificate_name (hostname) VALUES (p_hostname);
    RETURN 'allowed';
END $$;

REVOKE ALL ON FUNCTION next_site_generation, count_site_change, count_site_loss, count_site_move, touch_site,
    touch_tenants_site, touch_rows_site, want_domain, hold_domain, domain_is_held, drop_domain, tenant_domains,
    claim_domain_checks, domain_is_refused, refuse_domain, allow_domain, miss_domain, allow_certificate,
    tenant_of_domain FROM PUBLIC;
GRANT EXECUTE ON FUNCTION touch_site, want_domain, hold_domain, domain_is_held, drop_domain, tenant_domains,
    claim_domain_checks, domain_is_refused, miss_domain, allow_certificate, tenant_of_domain TO subclaw_app;
GRANT EXECUTE ON FUNCTION refuse_domain, allow_domain TO subclaw_operator;

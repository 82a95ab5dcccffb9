-- What visitors of sites leave and reach: forms, webhooks, short links, private sites, reports of abuse.

CREATE TABLE form_entry (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    form        text NOT NULL,
    fields      jsonb NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX form_entry_tenant ON form_entry (tenant_id, id);

-- A webhook's address holds a token, of which only the hash is known.
CREATE TABLE hook (
    tenant_id  bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    name       text NOT NULL,
    token_hash bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name)
);
CREATE TABLE hook_call (
    tenant_id   bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    hook        text NOT NULL,
    delivery    text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, hook, delivery)
);
CREATE INDEX hook_call_time ON hook_call (tenant_id, received_at);

CREATE TABLE short_link (
    code       text PRIMARY KEY,
    tenant_id  bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    target     text NOT NULL,
    is_once    boolean NOT NULL,
    opened     bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX short_link_tenant ON short_link (tenant_id, created_at);

-- A site with a row here is private. Whoever has the key of its link, or of a code that the owner was sent, comes in.
CREATE TABLE private_site (
    tenant_id    bigint PRIMARY KEY REFERENCES tenant ON DELETE CASCADE,
    link_hash    bytea,
    code_hash    bytea,
    code_sent_at timestamptz,
    code_tries   integer NOT NULL DEFAULT 0
);
CREATE TABLE site_key (
    token_hash bytea PRIMARY KEY,
    tenant_id  bigint NOT NULL REFERENCES private_site ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
CREATE INDEX site_key_tenant ON site_key (tenant_id, expires_at);

CREATE TABLE abuse_report (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    page       text NOT NULL,
    reason     text NOT NULL,
    contact    text NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at timestamptz
);
CREATE INDEX abuse_report_open ON abuse_report (id) WHERE settled_at IS NULL;
CREATE INDEX abuse_report_tenant ON abuse_report (tenant_id);

-- How often pages were looked at, by day and path.
CREATE TABLE page_view (
    tenant_id bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    day       date NOT NULL,
    path      text NOT NULL,
    views     bigint NOT NULL,
    PRIMARY KEY (tenant_id, day, path)
);

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'form_entry', 'hook', 'hook_call', 'short_link', 'private_site', 'site_key', 'abuse_report', 'page_view'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own ON %I TO subclaw_app USING (tenant_id = current_tenant())', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO subclaw_app', name);
    END LOOP;
END $$;
CREATE POLICY operator ON abuse_report TO subclaw_operator USING (true);
GRANT SELECT, UPDATE (settled_at) ON abuse_report TO subclaw_operator;
CREATE POLICY operator ON private_site FOR SELECT TO subclaw_operator USING (true);
GRANT SELECT (tenant_id) ON private_site TO subclaw_operator;

-- Puts what came by a tenant's site before its agent, where its person was last heard. False if there is nobody to tell.
CREATE FUNCTION tell_agent(p_tenant bigint, p_id text, p_speaker text, p_text text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_way record;
    v conversation;
BEGIN
    PERFORM be_tenant(p_tenant);
    SELECT * INTO v_way FROM ways_to_person(p_tenant, 0) LIMIT 1;
    SELECT * INTO v FROM conversation c WHERE c.channel = v_way.channel AND c.address = v_way.address FOR UPDATE;
    IF v.id IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO inbox (conversation_id, seq, tenant_id, provider_id, text, received_at, more)
        VALUES (v.id, v.inbox_seq + 1, p_tenant, 'site:' || p_id, p_text, clock_timestamp(),
                jsonb_build_object('speaker', p_speaker));
    UPDATE conversation c SET inbox_seq = c.inbox_seq + 1, wake_at = coalesce(c.wake_at, now()) WHERE c.id = v.id;
    IF v.owner IS NULL THEN
        NOTIFY subclaw_wake;
    ELSE
        PERFORM pg_notify('subclaw_inbox', v.id::text);
    END IF;
    PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address);
    RETURN true;
END $$;

-- Keeps what a form was sent, the newest p_keep of all, and puts it before the agent. 'full' if there were p_limit within
-- an hour: then nothing is kept. Of more than p_told within an hour the agent is not told, but finds them.
CREATE FUNCTION take_form(
    p_tenant bigint, p_form text, p_fields jsonb, p_text text, p_limit integer, p_told integer, p_keep integer
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_count bigint;
    v_id bigint;
BEGIN
    PERFORM be_tenant(p_tenant);
    PERFORM pg_advisory_xact_lock(hashtextextended('site visitors', p_tenant));
    SELECT count(*) INTO v_count FROM form_entry e
        WHERE e.tenant_id = p_tenant AND e.received_at > clock_timestamp() - interval '1 hour';
    IF v_count >= p_limit OR is_suspended(p_tenant) OR site_is_down(p_tenant) THEN
        RETURN 'full';
    END IF;
    INSERT INTO form_entry (tenant_id, form, fields) VALUES (p_tenant, p_form, p_fields) RETURNING id INTO v_id;
    DELETE FROM form_entry e WHERE e.tenant_id = p_tenant AND e.id <= (
        SELECT o.id FROM form_entry o WHERE o.tenant_id = p_tenant ORDER BY o.id DESC OFFSET p_keep LIMIT 1);
    IF v_count < p_told THEN
        PERFORM tell_agent(p_tenant, 'form:' || v_id, 'form ' || p_form, p_text);
    END IF;
    RETURN 'kept';
END $$;

CREATE FUNCTION form_entries(p_tenant bigint, p_form text, p_limit integer)
RETURNS TABLE (form text, fields jsonb, received_at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT e.form, e.fields, e.received_at FROM form_entry e
        WHERE e.tenant_id = p_tenant AND (p_form = '' OR e.form = p_form) ORDER BY e.id DESC LIMIT p_limit;
END $$;

-- Makes a webhook, or gives one of that name another address. False if there are p_limit already.
CREATE FUNCTION make_hook(p_tenant bigint, p_name text, p_hash bytea, p_limit integer) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    PERFORM pg_advisory_xact_lock(hashtextextended('site visitors', p_tenant));
    IF (SELECT count(*) FROM hook h WHERE h.tenant_id = p_tenant AND h.name <> p_name) >= p_limit THEN
        RETURN false;
    END IF;
    INSERT INTO hook (tenant_id, name, token_hash) VALUES (p_tenant, p_name, p_hash)
        ON CONFLICT (tenant_id, name) DO UPDATE SET token_hash = p_hash, created_at = now();
    RETURN true;
END $$;

CREATE FUNCTION remove_hook(p_tenant bigint, p_name text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    DELETE FROM hook h WHERE h.tenant_id = p_tenant AND h.name = p_name;
    RETURN FOUND;
END $$;

CREATE FUNCTION hooks(p_tenant bigint) RETURNS TABLE (name text, created_at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT h.name, h.created_at FROM hook h WHERE h.tenant_id = p_tenant ORDER BY h.name;
END $$;

-- The name of a tenant's webhook, by its token's hash.
CREATE FUNCTION find_hook(p_tenant bigint, p_hash bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN (SELECT h.name FROM hook h WHERE h.tenant_id = p_tenant AND h.token_hash = p_hash);
END $$;

-- Takes a call of a webhook: 'told', 'duplicate' (that delivery was taken before), or 'full' after p_limit in an hour.
CREATE FUNCTION take_hook(p_tenant bigint, p_hook text, p_delivery text, p_text text, p_limit integer) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    PERFORM pg_advisory_xact_lock(hashtextextended('site visitors', p_tenant));
    IF EXISTS (SELECT FROM hook_call k WHERE (k.tenant_id, k.hook, k.delivery) = (p_tenant, p_hook, p_delivery)) THEN
        RETURN 'duplicate';
    END IF;
    IF is_suspended(p_tenant) OR (SELECT count(*) FROM hook_call k
            WHERE k.tenant_id = p_tenant AND k.received_at > clock_timestamp() - interval '1 hour') >= p_limit THEN
        RETURN 'full';
    END IF;
    DELETE FROM hook_call k WHERE k.tenant_id = p_tenant AND k.received_at < clock_timestamp() - interval '2 days';
    INSERT INTO hook_call (tenant_id, hook, delivery) VALUES (p_tenant, p_hook, p_delivery);
    PERFORM tell_agent(p_tenant, 'hook:' || p_hook || ':' || p_delivery, 'webhook ' || p_hook, p_text);
    RETURN 'told';
END $$;

-- Makes a short link. False if there are p_limit of one day already.
CREATE FUNCTION make_short_link(p_tenant bigint, p_code text, p_target text, p_once boolean, p_limit integer)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    IF (SELECT count(*) FROM short_link l
            WHERE l.tenant_id = p_tenant AND l.created_at > clock_timestamp() - interval '1 day') >= p_limit THEN
        RETURN false;
    END IF;
    INSERT INTO short_link (code, tenant_id, target, is_once) VALUES (p_code, p_tenant, p_target, p_once);
    RETURN true;
END $$;

CREATE FUNCTION short_links(p_tenant bigint, p_limit integer)
RETURNS TABLE (code text, target text, is_once boolean, opened bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT l.code, l.target, l.is_once, l.opened FROM short_link l
        WHERE l.tenant_id = p_tenant ORDER BY l.created_at DESC LIMIT p_limit;
END $$;

-- Where a short link leads, whoever asks, and whose it is; with p_open it is opened, which one that is for once is only once.
CREATE FUNCTION follow_short_link(p_code text, p_open boolean)
RETURNS TABLE (target text, is_once boolean, is_over boolean, tenant_name text) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE v short_link;
BEGIN
    SELECT l.* INTO v FROM short_link l JOIN tenant t ON t.id = l.tenant_id
        WHERE l.code = p_code AND t.suspended_at IS NULL FOR UPDATE OF l;
    IF p_open AND NOT (v.is_once AND v.opened > 0) THEN
        UPDATE short_link l SET opened = l.opened + 1 WHERE l.code = p_code;
    END IF;
    RETURN QUERY SELECT v.target, v.is_once, v.is_once AND v.opened > 0, t.name FROM tenant t WHERE t.id = v.tenant_id;
END $$;

-- Makes a site private with this link, or with another one; with none, everybody sees it again.
CREATE FUNCTION set_private(p_tenant bigint, p_link_hash bytea) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    DELETE FROM private_site p WHERE p.tenant_id = p_tenant;
    IF p_link_hash IS NOT NULL THEN
        INSERT INTO private_site (tenant_id, link_hash) VALUES (p_tenant, p_link_hash);
    END IF;
END $$;

CREATE FUNCTION is_private(p_tenant bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN EXISTS (SELECT FROM private_site p WHERE p.tenant_id = p_tenant);
END $$;

-- Has a code sent to the owner, p_wait apart at least. False if it is too soon, or there is nobody to send it to.
CREATE FUNCTION send_site_code(p_tenant bigint, p_hash bytea, p_text text, p_wait interval, p_read_in_place text[])
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE v_way record;
BEGIN
    PERFORM be_tenant(p_tenant);
    SELECT c.id, w.channel INTO v_way FROM ways_to_person(p_tenant, 0) w
        JOIN conversation c ON c.channel = w.channel AND c.address = w.address WHERE NOT w.opted_out LIMIT 1;
    IF v_way.id IS NULL THEN
        RETURN false;
    END IF;
    UPDATE private_site p SET code_hash = p_hash, code_sent_at = clock_timestamp(), code_tries = 0
        WHERE p.tenant_id = p_tenant
            AND (p.code_sent_at IS NULL OR p.code_sent_at < clock_timestamp() - p_wait);
    IF FOUND THEN
        PERFORM say_notice(p_tenant, v_way.id, p_text, v_way.channel <> ALL (p_read_in_place), NULL);
    END IF;
    RETURN FOUND;
END $$;

-- Lets a visitor in who has the link's key, or the code (tried p_tries times at most, while it lives): from then on by a
-- key of their own.
CREATE FUNCTION enter_site(
    p_tenant bigint, p_link_hash bytea, p_code_hash bytea, p_life interval, p_tries integer, p_key_hash bytea,
    p_key_life interval
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE v private_site;
BEGIN
    PERFORM be_tenant(p_tenant);
    SELECT * INTO v FROM private_site p WHERE p.tenant_id = p_tenant FOR UPDATE;
    IF p_code_hash IS NOT NULL THEN
        UPDATE private_site p SET code_tries = p.code_tries + 1 WHERE p.tenant_id = p_tenant;
    END IF;
    IF NOT coalesce(v.link_hash = p_link_hash, false) AND NOT coalesce(v.code_hash = p_code_hash
            AND v.code_tries < p_tries AND v.code_sent_at > clock_timestamp() - p_life, false) THEN
        RETURN false;
    END IF;
    IF p_code_hash IS NOT NULL THEN
        UPDATE private_site p SET code_hash = NULL WHERE p.tenant_id = p_tenant;
    END IF;
    DELETE FROM site_key k WHERE k.tenant_id = p_tenant AND k.expires_at < clock_timestamp();
    INSERT INTO site_key (token_hash, tenant_id, expires_at) VALUES (p_key_hash, p_tenant, clock_timestamp() + p_key_life);
    RETURN true;
END $$;

-- Whether a key lets its bearer into a tenant's site; everything does, into one that is not private.
CREATE FUNCTION may_see_site(p_tenant bigint, p_key_hash bytea) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN NOT is_private(p_tenant) OR EXISTS (SELECT FROM site_key k
        WHERE k.token_hash = p_key_hash AND k.tenant_id = p_tenant AND k.expires_at > clock_timestamp());
END $$;

-- Keeps a report of abuse; false after p_limit of one site in a day.
CREATE FUNCTION report_abuse(p_tenant bigint, p_page text, p_reason text, p_contact text, p_limit integer)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    IF (SELECT count(*) FROM abuse_report r
            WHERE r.tenant_id = p_tenant AND r.at > clock_timestamp() - interval '1 day') >= p_limit THEN
        RETURN false;
    END IF;
    INSERT INTO abuse_report (tenant_id, page, reason, contact) VALUES (p_tenant, p_page, p_reason, p_contact);
    RETURN true;
END $$;

-- Counts that pages were looked at today. Of a day p_paths_limit paths are told apart; days older than p_keep are forgotten.
CREATE FUNCTION count_views(p_tenant bigint, p_paths text[], p_views bigint[], p_paths_limit integer, p_keep integer)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE v_day date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    PERFORM be_tenant(p_tenant);
    DELETE FROM page_view v WHERE v.tenant_id = p_tenant AND v.day < v_day - p_keep;
    INSERT INTO page_view (tenant_id, day, path, views)
        SELECT p_tenant, v_day, told.path, sum(told.views) FROM (
            SELECT CASE WHEN known.path IS NOT NULL OR seen.n + room.taken <= p_paths_limit THEN seen.path ELSE '' END,
                seen.views
            FROM unnest(p_paths, p_views) WITH ORDINALITY AS seen (path, views, n)
                LEFT JOIN page_view known ON (known.tenant_id, known.day, known.path) = (p_tenant, v_day, seen.path)
                CROSS JOIN (SELECT count(*) AS taken FROM page_view o WHERE (o.tenant_id, o.day) = (p_tenant, v_day)) room
        ) AS told (path, views) GROUP BY told.path
        ON CONFLICT (tenant_id, day, path) DO UPDATE SET views = page_view.views + excluded.views;
END $$;

CREATE FUNCTION views(p_tenant bigint, p_days integer) RETURNS TABLE (day date, path text, views bigint)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT v.day, v.path, v.views FROM page_view v
        WHERE v.tenant_id = p_tenant AND v.day > (now() AT TIME ZONE 'UTC')::date - p_days ORDER BY v.day DESC, v.views DESC;
END $$;

-- Whose site a name is now, whoever asks.
CREATE FUNCTION tenant_of_name(p_name text) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT t.id FROM tenant t WHERE t.name = p_name;
$$;

REVOKE ALL ON FUNCTION tell_agent, take_form, form_entries, make_hook, remove_hook, hooks, find_hook, take_hook,
    make_short_link, short_links, follow_short_link, set_private, is_private, send_site_code, enter_site, may_see_site,
    report_abuse, count_views, views, tenant_of_name FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tell_agent, take_form, form_entries, make_hook, remove_hook, hooks, find_hook, take_hook,
    make_short_link, short_links, follow_short_link, set_private, is_private, send_site_code, enter_site, may_see_site,
    report_abuse, count_views, views, tenant_of_name TO subclaw_app;

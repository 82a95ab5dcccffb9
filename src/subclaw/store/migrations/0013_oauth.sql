-- Accounts of persons at providers (OAuth, RFC 6749): the gateway gets their tokens, and renews them; and what it goes by.

-- A provider as `core.oauth.Provider` has it. sealed is our own key there, if it has given us one.
CREATE TABLE oauth_provider (
    name       text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9-]{0,31}$'),
    settings   jsonb NOT NULL CHECK (jsonb_typeof(settings) = 'object'),
    sealed     bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- A link by which a person connects an account, once. The token in it is kept as its SHA-256; verifier is sealed, and
-- challenge is what the provider is shown of it (RFC 7636). call_id is the tool call that asked.
CREATE TABLE oauth_flow (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    conversation_id bigint NOT NULL REFERENCES conversation ON DELETE CASCADE,
    call_id         text NOT NULL,
    provider        text NOT NULL REFERENCES oauth_provider ON DELETE CASCADE,
    state_hash      bytea NOT NULL UNIQUE CHECK (length(state_hash) = 32),
    challenge       text NOT NULL,
    verifier        bytea NOT NULL,
    redirect_uri    text NOT NULL CHECK (length(redirect_uri) <= 1000),
    expires_at      timestamptz NOT NULL,
    used_at         timestamptz,
    finished_at     timestamptz,
    UNIQUE (conversation_id, call_id)
);
CREATE INDEX oauth_flow_tenant ON oauth_flow (tenant_id, id);

-- An account that is connected. secret_id is the secret that machines may use; token is what it is renewed with, or, if
-- it is not renewable, the same. id is another whenever the account is connected anew, and generation grows with each
-- renewal, which one gateway at a time does: it holds the row until held_until.
CREATE TABLE oauth_grant (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    provider        text NOT NULL REFERENCES oauth_provider,
    secret_id       bigint NOT NULL UNIQUE REFERENCES bound_secret ON DELETE CASCADE,
    conversation_id bigint REFERENCES conversation ON DELETE SET NULL,
    token           bytea NOT NULL,
    renewable       boolean NOT NULL,
    generation      bigint NOT NULL DEFAULT 1,
    expires_at      timestamptz,
    held_until      timestamptz,
    over            boolean NOT NULL DEFAULT false,
    connected_at    timestamptz NOT NULL DEFAULT now(),
    renewed_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, provider)
);
CREATE INDEX oauth_grant_provider ON oauth_grant (provider);
CREATE INDEX oauth_grant_conversation ON oauth_grant (conversation_id);

-- A token that the provider is still to be told of that it is no more in use (RFC 7009). label is what its seal is for.
CREATE TABLE oauth_revocation (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider text NOT NULL,
    settings jsonb NOT NULL,
    client   bytea,
    token    bytea NOT NULL,
    label    text NOT NULL,
    tries    integer NOT NULL DEFAULT 0,
    due_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX oauth_revocation_due ON oauth_revocation (due_at);

ALTER TABLE oauth_flow ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_grant ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON oauth_flow TO subclaw_app USING (tenant_id = current_tenant());
-- Who presents a token may see what it is for.
CREATE POLICY presented ON oauth_flow FOR SELECT TO subclaw_app
    USING (state_hash = decode(nullif(current_setting('subclaw.token_hash', true), ''), 'hex'));
CREATE POLICY operator ON oauth_flow FOR SELECT TO subclaw_operator USING (true);
CREATE POLICY own ON oauth_grant FOR SELECT TO subclaw_app USING (tenant_id = current_tenant());
CREATE POLICY operator ON oauth_grant FOR SELECT TO subclaw_operator USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON oauth_flow TO subclaw_app;
GRANT SELECT (id, tenant_id, provider, expires_at, used_at, finished_at) ON oauth_flow TO subclaw_operator;
GRANT SELECT (name, settings) ON oauth_provider TO subclaw_app;
GRANT SELECT (name, settings, created_at, updated_at) ON oauth_provider TO subclaw_operator;
GRANT SELECT (id, tenant_id, provider, secret_id, expires_at, over, connected_at, renewed_at)
    ON oauth_grant TO subclaw_app, subclaw_operator;
CREATE POLICY egress ON oauth_flow FOR SELECT TO subclaw_egress USING (true);
CREATE POLICY egress ON oauth_grant TO subclaw_egress USING (true);
GRANT SELECT ON oauth_provider, oauth_flow TO subclaw_egress;
GRANT SELECT, UPDATE (token, generation, expires_at, held_until, renewed_at) ON oauth_grant TO subclaw_egress;
GRANT SELECT, UPDATE (tries, due_at), DELETE ON oauth_revocation TO subclaw_egress;

CREATE TRIGGER tell_egress AFTER UPDATE OF id, generation, over ON oauth_grant FOR EACH ROW
    EXECUTE FUNCTION tell_egress();

-- Whatever takes an account away, its provider is told.
CREATE FUNCTION revoke_grant() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO oauth_revocation (provider, settings, client, token, label)
        SELECT p.name, p.settings, p.sealed, OLD.token, grant_label(OLD.tenant_id, OLD.provider)
        FROM oauth_provider p WHERE p.name = OLD.provider AND p.settings ->> 'revoke_url' <> '' AND NOT OLD.over;
    RETURN NULL;
END $$;
CREATE TRIGGER revoke_grant AFTER DELETE ON oauth_grant FOR EACH ROW EXECUTE FUNCTION revoke_grant();

-- Who sets a secret by hand that stood for an account has no more need of that.
CREATE FUNCTION leave_account() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF coalesce(current_setting('subclaw.account', true), '') = '' THEN
        DELETE FROM oauth_grant g WHERE g.secret_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER leave_account AFTER UPDATE OF sealed ON bound_secret FOR EACH ROW EXECUTE FUNCTION leave_account();

-- As `core.oauth.grant_label` says it.
CREATE FUNCTION grant_label(p_tenant bigint, p_provider text) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT 'oauth grant of ' || p_provider || ' for tenant ' || p_tenant $$;

-- All that the gateway goes by for a tenant, without what has expired. Of secrets of one name the tenant's own hides the
-- agent's, and that the operator's.
CREATE FUNCTION tenant_egress(p_tenant bigint) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN jsonb_build_object(
        'starter', (SELECT starter FROM egress_setting),
        'rules', (
            SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.id), '[]')
            FROM egress_rule r WHERE r.tenant_id IS NULL OR r.tenant_id = p_tenant),
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

-- Decisions are kept for p_days, what was used for a year, what was minted until it expires, links for a day after.
CREATE FUNCTION prune_egress(p_days integer) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE v_count bigint;
BEGIN
    DELETE FROM egress_decision d WHERE d.hour < now() - make_interval(days => p_days);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    DELETE FROM egress_usage u WHERE u.day < (now() AT TIME ZONE 'UTC')::date - 366;
    DELETE FROM bound_secret s WHERE s.expires_at < now();
    DELETE FROM oauth_flow f WHERE f.expires_at < now() - interval '1 day';
    RETURN v_count;
END $$;

-- Have a conversation's agent hear of an account: p_kind is `secret` for one that is there, `account` for one that is lost.
CREATE FUNCTION tell_of_account(p_tenant bigint, p_conversation bigint, p_kind text, p_said jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE v conversation;
BEGIN
    SELECT * INTO v FROM conversation c WHERE c.id = p_conversation AND c.tenant_id = p_tenant FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO inbox (conversation_id, seq, tenant_id, provider_id, text, received_at)
        VALUES (v.id, v.inbox_seq + 1, v.tenant_id,
                p_kind || ':' || nextval(pg_get_serial_sequence('secret_request', 'id')), p_said::text, now());
    UPDATE conversation c SET inbox_seq = c.inbox_seq + 1, wake_at = coalesce(c.wake_at, now()) WHERE c.id = v.id;
    IF v.owner IS NULL THEN
        NOTIFY subclaw_wake;
    ELSE
        PERFORM pg_notify('subclaw_inbox', v.id::text);
    END IF;
END $$;

-- The operator sets a provider, or its settings anew; without p_sealed our key there stays as it is.
CREATE FUNCTION set_oauth_provider(p_name text, p_settings jsonb, p_sealed bytea) RETURNS void LANGUAGE sql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO oauth_provider AS p (name, settings, sealed) VALUES (p_name, p_settings, p_sealed)
        ON CONFLICT (name) DO UPDATE
            SET settings = p_settings, sealed = coalesce(p_sealed, p.sealed), updated_at = now()
$$;

-- Remove a provider with every account at it; returns how many there were, or NULL if there is no such provider.
CREATE FUNCTION remove_oauth_provider(p_name text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE v_count bigint;
BEGIN
    PERFORM FROM oauth_provider p WHERE p.name = p_name FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    DELETE FROM bound_secret s USING oauth_grant g WHERE g.provider = p_name AND s.id = g.secret_id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    DELETE FROM oauth_provider p WHERE p.name = p_name;
    RETURN v_count;
END $$;

-- What a tenant's agent may offer: its tenant's name, the provider's settings if there is one of that name, and all names.
CREATE FUNCTION oauth_offer(p_tenant bigint, p_provider text)
RETURNS TABLE (tenant_name text, settings jsonb, providers text[]) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT t.name, (SELECT p.settings FROM oauth_provider p WHERE p.name = p_provider),
        ARRAY(SELECT p.name FROM oauth_provider p ORDER BY p.name) FROM tenant t WHERE t.id = p_tenant;
END $$;

-- Make a link, in place of the one of the same call. Of a tenant's only the newest p_limit are kept.
CREATE FUNCTION begin_oauth(
    p_tenant bigint, p_conversation bigint, p_call_id text, p_provider text, p_state_hash bytea, p_challenge text,
    p_verifier bytea, p_redirect_uri text, p_life interval, p_limit integer
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    INSERT INTO oauth_flow AS f
        (tenant_id, conversation_id, call_id, provider, state_hash, challenge, verifier, redirect_uri, expires_at)
        VALUES (p_tenant, p_conversation, p_call_id, p_provider, p_state_hash, p_challenge, p_verifier, p_redirect_uri,
                now() + p_life)
        ON CONFLICT (conversation_id, call_id) DO UPDATE
            SET state_hash = p_state_hash, challenge = p_challenge, verifier = p_verifier, provider = p_provider,
                redirect_uri = p_redirect_uri, expires_at = now() + p_life WHERE f.used_at IS NULL;
    DELETE FROM oauth_flow f WHERE f.tenant_id = p_tenant AND f.id IN (
        SELECT n.id FROM oauth_flow n WHERE n.tenant_id = p_tenant ORDER BY n.id DESC OFFSET p_limit);
END $$;

-- What a link is for; nothing if there is none of that token. With p_take it is used up, if it is open.
CREATE FUNCTION present_flow(p_state_hash bytea, p_take boolean) RETURNS TABLE (
    id bigint, provider text, settings jsonb, challenge text, redirect_uri text, state text
) LANGUAGE plpgsql AS $$
DECLARE v oauth_flow;
BEGIN
    PERFORM set_config('subclaw.token_hash', encode(p_state_hash, 'hex'), true);
    SELECT * INTO v FROM oauth_flow f WHERE f.state_hash = p_state_hash;
    PERFORM be_tenant(v.tenant_id);
    IF p_take THEN
        SELECT * INTO v FROM oauth_flow f WHERE f.id = v.id FOR UPDATE;
        UPDATE oauth_flow f SET used_at = now() WHERE f.id = v.id AND f.used_at IS NULL AND f.expires_at > now();
    END IF;
    RETURN QUERY SELECT v.id, v.provider, p.settings, v.challenge, v.redirect_uri,
        CASE WHEN v.used_at IS NOT NULL THEN 'used' WHEN v.expires_at <= now() THEN 'expired' ELSE 'open' END
        FROM oauth_provider p WHERE p.name = v.provider;
END $$;

-- What the gateway needs to get tokens for a link that was used just now, and for which there are none yet.
CREATE FUNCTION flow_to_finish(p_flow bigint, p_within interval) RETURNS TABLE (
    tenant_id bigint, provider text, settings jsonb, client bytea, state_hash bytea, verifier bytea, redirect_uri text
) LANGUAGE sql AS $$
    SELECT f.tenant_id, f.provider, p.settings, p.sealed, f.state_hash, f.verifier, f.redirect_uri
    FROM oauth_flow f JOIN oauth_provider p ON p.name = f.provider
    WHERE f.id = p_flow AND f.used_at > now() - p_within AND f.finished_at IS NULL
$$;

-- Store an account with its tokens and wake the conversation, in place of the tenant's account there before: all of it or
-- nothing. Returns `connected`; `changed` if the secret has another placeholder meanwhile, `full` if there are p_limit
-- already, `gone` if the link or the provider is.
CREATE FUNCTION connect_account(
    p_flow bigint, p_name text, p_placeholder text, p_binding jsonb, p_sealed bytea, p_token bytea, p_renewable boolean,
    p_life interval, p_limit integer
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v oauth_flow;
    v_secret bigint;
BEGIN
    PERFORM FROM oauth_flow f JOIN oauth_provider p ON p.name = f.provider WHERE f.id = p_flow FOR KEY SHARE OF p;
    SELECT * INTO v FROM oauth_flow f WHERE f.id = p_flow AND f.used_at IS NOT NULL AND f.finished_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'gone';
    END IF;
    PERFORM set_config('subclaw.account', 'connected', true);
    v_secret := keep_bound_secret('tenant', v.tenant_id, p_name, p_placeholder, p_binding, p_sealed, p_limit);
    IF v_secret IS NULL OR v_secret = 0 THEN
        RETURN CASE WHEN v_secret = 0 THEN 'full' ELSE 'changed' END;
    END IF;
    INSERT INTO oauth_grant AS g (tenant_id, provider, secret_id, conversation_id, token, renewable, expires_at)
        VALUES (v.tenant_id, v.provider, v_secret, v.conversation_id, p_token, p_renewable, now() + p_life)
        ON CONFLICT (tenant_id, provider) DO UPDATE
            SET id = DEFAULT, secret_id = v_secret, conversation_id = v.conversation_id, token = p_token,
                renewable = p_renewable, generation = g.generation + 1, expires_at = now() + p_life, held_until = NULL,
                over = false, connected_at = now(), renewed_at = now();
    UPDATE oauth_flow f SET finished_at = now() WHERE f.id = v.id;
    PERFORM tell_of_account(
        v.tenant_id, v.conversation_id, 'secret', jsonb_build_object('name', p_name, 'binding', p_binding));
    RETURN 'connected';
END $$;

-- Take an account in hand to renew its secret, until p_hold is over; nothing if it is in other hands, has been renewed
-- since p_generation, or is over.
CREATE FUNCTION hold_grant(p_grant bigint, p_generation bigint, p_hold interval) RETURNS TABLE (
    tenant_id bigint, provider text, settings jsonb, client bytea, token bytea, name text, placeholder text,
    binding jsonb
) LANGUAGE sql AS $$
    UPDATE oauth_grant g SET held_until = now() + p_hold FROM oauth_provider p, bound_secret s
        WHERE g.id = p_grant AND g.generation = p_generation AND g.renewable AND NOT g.over
            AND (g.held_until IS NULL OR g.held_until <= now()) AND p.name = g.provider AND s.id = g.secret_id
        RETURNING g.tenant_id, g.provider, p.settings, p.sealed, g.token, s.name, s.placeholder, s.binding
$$;

-- Store what an account's secret was renewed to, unless somebody else was quicker. Without p_token the old one goes on.
CREATE FUNCTION renew_grant(
    p_grant bigint, p_generation bigint, p_sealed bytea, p_token bytea, p_life interval
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE v_secret bigint;
BEGIN
    UPDATE oauth_grant g SET generation = g.generation + 1, token = coalesce(p_token, g.token), held_until = NULL,
            expires_at = now() + p_life, renewed_at = now()
        WHERE g.id = p_grant AND g.generation = p_generation AND NOT g.over RETURNING g.secret_id INTO v_secret;
    IF v_secret IS NULL THEN
        RETURN false;
    END IF;
    PERFORM set_config('subclaw.account', 'renewed', true);
    UPDATE bound_secret s SET sealed = p_sealed, updated_at = now() WHERE s.id = v_secret;
    RETURN true;
END $$;

-- Let go of an account that could not be renewed; nobody tries before p_pause is over.
CREATE FUNCTION let_go_of_grant(p_grant bigint, p_generation bigint, p_pause interval) RETURNS void LANGUAGE sql AS $$
    UPDATE oauth_grant g SET held_until = now() + p_pause WHERE g.id = p_grant AND g.generation = p_generation
$$;

-- Note that an account has to be connected anew, and tell its conversation so, once.
CREATE FUNCTION end_grant(p_grant bigint, p_generation bigint) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE v oauth_grant;
BEGIN
    UPDATE oauth_grant g SET over = true, held_until = NULL
        WHERE g.id = p_grant AND g.generation = p_generation AND NOT g.over RETURNING * INTO v;
    IF FOUND THEN
        PERFORM tell_of_account(
            v.tenant_id, v.conversation_id, 'account', jsonb_build_object('provider', v.provider, 'name', (
                SELECT s.name FROM bound_secret s WHERE s.id = v.secret_id)));
    END IF;
END $$;

-- Take tokens that their providers are to be told of; each is due again after p_pause, and is given up after p_tries.
CREATE FUNCTION take_revocations(p_limit integer, p_pause interval, p_tries integer) RETURNS TABLE (
    id bigint, provider text, settings jsonb, client bytea, token bytea, label text
) LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM oauth_revocation r WHERE r.tries >= p_tries AND r.due_at <= now();
    RETURN QUERY UPDATE oauth_revocation r SET tries = r.tries + 1, due_at = now() + p_pause FROM (
            SELECT d.id FROM oauth_revocation d WHERE d.due_at <= now() ORDER BY d.due_at LIMIT p_limit
            FOR UPDATE SKIP LOCKED
        ) due WHERE r.id = due.id RETURNING r.id, r.provider, r.settings, r.client, r.token, r.label;
END $$;

CREATE FUNCTION forget_revocation(p_id bigint) RETURNS void LANGUAGE sql AS $$ DELETE FROM oauth_revocation r WHERE r.id = p_id $$;

REVOKE ALL ON FUNCTION tenant_egress, prune_egress, revoke_grant, leave_account, grant_label, tell_of_account,
    set_oauth_provider, remove_oauth_provider, oauth_offer, begin_oauth, present_flow, flow_to_finish, connect_account, hold_grant,
    renew_grant, let_go_of_grant, end_grant, take_revocations, forget_revocation FROM PUBLIC;
GRANT EXECUTE ON FUNCTION set_oauth_provider, remove_oauth_provider TO subclaw_operator;
GRANT EXECUTE ON FUNCTION oauth_offer, begin_oauth, present_flow TO subclaw_app;
GRANT EXECUTE ON FUNCTION tenant_egress, prune_egress, flow_to_finish, connect_account, hold_grant, renew_grant, let_go_of_grant, end_grant,
    take_revocations, forget_revocation TO subclaw_egress;

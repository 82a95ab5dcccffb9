-- How strangers come in: who may, how many an hour, what each is called and told first. One function a step, and each
-- step is once a message. Renaming keeps the old name for a while, so that links to it still lead somewhere.

-- How far a tenant's onboarding is: it is `new` until the first message that its agent is to act on, `asked` while the
-- platform's question stands, and `open` from then on. `greeting` is still to be said, before the agent's first words.
CREATE TABLE onboarding (
    tenant_id       bigint PRIMARY KEY REFERENCES tenant ON DELETE CASCADE,
    conversation_id bigint NOT NULL REFERENCES conversation ON DELETE CASCADE,
    stage           text NOT NULL CHECK (stage IN ('new', 'asked', 'open')),
    greeting        text,
    send            boolean NOT NULL,
    prepare_at      timestamptz
);
CREATE INDEX onboarding_conversation ON onboarding (conversation_id);
CREATE INDEX onboarding_prepare ON onboarding (prepare_at) WHERE prepare_at IS NOT NULL;

-- Messages that the platform answered itself: the agent's inbox never has them.
CREATE TABLE platform_answer (
    conversation_id bigint NOT NULL REFERENCES conversation ON DELETE CASCADE,
    provider_id     text NOT NULL,
    tenant_id       bigint NOT NULL,
    at              timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (conversation_id, provider_id)
);

-- Names that tenants had. Until kept_until nobody else may have them; moved_at says that the router knows.
CREATE TABLE former_name (
    name       text PRIMARY KEY,
    tenant_id  bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    renamed_at timestamptz NOT NULL DEFAULT now(),
    kept_until timestamptz NOT NULL,
    moved_at   timestamptz
);
CREATE INDEX former_name_tenant ON former_name (tenant_id, renamed_at);
CREATE INDEX former_name_unmoved ON former_name (renamed_at) WHERE moved_at IS NULL;

-- Codes by which strangers come in, as their SHA-256.
CREATE TABLE invite (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code_hash  bytea NOT NULL UNIQUE CHECK (length(code_hash) = 32),
    note       text NOT NULL CHECK (length(note) <= 200),
    uses       integer NOT NULL CHECK (uses BETWEEN 1 AND 100000),
    used       integer NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND uses),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);

-- People who were turned away, and how often they were told so since told_at; the address is kept as its SHA-256.
CREATE TABLE turned_away (
    channel      text NOT NULL,
    address_hash bytea NOT NULL,
    provider_id  text NOT NULL,
    told_at      timestamptz NOT NULL,
    told         integer NOT NULL,
    PRIMARY KEY (channel, address_hash)
);
CREATE INDEX turned_away_told ON turned_away (told_at);

-- How many messages a tenant's person has; without it, as many as the operator says for everybody. -1 is no limit.
ALTER TABLE tenant ADD COLUMN free_messages integer CHECK (free_messages >= -1);
CREATE INDEX tenant_created ON tenant (created_at);

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['onboarding', 'platform_answer', 'former_name'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own ON %I TO subclaw_app USING (tenant_id = current_tenant())', name);
    END LOOP;
END $$;
CREATE POLICY operator ON former_name FOR SELECT TO subclaw_operator USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON onboarding, platform_answer TO subclaw_app;
GRANT SELECT ON former_name TO subclaw_app, subclaw_operator;
GRANT SELECT, INSERT, UPDATE (revoked_at) ON invite TO subclaw_operator;
GRANT UPDATE (free_messages) ON tenant TO subclaw_operator;

-- As before; and a stranger for whom there are no names is not let in here (see `admit`).
CREATE OR REPLACE FUNCTION welcome(p_channel text, p_address text, p_names text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_tenant bigint;
    v_name text;
BEGIN
    IF cardinality(p_names) = 0 THEN
        RAISE EXCEPTION 'a stranger' USING ERRCODE = 'SC002';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(p_channel || ' ' || p_address, 0));
    v_tenant := present(p_channel, p_address);
    IF v_tenant IS NOT NULL THEN
        RETURN v_tenant;
    END IF;
    v_tenant := nextval(pg_get_serial_sequence('tenant', 'id'));
    PERFORM be_tenant(v_tenant);
    FOREACH v_name IN ARRAY p_names LOOP
        INSERT INTO tenant (id, name) VALUES (v_tenant, v_name) ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
    END LOOP;
    INSERT INTO identity (channel, address, tenant_id) VALUES (p_channel, p_address, v_tenant);
    INSERT INTO conversation (tenant_id, channel, address) VALUES (v_tenant, p_channel, p_address);
    RETURN v_tenant;
END $$;

-- Which of the names is the first that a tenant may have, or 0. Whoever gives names away holds the lock `site names`.
CREATE FUNCTION first_free(p_names text[], p_tenant bigint) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT coalesce(min(w.place), 0)::integer FROM unnest(p_names) WITH ORDINALITY AS w (name, place)
    WHERE NOT EXISTS (SELECT FROM tenant t WHERE t.name = w.name AND t.id <> p_tenant)
        AND NOT EXISTS (SELECT FROM former_name f
                        WHERE f.name = w.name AND f.tenant_id <> p_tenant AND f.kept_until > now())
$$;

-- Let a stranger in, with the first of p_names that is free and the greeting that goes with it; or say why not. With
-- p_text the greeting is said at once, as the answer to that; otherwise before whatever the agent says first. Admissions
-- are one after the other, so that p_hour_limit holds and no name is given twice.
CREATE FUNCTION admit(
    p_channel text, p_address text, p_need text, p_code_hashes bytea[], p_hour_limit integer,
    p_names text[], p_greetings text[], p_send boolean, p_provider_id text, p_text text, p_received_at timestamptz
) RETURNS TABLE (outcome text, tenant_id bigint, conversation_id bigint) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    v_invite bigint;
    v_tenant bigint;
    v_place integer;
    v conversation;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('site names', 0));
    SELECT i.tenant_id INTO v_tenant FROM identity i WHERE i.channel = p_channel AND i.address = p_address;
    IF FOUND THEN
        RETURN QUERY SELECT 'known', v_tenant, c.id FROM conversation c
            WHERE c.channel = p_channel AND c.address = p_address;
        RETURN;
    END IF;
    IF p_need = 'listing' THEN
        RETURN QUERY SELECT 'unlisted', 0::bigint, 0::bigint;
        RETURN;
    END IF;
    IF p_need = 'invite' THEN
        SELECT i.id INTO v_invite FROM invite i
            WHERE i.code_hash = ANY (p_code_hashes) AND i.used < i.uses AND i.revoked_at IS NULL AND i.expires_at > now()
            LIMIT 1 FOR UPDATE;
        IF NOT FOUND THEN
            RETURN QUERY SELECT CASE WHEN cardinality(p_code_hashes) > 0 THEN 'wrong_code' ELSE 'uninvited' END,
                0::bigint, 0::bigint;
            RETURN;
        END IF;
    END IF;
    v_place := first_free(p_names, 0);
    IF v_place = 0 OR p_hour_limit <= (SELECT count(*) FROM (
        SELECT FROM tenant t WHERE t.created_at > now() - interval '1 hour' LIMIT p_hour_limit) recent)
    THEN
        RETURN QUERY SELECT 'crowded', 0::bigint, 0::bigint;
        RETURN;
    END IF;
    UPDATE invite i SET used = i.used + 1 WHERE i.id = v_invite;
    v_tenant := welcome(p_channel, p_address, p_names[v_place:v_place]);
    SELECT * INTO STRICT v FROM conversation c WHERE c.channel = p_channel AND c.address = p_address;
    INSERT INTO onboarding (tenant_id, conversation_id, stage, greeting, send)
        VALUES (v_tenant, v.id, CASE WHEN p_text IS NULL THEN 'new' ELSE 'asked' END,
                CASE WHEN p_text IS NULL THEN p_greetings[v_place] END, p_send);
    IF p_text IS NOT NULL THEN
        PERFORM answer_beside(v, p_provider_id, p_text, p_received_at, p_greetings[v_place], p_send);
    END IF;
    RETURN QUERY SELECT 'admitted', v_tenant, v.id;
END $$;

-- Answer a message beside the agent: both are in the transcript, and no turn is about it. A turn that runs there goes on
-- after them.
CREATE FUNCTION answer_beside(
    v conversation, p_provider_id text, p_text text, p_received_at timestamptz, p_reply text, p_send boolean
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO platform_answer (conversation_id, provider_id, tenant_id) VALUES (v.id, p_provider_id, v.tenant_id);
    INSERT INTO event (conversation_id, seq, tenant_id, at, type, body) VALUES
        (v.id, v.next_seq, v.tenant_id, p_received_at, 'message.received',
         jsonb_build_object('text', p_text, 'provider_id', p_provider_id, 'turned_away', true)),
        (v.id, v.next_seq + 1, v.tenant_id, clock_timestamp(), 'reply.queued', jsonb_build_object('text', p_reply));
    UPDATE conversation c SET next_seq = v.next_seq + 2 WHERE c.id = v.id;
    IF p_send THEN
        INSERT INTO outbox (tenant_id, conversation_id, channel, address, text)
            VALUES (v.tenant_id, v.id, v.channel, v.address, p_reply);
        NOTIFY subclaw_outbox;
    END IF;
    PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address);
END $$;

-- The first message that an agent is to act on: what was to be said first is said, and the machine is wanted.
CREATE FUNCTION begin_work() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE v onboarding;
BEGIN
    SELECT * INTO v FROM onboarding o WHERE o.conversation_id = NEW.conversation_id FOR UPDATE;
    IF FOUND THEN
        UPDATE onboarding o SET stage = 'open', greeting = NULL, prepare_at = now() WHERE o.tenant_id = v.tenant_id;
        NOTIFY subclaw_onboarding;
    END IF;
    IF v.greeting IS NOT NULL THEN
        NEW.notice := concat_ws(E'\n\n', v.greeting, NEW.notice);
        NEW.send_notice := v.send;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER begin_work BEFORE INSERT ON inbox FOR EACH ROW WHEN (NEW.seq = 1) EXECUTE FUNCTION begin_work();

-- What the platform knows of whoever writes, before a message that may be for it; no row for a stranger.
CREATE FUNCTION onboarding_of(p_channel text, p_address text, p_provider_id text)
RETURNS TABLE (tenant_id bigint, conversation_id bigint, name text, stage text, is_answered boolean)
LANGUAGE plpgsql AS $$
DECLARE v_tenant bigint := present(p_channel, p_address);
BEGIN
    RETURN QUERY SELECT v_tenant, c.id, t.name, coalesce(o.stage, 'open'), EXISTS (
            SELECT FROM platform_answer a WHERE a.conversation_id = c.id AND a.provider_id = p_provider_id)
        FROM conversation c JOIN tenant t ON t.id = c.tenant_id LEFT JOIN onboarding o ON o.conversation_id = c.id
        WHERE c.channel = p_channel AND c.address = p_address;
END $$;

-- Answer a message that was for the platform, once; it changes nothing but the stage.
CREATE FUNCTION answer_onboarding(
    p_channel text, p_address text, p_provider_id text, p_text text, p_received_at timestamptz, p_stage text,
    p_reply text, p_send boolean
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_tenant bigint := present(p_channel, p_address);
    v conversation;
BEGIN
    SELECT * INTO STRICT v FROM conversation c WHERE c.channel = p_channel AND c.address = p_address FOR UPDATE;
    IF EXISTS (SELECT FROM platform_answer a WHERE a.conversation_id = v.id AND a.provider_id = p_provider_id) THEN
        RETURN;
    END IF;
    UPDATE onboarding o SET stage = p_stage WHERE o.tenant_id = v_tenant;
    PERFORM answer_beside(v, p_provider_id, p_text, p_received_at, p_reply, p_send);
END $$;

-- Give a tenant the first of p_names that is free, and answer with the reply that goes with it, once a message. With
-- p_exact only the first will do: of another, the reply tells. Not more than p_day_limit names a day.
CREATE FUNCTION choose_name(
    p_channel text, p_address text, p_provider_id text, p_text text, p_received_at timestamptz, p_names text[],
    p_replies text[], p_exact boolean, p_send boolean, p_day_limit integer, p_too_often text, p_kept interval
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_tenant bigint := present(p_channel, p_address);
    v_place integer;
    v_old text;
    v_reply text;
    v conversation;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('site names', 0));
    SELECT * INTO STRICT v FROM conversation c WHERE c.channel = p_channel AND c.address = p_address FOR UPDATE;
    IF EXISTS (SELECT FROM platform_answer a WHERE a.conversation_id = v.id AND a.provider_id = p_provider_id) THEN
        RETURN;
    END IF;
    SELECT t.name INTO STRICT v_old FROM tenant t WHERE t.id = v_tenant FOR UPDATE;
    v_place := first_free(p_names, v_tenant);
    v_reply := p_replies[v_place];
    IF v_place > 0 AND p_names[v_place] <> v_old AND (v_place = 1 OR NOT p_exact) THEN
        IF (SELECT count(*) FROM former_name f WHERE f.tenant_id = v_tenant
            AND f.renamed_at > now() - interval '1 day') >= p_day_limit
        THEN
            v_reply := p_too_often;
        ELSE
            DELETE FROM former_name f WHERE f.name = p_names[v_place] OR f.kept_until < now();
            UPDATE tenant t SET name = p_names[v_place] WHERE t.id = v_tenant;
            INSERT INTO former_name (name, tenant_id, kept_until) VALUES (v_old, v_tenant, now() + p_kept)
                ON CONFLICT (name) DO UPDATE SET tenant_id = v_tenant, renamed_at = now(), kept_until = now() + p_kept,
                    moved_at = NULL;
            NOTIFY subclaw_onboarding;
        END IF;
    END IF;
    UPDATE onboarding o SET stage = 'open' WHERE o.tenant_id = v_tenant;
    PERFORM answer_beside(v, p_provider_id, p_text, p_received_at, coalesce(v_reply, p_too_often), p_send);
END $$;

-- Note that somebody is turned away; false if they are not to be told: they were, p_limit times since yesterday, or
-- p_hour_limit others were within the hour. The same message is told of again: its answer may have been lost.
CREATE FUNCTION turn_away_person(
    p_channel text, p_address text, p_provider_id text, p_limit integer, p_hour_limit integer
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_hash bytea := sha256(convert_to(p_address, 'UTF8'));
    v turned_away;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('turned away', 0));
    DELETE FROM turned_away w WHERE w.told_at < now() - interval '1 day';
    SELECT * INTO v FROM turned_away w WHERE w.channel = p_channel AND w.address_hash = v_hash;
    IF v.provider_id = p_provider_id THEN
        RETURN true;
    END IF;
    IF v.told >= p_limit OR p_hour_limit <= (SELECT count(*) FROM (
        SELECT FROM turned_away w WHERE w.told_at > now() - interval '1 hour' LIMIT p_hour_limit) recent)
    THEN
        RETURN false;
    END IF;
    INSERT INTO turned_away AS w (channel, address_hash, provider_id, told_at, told)
        VALUES (p_channel, v_hash, p_provider_id, now(), 1)
        ON CONFLICT (channel, address_hash) DO UPDATE SET provider_id = p_provider_id, told_at = now(), told = w.told + 1;
    RETURN true;
END $$;

-- Whether a person may say more; how many messages they have, if not. Strangers may, and so does a message that was
-- taken before.
CREATE FUNCTION may_say(p_channel text, p_address text, p_provider_id text, p_free integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_tenant bigint := present(p_channel, p_address);
    v_free integer := coalesce((SELECT t.free_messages FROM tenant t WHERE t.id = v_tenant), p_free, -1);
BEGIN
    IF v_tenant IS NULL OR v_free < 0 OR v_free > (
        SELECT count(*) FROM (
            SELECT FROM conversation c JOIN inbox i ON i.conversation_id = c.id
            WHERE c.tenant_id = v_tenant AND i.provider_id !~ '^(schedule|secret|account|access|site):'
            LIMIT v_free) said)
        OR EXISTS (SELECT FROM conversation c JOIN inbox i ON i.conversation_id = c.id
                   WHERE c.channel = p_channel AND c.address = p_address AND i.provider_id = p_provider_id)
    THEN
        RETURN NULL;
    END IF;
    RETURN v_free;
END $$;

-- Take up to p_limit machines that are wanted ahead; what waited for longer than p_within is not wanted any more.
CREATE FUNCTION claim_preparations(p_limit integer, p_within interval) RETURNS TABLE (tenant_id bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH due AS (
        SELECT o.tenant_id, o.prepare_at FROM onboarding o WHERE o.prepare_at IS NOT NULL
        ORDER BY o.prepare_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE onboarding o SET prepare_at = NULL FROM due WHERE o.tenant_id = due.tenant_id
    )
    SELECT due.tenant_id FROM due WHERE due.prepare_at > now() - p_within
$$;

-- Former names that the router still serves.
CREATE FUNCTION unmoved_names(p_limit integer) RETURNS TABLE (name text, tenant_id bigint) LANGUAGE sql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT f.name, f.tenant_id FROM former_name f WHERE f.moved_at IS NULL ORDER BY f.renamed_at LIMIT p_limit
$$;

CREATE FUNCTION note_moved(p_name text, p_tenant bigint) RETURNS void LANGUAGE sql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE former_name f SET moved_at = now() WHERE f.name = p_name AND f.tenant_id = p_tenant AND f.moved_at IS NULL
$$;

-- Whose hostname begins with a name: what that tenant is called now; nothing for a name that nobody has.
CREATE FUNCTION named_tenant(p_name text) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT t.name FROM tenant t WHERE t.name = p_name
    UNION ALL
    SELECT t.name FROM former_name f JOIN tenant t ON t.id = f.tenant_id
        WHERE f.name = p_name AND f.kept_until > now()
    LIMIT 1
$$;

CREATE FUNCTION revoke_invite(p_id bigint) RETURNS boolean LANGUAGE sql AS $$
    WITH revoked AS (
        UPDATE invite i SET revoked_at = now() WHERE i.id = p_id AND i.revoked_at IS NULL RETURNING 1
    )
    SELECT EXISTS (SELECT FROM revoked)
$$;

REVOKE ALL ON FUNCTION first_free, admit, answer_beside, begin_work, onboarding_of, answer_onboarding, choose_name,
    turn_away_person, may_say, claim_preparations, unmoved_names, note_moved, named_tenant, revoke_invite FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admit, answer_beside, onboarding_of, answer_onboarding, choose_name, turn_away_person, may_say,
    claim_preparations, unmoved_names, note_moved, named_tenant TO subclaw_app;
GRANT EXECUTE ON FUNCTION revoke_invite TO subclaw_operator;

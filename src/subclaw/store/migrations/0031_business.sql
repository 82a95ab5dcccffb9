-- Agents of businesses: versions of their folders, the customers who talk to them, and the sessions in which they do.

-- Which version customers get: the `live` one, or for canary_share hundredths of them `canary`. `before` is what was live
-- until the last change: what a rollback goes back to.
CREATE TABLE agent (
    id           text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9-]{0,38}[a-z0-9]$' AND id <> 'default'),
    live         integer,
    before       integer,
    canary       integer,
    canary_share integer NOT NULL DEFAULT 0 CHECK (canary_share BETWEEN 0 AND 99),
    changed_at   timestamptz NOT NULL DEFAULT now()
);

-- A folder as it was applied: never changed, and never removed. Paths and contents are in the same order.
CREATE TABLE agent_version (
    agent      text NOT NULL REFERENCES agent,
    number     integer NOT NULL CHECK (number > 0),
    digest     text NOT NULL,
    paths      text[] NOT NULL,
    contents   bytea[] NOT NULL,
    channels   text[] NOT NULL DEFAULT '{api}',
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (agent, number),
    UNIQUE (agent, digest),
    CHECK (cardinality(paths) = cardinality(contents))
);
ALTER TABLE agent
    ADD FOREIGN KEY (id, live) REFERENCES agent_version (agent, number),
    ADD FOREIGN KEY (id, before) REFERENCES agent_version (agent, number),
    ADD FOREIGN KEY (id, canary) REFERENCES agent_version (agent, number);

CREATE FUNCTION keep_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'versions of agents are never changed';
END $$;
CREATE TRIGGER keep_version BEFORE UPDATE OR DELETE ON agent_version FOR EACH ROW EXECUTE FUNCTION keep_version();
CREATE TRIGGER keep_versions BEFORE TRUNCATE ON agent_version FOR EACH STATEMENT EXECUTE FUNCTION keep_version();

-- A customer is a tenant of an agent's; `customer` is what its owner calls them.
ALTER TABLE tenant
    ADD COLUMN agent text REFERENCES agent,
    ADD COLUMN customer text CHECK (length(customer) BETWEEN 1 AND 200),
    ADD CHECK (num_nonnulls(agent, customer) IN (0, 2)),
    ADD UNIQUE (agent, customer);

-- A conversation of a customer's with one version. The binding is for tools on the host: no prompt and no event has it.
CREATE TABLE session (
    id              text PRIMARY KEY,
    tenant_id       bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    conversation_id bigint NOT NULL UNIQUE REFERENCES conversation ON DELETE CASCADE,
    agent           text NOT NULL,
    version         integer NOT NULL,
    channel         text NOT NULL,
    binding         jsonb NOT NULL,
    opened_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (agent, version) REFERENCES agent_version (agent, number)
);
CREATE INDEX session_tenant ON session (tenant_id, opened_at);
CREATE INDEX session_version ON session (agent, version);

ALTER TABLE session ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON session TO subclaw_app USING (tenant_id = current_tenant());
CREATE POLICY operator ON session FOR SELECT TO subclaw_operator USING (true);
GRANT SELECT, INSERT, DELETE ON session TO subclaw_app;
GRANT INSERT (agent, customer) ON tenant TO subclaw_app;
GRANT SELECT (tenant_id, conversation_id, agent, version, channel, opened_at) ON session TO subclaw_operator;
GRANT SELECT ON agent, agent_version TO subclaw_app;
GRANT SELECT, INSERT, UPDATE ON agent TO subclaw_operator;
GRANT SELECT, INSERT ON agent_version TO subclaw_operator;

-- Sessions are of customers, and customers have nothing else: neither becomes a person with an agent of their own.
CREATE FUNCTION keep_customers_apart() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.channel = 'api') IS DISTINCT FROM
            EXISTS (SELECT FROM tenant t WHERE t.id = NEW.tenant_id AND t.agent IS NOT NULL) THEN
        RAISE EXCEPTION 'a customer is reached in sessions, and nobody else is' USING ERRCODE = 'SC002';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_customers_apart BEFORE INSERT OR UPDATE ON identity
    FOR EACH ROW EXECUTE FUNCTION keep_customers_apart();

-- The machine of a tenant that is for one turn alone. Before it is fresh, what was there is erased; so it is when the
-- turn is over. turn_id is empty while that is done.
CREATE TABLE turn_machine (
    tenant_id       bigint PRIMARY KEY REFERENCES tenant ON DELETE CASCADE,
    conversation_id bigint NOT NULL REFERENCES conversation ON DELETE CASCADE,
    turn_id         text NOT NULL,
    is_fresh        boolean NOT NULL DEFAULT false,
    at              timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE turn_machine ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON turn_machine TO subclaw_app USING (tenant_id = current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON turn_machine TO subclaw_app;

-- Take the machine for a turn: `fresh` if it is the turn's already, `erase` if what is there is to be erased first, `busy`
-- while another turn has it, `wait` while one that had it is cleared up after, which takes p_within at most.
CREATE FUNCTION take_turn_machine(p_tenant bigint, p_conversation bigint, p_turn text, p_within interval)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE v turn_machine;
BEGIN
    PERFORM be_tenant(p_tenant);
    INSERT INTO turn_machine (tenant_id, conversation_id, turn_id) VALUES (p_tenant, p_conversation, p_turn)
        ON CONFLICT DO NOTHING;
    SELECT * INTO STRICT v FROM turn_machine m WHERE m.tenant_id = p_tenant FOR UPDATE;
    IF v.conversation_id = p_conversation AND v.turn_id = p_turn THEN
        RETURN CASE WHEN v.is_fresh THEN 'fresh' ELSE 'erase' END;
    ELSIF v.turn_id = '' AND v.at > clock_timestamp() - p_within THEN
        RETURN 'wait';
    ELSIF v.turn_id <> '' AND v.conversation_id <> p_conversation
            AND EXISTS (SELECT FROM conversation c WHERE c.id = v.conversation_id AND c.turn_open) THEN
        RETURN 'busy';
    END IF;
    UPDATE turn_machine m SET conversation_id = p_conversation, turn_id = p_turn, is_fresh = false,
        at = clock_timestamp() WHERE m.tenant_id = p_tenant;
    RETURN 'erase';
END $$;

CREATE FUNCTION have_turn_machine(p_tenant bigint, p_conversation bigint, p_turn text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    UPDATE turn_machine m SET is_fresh = true
        WHERE m.tenant_id = p_tenant AND m.conversation_id = p_conversation AND m.turn_id = p_turn;
END $$;

-- Take up to p_limit machines whose turn is over, to erase them; also those that somebody took longer than p_within ago.
CREATE FUNCTION claim_turn_machines(p_limit integer, p_within interval) RETURNS TABLE (tenant_id bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE turn_machine m SET turn_id = '', is_fresh = false, at = clock_timestamp()
    FROM (
        SELECT o.tenant_id FROM turn_machine o JOIN conversation c ON c.id = o.conversation_id
        WHERE CASE WHEN o.turn_id = '' THEN o.at < clock_timestamp() - p_within ELSE NOT c.turn_open END
        LIMIT p_limit FOR UPDATE OF o SKIP LOCKED
    ) over
    WHERE m.tenant_id = over.tenant_id RETURNING m.tenant_id
$$;

CREATE FUNCTION forget_turn_machine(p_tenant bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    DELETE FROM turn_machine m WHERE m.tenant_id = p_tenant AND m.turn_id = '';
END $$;

-- As before; and customers are counted in the budget of their agent, persons in that of `default`.
CREATE OR REPLACE FUNCTION budgets_of(p_tenant bigint, p_conversation bigint, p_kinds budget_kind[])
RETURNS TABLE (
    level budget_level, subject text, kind budget_kind, period budget_period, shard smallint, soft bigint, hard bigint
) LANGUAGE sql STABLE AS $$
    SELECT DISTINCT ON (b.level, b.kind, b.period) b.level, s.subject, b.kind, b.period,
        CASE WHEN b.level < 'agent' THEN 0 ELSE 1 + coalesce(p_conversation, p_tenant) % 16 END::smallint,
        b.soft, b.hard
    FROM (VALUES ('conversation'::budget_level, p_conversation::text), ('tenant', p_tenant::text),
                 ('agent', coalesce((SELECT t.agent FROM tenant t WHERE t.id = p_tenant), 'default')),
                 ('operator', '*')) AS s (level, subject)
        JOIN budget b ON b.level = s.level AND b.subject IN ('*', s.subject)
    WHERE b.kind = ANY (p_kinds) AND s.subject IS NOT NULL
    ORDER BY b.level, b.kind, b.period, b.subject = '*'
$$;

-- Which tenant a customer is, whoever asks.
CREATE FUNCTION tenant_of_customer(p_agent text, p_customer text) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT t.id FROM tenant t WHERE t.agent = p_agent AND t.customer = p_customer
$$;

-- Which version a customer gets now: the same as before, as long as nobody changes what is live or the canary's share.
CREATE FUNCTION version_for(p_agent text, p_customer text) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN ('x' || substr(md5(a.id || ' ' || a.canary || ' ' || p_customer), 1, 7))::bit(28)::integer % 100
        < a.canary_share THEN a.canary ELSE a.live END
    FROM agent a WHERE a.id = p_agent
$$;

-- Opens a session, and makes the customer's tenant with the first. No row if nothing of the agent is live; no tenant if the
-- version is not reached by the channel.
CREATE FUNCTION open_session(
    p_agent text, p_customer text, p_session text, p_binding jsonb, p_name text, p_channel text
)
RETURNS TABLE (tenant_id bigint, version integer) LANGUAGE plpgsql AS $$
DECLARE
    v_version integer := version_for(p_agent, p_customer);
    v_tenant bigint;
    v_conversation bigint;
BEGIN
    IF v_version IS NULL THEN
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM agent_version v
            WHERE v.agent = p_agent AND v.number = v_version AND p_channel = ANY (v.channels)) THEN
        RETURN QUERY SELECT NULL::bigint, v_version;
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('customer ' || p_agent || ' ' || p_customer, 0));
    v_tenant := tenant_of_customer(p_agent, p_customer);
    IF v_tenant IS NULL THEN
        v_tenant := nextval(pg_get_serial_sequence('tenant', 'id'));
        PERFORM be_tenant(v_tenant);
        INSERT INTO tenant (id, name, agent, customer) VALUES (v_tenant, p_name, p_agent, p_customer);
    END IF;
    PERFORM be_tenant(v_tenant);
    INSERT INTO identity (channel, address, tenant_id) VALUES ('api', p_session, v_tenant);
    INSERT INTO conversation (tenant_id, channel, address) VALUES (v_tenant, 'api', p_session)
        RETURNING id INTO v_conversation;
    INSERT INTO session (id, tenant_id, conversation_id, agent, version, channel, binding)
        VALUES (p_session, v_tenant, v_conversation, p_agent, v_version, p_channel, p_binding);
    RETURN QUERY SELECT v_tenant, v_version;
END $$;

-- The session of an id, which nobody guesses.
CREATE FUNCTION find_session(p_session text)
RETURNS TABLE (tenant_id bigint, agent text, version integer, customer text, id text, channel text, binding jsonb)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM present('api', p_session);
    RETURN QUERY SELECT s.tenant_id, s.agent, s.version, t.customer, s.id, s.channel, s.binding
        FROM session s JOIN tenant t ON t.id = s.tenant_id WHERE s.id = p_session;
END $$;

CREATE FUNCTION session_of_conversation(p_tenant bigint, p_conversation bigint)
RETURNS TABLE (tenant_id bigint, agent text, version integer, customer text, id text, channel text, binding jsonb)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT s.tenant_id, s.agent, s.version, t.customer, s.id, s.channel, s.binding
        FROM session s JOIN tenant t ON t.id = s.tenant_id WHERE s.conversation_id = p_conversation;
END $$;

REVOKE ALL ON FUNCTION tenant_of_customer, version_for, open_session, find_session, session_of_conversation, keep_version,
    keep_customers_apart, take_turn_machine, have_turn_machine, claim_turn_machines, forget_turn_machine FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tenant_of_customer, version_for, open_session, find_session, session_of_conversation,
    take_turn_machine, have_turn_machine, claim_turn_machines, forget_turn_machine TO subclaw_app;

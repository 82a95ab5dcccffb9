-- Budgets: what may be used of a kind in a period, at each level. Before a model is asked, what that may use is
-- reserved at all levels that apply; the model's reply charges what it did use, in the transaction that writes it.
-- Whoever sends a reply charges its segments, and the ledger of machines their seconds.

-- Counters are locked in the order of the levels: what many share comes last, and is held for the shortest time.
CREATE TYPE budget_level AS ENUM ('conversation', 'tenant', 'agent', 'operator');
CREATE TYPE budget_kind AS ENUM ('microusd', 'tokens', 'segments', 'machine_s');
CREATE TYPE budget_period AS ENUM ('day', 'month', 'total');

-- subject is whose budget it is; '*' is for each of a level that has none of its own. The operator is one.
CREATE TABLE budget (
    level     budget_level NOT NULL,
    subject   text NOT NULL,
    kind      budget_kind NOT NULL,
    period    budget_period NOT NULL,
    tenant_id bigint REFERENCES tenant ON DELETE CASCADE,
    soft      bigint CHECK (soft >= 0),
    hard      bigint CHECK (hard >= 0),
    PRIMARY KEY (level, subject, kind, period),
    CHECK (num_nonnulls(soft, hard) > 0),
    CHECK (soft <= hard),
    CHECK (level <> 'operator' OR subject = '*'),
    CHECK (level <> 'conversation' OR kind <> 'machine_s'),
    CHECK (soft IS NULL OR kind IN ('microusd', 'tokens'))
);
CREATE INDEX budget_tenant ON budget (tenant_id) WHERE tenant_id IS NOT NULL;

-- What one subject has used since the period began, and what is reserved, which is carried over when a period ends.
-- What all conversations share is spread over shards 1 to 16, so that none waits while another's transaction is written
-- to the disk; whoever reserves holds shard 0 and reads them all.
CREATE TABLE budget_counter (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    level     budget_level NOT NULL,
    subject   text NOT NULL,
    kind      budget_kind NOT NULL,
    period    budget_period NOT NULL,
    shard     smallint NOT NULL,
    tenant_id bigint REFERENCES tenant ON DELETE CASCADE,
    since     timestamptz NOT NULL,
    used      bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    reserved  bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    UNIQUE (level, subject, kind, period, shard)
) WITH (fillfactor = 50);
CREATE INDEX budget_counter_tenant ON budget_counter (tenant_id) WHERE tenant_id IS NOT NULL;

-- Counts the changes of budgets.
CREATE TABLE budget_change (version bigint NOT NULL);
INSERT INTO budget_change VALUES (1);

-- What a conversation has reserved: nothing while no model is asked. own are the counters that it is counted in, heads
-- those that it holds while it reserves, with their limits, as the budgets were at version. Until warned_until the
-- person needs no word of a soft limit again.
CREATE TABLE reservation (
    conversation_id bigint PRIMARY KEY REFERENCES conversation ON DELETE CASCADE,
    tenant_id       bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    version         bigint NOT NULL DEFAULT 0,
    own             bigint[] NOT NULL DEFAULT '{}',
    heads           bigint[],
    softs           bigint[],
    hards           bigint[],
    tokens          bigint NOT NULL DEFAULT 0,
    microusd        bigint NOT NULL DEFAULT 0,
    warned_until    timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);
CREATE INDEX reservation_tenant ON reservation (tenant_id);

ALTER TABLE usage ADD COLUMN cost_microusd bigint NOT NULL DEFAULT 0 CHECK (cost_microusd >= 0);
ALTER TABLE outbox ADD COLUMN segments integer CHECK (segments >= 0);

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['budget', 'budget_counter', 'reservation'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own ON %I FOR SELECT TO subclaw_app USING (tenant_id = current_tenant())', name);
        EXECUTE format('CREATE POLICY operator ON %I TO subclaw_operator USING (true)', name);
    END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON budget TO subclaw_operator;
GRANT SELECT ON budget_counter, reservation TO subclaw_operator;

CREATE FUNCTION period_start(p_period budget_period, p_at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE p_period WHEN 'total' THEN '-infinity' ELSE date_trunc(p_period::text, p_at, 'UTC') END
$$;

CREATE FUNCTION period_end(p_period budget_period, p_at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE p_period
        WHEN 'day' THEN (date_trunc('day', p_at AT TIME ZONE 'UTC') + interval '1 day') AT TIME ZONE 'UTC'
        WHEN 'month' THEN (date_trunc('month', p_at AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'
        ELSE 'infinity'
    END
$$;

-- The budgets that apply, in the order of locking; shard is where this conversation, or this tenant, is counted.
CREATE FUNCTION budgets_of(p_tenant bigint, p_conversation bigint, p_kinds budget_kind[])
RETURNS TABLE (
    level budget_level, subject text, kind budget_kind, period budget_period, shard smallint, soft bigint, hard bigint
) LANGUAGE sql STABLE AS $$
    SELECT DISTINCT ON (b.level, b.kind, b.period) b.level, s.subject, b.kind, b.period,
        CASE WHEN b.level < 'agent' THEN 0 ELSE 1 + coalesce(p_conversation, p_tenant) % 16 END::smallint,
        b.soft, b.hard
    FROM (VALUES ('conversation'::budget_level, p_conversation::text), ('tenant', p_tenant::text),
                 ('agent', 'default'), ('operator', '*')) AS s (level, subject)
        JOIN budget b ON b.level = s.level AND b.subject IN ('*', s.subject)
    WHERE b.kind = ANY (p_kinds)
    ORDER BY b.level, b.kind, b.period, b.subject = '*'
$$;

-- Lock the counters that this conversation, or this tenant, is counted in (own), and for p_reserving those that are
-- held by whoever reserves (heads), with their limits. What is not there is made first: who makes one holds no lock yet.
CREATE FUNCTION lock_counters(
    p_tenant bigint, p_conversation bigint, p_kinds budget_kind[], p_now timestamptz, p_reserving boolean,
    OUT own bigint[], OUT heads bigint[], OUT softs bigint[], OUT hards bigint[]
) LANGUAGE plpgsql AS $$
BEGIN
    -- Else these statements are planned at each call, which takes longer than they do.
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
    IF EXISTS (
        SELECT FROM budgets_of(p_tenant, p_conversation, p_kinds) b WHERE NOT EXISTS (
            SELECT FROM budget_counter c WHERE (c.level, c.subject, c.kind, c.period, c.shard)
                = (b.level, b.subject, b.kind, b.period, b.shard))
    ) THEN
        INSERT INTO budget_counter (level, subject, kind, period, shard, tenant_id, since)
            SELECT DISTINCT b.level, b.subject, b.kind, b.period, n.shard,
                CASE WHEN b.level < 'agent' THEN p_tenant END, period_start(b.period, p_now)
            FROM budgets_of(p_tenant, p_conversation, p_kinds) b, unnest(ARRAY[0::smallint, b.shard]) AS n (shard)
            ORDER BY 1, 2, 3, 4, 5
            ON CONFLICT DO NOTHING;
    END IF;
    SELECT coalesce(array_agg(k.id) FILTER (WHERE k.shard = k.own_shard), '{}'),
        array_agg(k.id) FILTER (WHERE k.shard = 0), array_agg(k.soft) FILTER (WHERE k.shard = 0),
        array_agg(k.hard) FILTER (WHERE k.shard = 0)
        INTO own, heads, softs, hards
        FROM (
            SELECT c.id, c.shard, b.shard AS own_shard, b.soft, b.hard
            FROM budgets_of(p_tenant, p_conversation, p_kinds) b JOIN budget_counter c
                ON (c.level, c.subject, c.kind, c.period) = (b.level, b.subject, b.kind, b.period)
                AND c.shard = ANY (CASE WHEN p_reserving THEN ARRAY[0, b.shard] ELSE ARRAY[b.shard] END)
            ORDER BY c.level, c.subject, c.kind, c.period, c.shard FOR NO KEY UPDATE OF c
        ) k;
END $$;

CREATE FUNCTION lock_known_counters(p_counters bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
    PERFORM FROM budget_counter c WHERE c.id = ANY (p_counters)
        ORDER BY c.level, c.subject, c.kind, c.period, c.shard FOR NO KEY UPDATE;
END $$;

-- Charge amounts to p_counters at p_at, unless their period is over, and give back what is reserved. p_other is of
-- segments or seconds. The counters are locked.
CREATE FUNCTION charge_counters(
    p_counters bigint[], p_microusd bigint, p_tokens bigint, p_other bigint, p_at timestamptz, p_reserved reservation
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE budget_counter c SET
        since = CASE WHEN c.id = ANY (p_counters) THEN greatest(c.since, period_start(c.period, p_at)) ELSE c.since END,
        used = CASE
            WHEN c.id <> ALL (p_counters) OR c.since > period_start(c.period, p_at) THEN c.used
            ELSE CASE WHEN c.since = period_start(c.period, p_at) THEN c.used ELSE 0 END
                + CASE c.kind WHEN 'microusd' THEN p_microusd WHEN 'tokens' THEN p_tokens ELSE p_other END
        END,
        reserved = c.reserved - CASE
            WHEN c.id = ANY (p_reserved.own)
                THEN CASE c.kind WHEN 'tokens' THEN p_reserved.tokens ELSE p_reserved.microusd END
            ELSE 0
        END
    WHERE c.id = ANY (p_counters || p_reserved.own);
    IF p_reserved.tokens > 0 OR p_reserved.microusd > 0 THEN
        UPDATE reservation r SET tokens = 0, microusd = 0 WHERE r.conversation_id = p_reserved.conversation_id;
    END IF;
END $$;

CREATE FUNCTION count_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE budget_change SET version = version + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER count_change AFTER INSERT OR UPDATE OR DELETE ON budget FOR EACH ROW EXECUTE FUNCTION count_change();

CREATE FUNCTION has_budgets() RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM budget);
END $$;

-- The worst of these budgets: one without room for the amounts, one whose soft limit is reached, or any. Once a soft
-- limit is reached, money is p_cheaper. p_other is of segments or seconds.
CREATE FUNCTION room(
    p_heads bigint[], p_softs bigint[], p_hards bigint[], p_microusd bigint, p_cheaper bigint, p_tokens bigint,
    p_other bigint, p_now timestamptz,
    OUT over_hard boolean, OUT over_soft boolean, OUT level budget_level, OUT kind budget_kind,
    OUT period budget_period, OUT until timestamptz
) LANGUAGE plpgsql STABLE AS $$
BEGIN
    SELECT coalesce(b.taken + CASE b.kind WHEN 'tokens' THEN p_tokens WHEN 'microusd' THEN
            CASE WHEN bool_or(b.over_soft) OVER () THEN p_cheaper ELSE p_microusd END ELSE p_other END > b.hard, false),
        b.over_soft, b.level, b.kind, b.period, period_end(b.period, p_now)
    INTO over_hard, over_soft, level, kind, period, until
    FROM (
        SELECT h.level, h.kind, h.period, l.hard, c.used + c.reserved AS taken,
            coalesce(c.used >= l.soft, false) AS over_soft
        FROM unnest(p_heads, p_softs, p_hards) AS l (id, soft, hard) JOIN budget_counter h ON h.id = l.id, LATERAL (
            SELECT coalesce(sum(t.used) FILTER (WHERE t.since >= period_start(h.period, p_now)), 0) AS used,
                sum(t.reserved) AS reserved
            FROM budget_counter t
            WHERE (t.level, t.subject, t.kind, t.period) = (h.level, h.subject, h.kind, h.period)
        ) c
    ) b
    ORDER BY 1 DESC, 2 DESC, 6 DESC LIMIT 1;
END $$;

-- Reserve what a model call may use, in place of what the conversation had reserved; p_now is NULL for the clock's
-- time. Returns nothing if no budget applies, else the worst one; nothing is reserved if that is over_hard.
CREATE FUNCTION reserve(
    p_tenant bigint, p_conversation bigint, p_epoch bigint, p_microusd bigint, p_cheaper bigint, p_tokens bigint,
    p_now timestamptz
) RETURNS TABLE (
    over_hard boolean, over_soft boolean, warn boolean, level text, kind text, period text, until timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_now timestamptz := coalesce(p_now, clock_timestamp());
    v_version bigint := (SELECT b.version FROM budget_change b);
    v reservation;
    v_counters record;
    v_room record;
BEGIN
    -- A crash of the database may forget a reservation, as a whole; the call is charged all the same.
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM FROM conversation c WHERE c.id = p_conversation AND c.tenant_id = p_tenant AND c.epoch = p_epoch
        AND c.owner IS NOT NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'lease lost' USING ERRCODE = 'SC001';
    END IF;
    SELECT * INTO v FROM reservation r WHERE r.conversation_id = p_conversation;
    IF NOT FOUND THEN
        INSERT INTO reservation (conversation_id, tenant_id) VALUES (p_conversation, p_tenant) RETURNING * INTO v;
    END IF;
    IF v.version = v_version THEN
        PERFORM lock_known_counters(v.own || v.heads);
        v_counters := v;
    ELSE
        v_counters := lock_counters(p_tenant, p_conversation, '{microusd,tokens}', v_now, true);
    END IF;
    IF v.tokens > 0 OR v.microusd > 0 THEN
        PERFORM charge_counters('{}', 0, 0, 0, v_now, v);
    END IF;
    IF v_counters.own = '{}' THEN
        RETURN;
    END IF;
    v_room := room(
        v_counters.heads, v_counters.softs, v_counters.hards, p_microusd, p_cheaper, p_tokens, 0, v_now);
    IF NOT v_room.over_hard THEN
        UPDATE reservation r SET version = v_version, own = v_counters.own, heads = v_counters.heads,
            softs = v_counters.softs, hards = v_counters.hards, tokens = p_tokens,
            microusd = CASE WHEN v_room.over_soft THEN p_cheaper ELSE p_microusd END
            WHERE r.conversation_id = p_conversation RETURNING * INTO v;
        UPDATE budget_counter c SET reserved = c.reserved + CASE c.kind WHEN 'tokens' THEN v.tokens ELSE v.microusd END
            WHERE c.id = ANY (v.own);
    END IF;
    RETURN QUERY SELECT v_room.over_hard, v_room.over_soft, v_room.over_soft AND v.warned_until <= v_now,
        v_room.level::text, v_room.kind::text, v_room.period::text, nullif(v_room.until, 'infinity');
END $$;

-- As before; and the cost is recorded, also of a reply that was not waited for.
CREATE OR REPLACE FUNCTION write_events(v conversation, p_first bigint, p_events jsonb) RETURNS bigint LANGUAGE plpgsql
AS $$
DECLARE v_count bigint;
BEGIN
    INSERT INTO event (conversation_id, seq, tenant_id, type, body)
        SELECT v.id, p_first + e.n - 1, v.tenant_id, e.value ->> 'type', e.value -> 'body'
        FROM jsonb_array_elements(p_events) WITH ORDINALITY AS e (value, n);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF NOT p_events @? '$[*] ? (@.type == "model.replied" || @.type == "model.cancelled")' THEN
        RETURN v_count;
    END IF;
    INSERT INTO usage (conversation_id, seq, tenant_id, model, input_tokens, output_tokens, cost_microusd)
        SELECT v.id, p_first + e.n - 1, v.tenant_id, u.value ->> 'model', (u.value ->> 'input_tokens')::integer,
               (u.value ->> 'output_tokens')::integer, coalesce((u.value ->> 'cost_microusd')::bigint, 0)
        FROM jsonb_array_elements(p_events) WITH ORDINALITY AS e (value, n),
            LATERAL (SELECT e.value #> '{body,usage}') AS u (value)
        WHERE e.value ->> 'type' IN ('model.replied', 'model.cancelled');
    RETURN v_count;
END $$;

CREATE OR REPLACE FUNCTION meter_summary() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage (conversation_id, seq, tenant_id, model, input_tokens, output_tokens, cost_microusd)
        VALUES (NEW.conversation_id, NEW.seq, NEW.tenant_id, NEW.body #>> '{usage,model}',
                (NEW.body #>> '{usage,input_tokens}')::integer, (NEW.body #>> '{usage,output_tokens}')::integer,
                coalesce((NEW.body #>> '{usage,cost_microusd}')::bigint, 0));
    RETURN NULL;
END $$;

-- A model's reply is charged and its reservation given back in the transaction that writes it: never twice, never not.
CREATE FUNCTION charge_usage() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_version bigint;
    v reservation;
    v_own bigint[];
BEGIN
    SELECT b.version INTO v_version FROM budget_change b WHERE EXISTS (SELECT FROM budget);
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT * INTO v FROM reservation r WHERE r.conversation_id = NEW.conversation_id;
    IF v.version = v_version THEN
        v_own := v.own;
        PERFORM lock_known_counters(v_own);
    ELSE
        v_own := (lock_counters(NEW.tenant_id, NEW.conversation_id, '{microusd,tokens}', NEW.at, false)).own;
    END IF;
    PERFORM charge_counters(
        v_own, NEW.cost_microusd, NEW.input_tokens::bigint + NEW.output_tokens, 0, NEW.at, v);
    RETURN NULL;
END $$;
CREATE TRIGGER charge_usage AFTER INSERT ON usage FOR EACH ROW EXECUTE FUNCTION charge_usage();

-- The end of a turn gives back what a call without a reply had reserved; so does the end of a conversation.
CREATE FUNCTION free_reservation() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE v reservation;
BEGIN
    IF TG_OP = 'DELETE' THEN
        v := OLD;
    ELSE
        SELECT * INTO v FROM reservation r WHERE r.conversation_id = NEW.id;
    END IF;
    IF v.tokens > 0 OR v.microusd > 0 THEN
        PERFORM lock_known_counters(v.own);
        PERFORM charge_counters('{}', 0, 0, 0, clock_timestamp(), v);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER free_reservation AFTER UPDATE OF turn_open ON conversation FOR EACH ROW
    WHEN (OLD.turn_open AND NOT NEW.turn_open) EXECUTE FUNCTION free_reservation();
CREATE TRIGGER free_reservation AFTER DELETE ON reservation FOR EACH ROW EXECUTE FUNCTION free_reservation();

-- Who was warned is not warned again until the period is over.
CREATE FUNCTION note_warning() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE reservation r SET warned_until = (NEW.body ->> 'until')::timestamptz
        WHERE r.conversation_id = NEW.conversation_id;
    RETURN NULL;
END $$;
CREATE TRIGGER note_warning AFTER INSERT ON event FOR EACH ROW WHEN (NEW.type = 'budget.warned')
    EXECUTE FUNCTION note_warning();

-- Charge the segments of a reply that is about to be sent, once however often it is tried. Returns the budget that has
-- no room for them, if one has none; then nothing is charged.
CREATE FUNCTION charge_segments(p_tenant bigint, p_outbox bigint, p_segments integer, p_now timestamptz)
RETURNS TABLE (level text, kind text, period text, until timestamptz) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    v_now timestamptz := coalesce(p_now, clock_timestamp());
    v_conversation bigint;
    v_counters record;
    v_room record;
BEGIN
    SELECT o.conversation_id INTO v_conversation FROM outbox o
        WHERE o.id = p_outbox AND o.tenant_id = p_tenant AND o.segments IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND OR NOT has_budgets() THEN
        RETURN;
    END IF;
    v_counters := lock_counters(p_tenant, v_conversation, '{segments}', v_now, true);
    v_room := room(v_counters.heads, v_counters.softs, v_counters.hards, 0, 0, 0, p_segments, v_now);
    IF v_room.over_hard THEN
        RETURN QUERY SELECT v_room.level::text, v_room.kind::text, v_room.period::text,
            nullif(v_room.until, 'infinity');
        RETURN;
    END IF;
    PERFORM charge_counters(v_counters.own, 0, 0, p_segments, v_now, NULL);
    UPDATE outbox o SET segments = p_segments WHERE o.id = p_outbox;
END $$;

-- A reply of which certainly no part went out is given back, as far as its period still runs.
CREATE FUNCTION return_segments() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE v_counters record;
BEGIN
    IF EXISTS (SELECT FROM outbox_part p WHERE p.outbox_id = NEW.id AND p.state IN ('sending', 'sent', 'delivered')) THEN
        RETURN NULL;
    END IF;
    v_counters := lock_counters(NEW.tenant_id, NEW.conversation_id, '{segments}', clock_timestamp(), false);
    UPDATE budget_counter c SET used = greatest(0, c.used - NEW.segments) WHERE c.id = ANY (v_counters.own);
    UPDATE outbox o SET segments = NULL WHERE o.id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER return_segments AFTER UPDATE OF state ON outbox FOR EACH ROW
    WHEN (NEW.state = 'failed' AND NEW.segments IS NOT NULL) EXECUTE FUNCTION return_segments();

-- Each second awake is charged to the day that it lies in, begun ones as whole ones.
CREATE FUNCTION charge_machine() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    v_s bigint := ceil(NEW.awake_s);
    v_at timestamptz := NEW.day::timestamp AT TIME ZONE 'UTC';
    v_counters record;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        v_s := v_s - ceil(OLD.awake_s);
    END IF;
    IF v_s > 0 AND has_budgets() THEN
        v_counters := lock_counters(NEW.tenant_id, NULL, '{machine_s}', v_at, false);
        PERFORM charge_counters(v_counters.own, 0, 0, v_s, v_at, NULL);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER charge_machine AFTER INSERT OR UPDATE ON machine_use FOR EACH ROW EXECUTE FUNCTION charge_machine();

-- The budget that has no second left for a tenant's machine, if one has none.
CREATE FUNCTION machine_over_budget(p_tenant bigint, p_now timestamptz)
RETURNS TABLE (level text, kind text, period text, until timestamptz) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    v_now timestamptz := coalesce(p_now, clock_timestamp());
    v_counters record;
BEGIN
    IF EXISTS (SELECT FROM tenant t WHERE t.id = p_tenant) THEN
        v_counters := lock_counters(p_tenant, NULL, '{machine_s}', v_now, true);
        RETURN QUERY SELECT r.level::text, r.kind::text, r.period::text, nullif(r.until, 'infinity')
            FROM room(v_counters.heads, v_counters.softs, v_counters.hards, 0, 0, 0, 1, v_now) r WHERE r.over_hard;
    END IF;
END $$;

-- How many seconds the budgets have left for a tenant's machine; NULL if there are none.
CREATE FUNCTION machine_s_left(p_tenant bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT min(greatest(0, b.hard - coalesce((
        SELECT sum(c.used) FROM budget_counter c
        WHERE (c.level, c.subject, c.kind, c.period) = (b.level, b.subject, b.kind, b.period)
            AND c.since >= period_start(b.period, now())), 0)))::bigint
    FROM budgets_of(p_tenant, NULL, '{machine_s}') b
$$;

-- As before; and never more than the budgets have left: no claim keeps a machine awake beyond those.
CREATE OR REPLACE FUNCTION awake_left(p_tenant bigint) RETURNS double precision LANGUAGE sql STABLE AS $$
    SELECT least(greatest(0, p.awake_s_per_day - coalesce(u.awake_s, 0)), machine_s_left(p_tenant))
    FROM tenant t JOIN plan p ON p.name = t.plan
        LEFT JOIN machine_use u ON u.tenant_id = t.id AND u.day = (now() AT TIME ZONE 'UTC')::date
    WHERE t.id = p_tenant
$$;

-- As before; and left_s is what the budgets have left, NULL if there are none.
DROP FUNCTION begin_machine(text, bigint, bigint, text);
CREATE FUNCTION begin_machine(p_host text, p_tenant bigint, p_at_least bigint, p_image text)
RETURNS TABLE (
    generation bigint, idle_timeout_s integer, disk_mb integer, sleeps_with_memory boolean,
    claim_left_s double precision, left_s bigint
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
        awake_left(p_tenant), machine_s_left(p_tenant);
END $$;

-- As before; returns nothing if the machine is not awake, of this host and start.
DROP FUNCTION use_machine(text, bigint, bigint, double precision);
CREATE FUNCTION use_machine(p_host text, p_tenant bigint, p_generation bigint, p_awake_s double precision)
RETURNS TABLE (claim_left_s double precision, left_s bigint) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE v machine := hold_machine(p_host, p_tenant, p_generation);
BEGIN
    IF v.state = 'awake' THEN
        PERFORM count_awake(p_tenant, p_awake_s, now());
        RETURN QUERY SELECT awake_left(p_tenant), machine_s_left(p_tenant);
    END IF;
END $$;

REVOKE ALL ON FUNCTION begin_machine, use_machine, machine_s_left FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_machine, use_machine TO subclaw_host;
REVOKE ALL ON FUNCTION period_start, period_end, budgets_of, lock_counters, lock_known_counters, charge_counters,
    count_change, has_budgets, room, reserve, charge_usage, free_reservation, note_warning, charge_segments,
    return_segments, charge_machine, machine_over_budget FROM PUBLIC;
GRANT EXECUTE ON FUNCTION has_budgets, reserve, charge_segments TO subclaw_app;
GRANT EXECUTE ON FUNCTION period_start TO subclaw_operator;
GRANT EXECUTE ON FUNCTION machine_over_budget TO subclaw_host;

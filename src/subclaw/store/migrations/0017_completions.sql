-- Completions: what models are asked beside turns, by a tool that asks several at once or by a program on a machine. Each
-- is reserved before it is asked and charged after it at all levels, as a turn's calls are, with a reservation of its own.

-- What completions used is recorded with the rest, but is no event's (seq), and a machine's is no conversation's.
ALTER TABLE usage DROP CONSTRAINT usage_pkey, ALTER COLUMN seq DROP NOT NULL,
    ALTER COLUMN conversation_id DROP NOT NULL, ADD CONSTRAINT usage_event UNIQUE (conversation_id, seq);

-- A completion that is being asked, and what it has reserved; own are the counters that it is counted in. One that is
-- still here at until was asked by a worker that has died.
CREATE TABLE completion (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    conversation_id bigint REFERENCES conversation ON DELETE CASCADE,
    own             bigint[] NOT NULL,
    tokens          bigint NOT NULL,
    microusd        bigint NOT NULL,
    until           timestamptz NOT NULL
);
CREATE INDEX completion_tenant ON completion (tenant_id);
CREATE INDEX completion_conversation ON completion (conversation_id) WHERE conversation_id IS NOT NULL;
CREATE INDEX completion_until ON completion (until);
ALTER TABLE completion ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON completion FOR SELECT TO subclaw_app USING (tenant_id = current_tenant());
CREATE POLICY operator ON completion FOR SELECT TO subclaw_operator USING (true);
GRANT SELECT ON completion TO subclaw_operator;

-- As before; and what is no conversation's is counted in no conversation's budget.
CREATE OR REPLACE FUNCTION budgets_of(p_tenant bigint, p_conversation bigint, p_kinds budget_kind[])
RETURNS TABLE (
    level budget_level, subject text, kind budget_kind, period budget_period, shard smallint, soft bigint, hard bigint
) LANGUAGE sql STABLE AS $$
    SELECT DISTINCT ON (b.level, b.kind, b.period) b.level, s.subject, b.kind, b.period,
        CASE WHEN b.level < 'agent' THEN 0 ELSE 1 + coalesce(p_conversation, p_tenant) % 16 END::smallint,
        b.soft, b.hard
    FROM (VALUES ('conversation'::budget_level, p_conversation::text), ('tenant', p_tenant::text),
                 ('agent', 'default'), ('operator', '*')) AS s (level, subject)
        JOIN budget b ON b.level = s.level AND b.subject IN ('*', s.subject)
    WHERE b.kind = ANY (p_kinds) AND s.subject IS NOT NULL
    ORDER BY b.level, b.kind, b.period, b.subject = '*'
$$;

-- As before; and a completion is no turn's call, whose reservation it would give back.
CREATE OR REPLACE FUNCTION charge_usage() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    v_version bigint;
    v reservation;
    v_own bigint[];
BEGIN
    SELECT b.version INTO v_version FROM budget_change b WHERE EXISTS (SELECT FROM budget);
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF NEW.seq IS NOT NULL THEN
        SELECT * INTO v FROM reservation r WHERE r.conversation_id = NEW.conversation_id;
    END IF;
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

-- What the completions of a conversation's running turn have used, with what is reserved for those being asked.
CREATE FUNCTION completions_of_turn(p_tenant bigint, p_conversation bigint, OUT tokens bigint, OUT microusd bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH turn AS (
        SELECT e.at FROM event e
        WHERE e.conversation_id = p_conversation AND e.tenant_id = p_tenant AND e.type = 'turn.started'
        ORDER BY e.seq DESC LIMIT 1
    )
    SELECT coalesce(sum(n.tokens), 0)::bigint, coalesce(sum(n.microusd), 0)::bigint FROM (
        SELECT u.input_tokens::bigint + u.output_tokens, u.cost_microusd FROM usage u, turn
        WHERE u.conversation_id = p_conversation AND u.seq IS NULL AND u.at >= turn.at
        UNION ALL
        SELECT c.tokens, c.microusd FROM completion c
        WHERE c.conversation_id = p_conversation AND c.tenant_id = p_tenant
    ) AS n (tokens, microusd)
$$;

-- Whether the running turn has no room for amounts beside what its calls and completions have used and reserved.
CREATE FUNCTION is_over_turn(
    p_tenant bigint, p_conversation bigint, p_tokens bigint, p_microusd bigint, p_turn_tokens bigint,
    p_turn_microusd bigint
) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce(c.tokens + coalesce(sum(u.input_tokens::bigint + u.output_tokens), 0) + p_tokens > p_turn_tokens, false)
        OR coalesce(c.microusd + coalesce(sum(u.cost_microusd), 0) + p_microusd > p_turn_microusd, false)
    FROM completions_of_turn(p_tenant, p_conversation) c
        LEFT JOIN usage u ON u.conversation_id = p_conversation AND u.seq > (
            SELECT max(e.seq) FROM event e WHERE e.conversation_id = p_conversation AND e.type = 'turn.started')
    GROUP BY c.tokens, c.microusd
$$;

-- Reserve what a completion may use; p_conversation is NULL for a machine's, p_now for the clock's time. id is NULL if the
-- turn or a budget (the worst one is returned) has no room for it; then nothing is reserved.
CREATE FUNCTION reserve_completion(
    p_tenant bigint, p_conversation bigint, p_microusd bigint, p_cheaper bigint, p_tokens bigint, p_turn_tokens bigint,
    p_turn_microusd bigint, p_lives_s double precision, p_now timestamptz
) RETURNS TABLE (
    id bigint, over_turn boolean, over_hard boolean, over_soft boolean, level text, kind text, period text,
    until timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_now timestamptz := coalesce(p_now, clock_timestamp());
    v_counters record;
    v_room record;
    v_id bigint;
    v_microusd bigint;
BEGIN
    -- A crash of the database may forget a reservation, as a whole; then the completion is not charged.
    PERFORM set_config('synchronous_commit', 'off', true);
    IF p_conversation IS NOT NULL THEN
        -- Held, so that of those that are asked at once not each finds the turn's last room.
        PERFORM FROM conversation c WHERE c.id = p_conversation AND c.tenant_id = p_tenant FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'lease lost' USING ERRCODE = 'SC001';
        END IF;
        IF num_nonnulls(p_turn_tokens, p_turn_microusd) > 0
            AND is_over_turn(p_tenant, p_conversation, p_tokens, p_microusd, p_turn_tokens, p_turn_microusd) THEN
            over_turn := true;
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    v_counters := lock_counters(p_tenant, p_conversation, '{microusd,tokens}', v_now, true);
    v_room := room(
        v_counters.heads, v_counters.softs, v_counters.hards, p_microusd, p_cheaper, p_tokens, 0, v_now);
    IF v_room.over_hard IS NOT TRUE THEN
        v_microusd := CASE WHEN v_room.over_soft THEN p_cheaper ELSE p_microusd END;
        INSERT INTO completion AS c (tenant_id, conversation_id, own, tokens, microusd, until)
            VALUES (p_tenant, p_conversation, v_counters.own, p_tokens, v_microusd,
                    v_now + make_interval(secs => p_lives_s))
            RETURNING c.id INTO v_id;
        UPDATE budget_counter c SET reserved = c.reserved + CASE c.kind WHEN 'tokens' THEN p_tokens ELSE v_microusd END
            WHERE c.id = ANY (v_counters.own);
    END IF;
    RETURN QUERY SELECT v_id, false, coalesce(v_room.over_hard, false), coalesce(v_room.over_soft, false),
        v_room.level::text, v_room.kind::text, v_room.period::text, nullif(v_room.until, 'infinity');
END $$;

-- Whatever ends a completion gives back what it had reserved.
CREATE FUNCTION free_completion() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM lock_known_counters(OLD.own);
    UPDATE budget_counter c SET reserved = c.reserved - CASE c.kind WHEN 'tokens' THEN OLD.tokens ELSE OLD.microusd END
        WHERE c.id = ANY (OLD.own);
    RETURN NULL;
END $$;
CREATE TRIGGER free_completion AFTER DELETE ON completion FOR EACH ROW EXECUTE FUNCTION free_completion();

-- End a completion and charge what it used; p_model is NULL for one that cost nothing. Said again it does nothing.
CREATE FUNCTION settle_completion(
    p_tenant bigint, p_id bigint, p_model text, p_input_tokens integer, p_output_tokens integer, p_cost_microusd bigint
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE v completion;
BEGIN
    DELETE FROM completion c WHERE c.id = p_id AND c.tenant_id = p_tenant RETURNING * INTO v;
    IF FOUND AND p_model IS NOT NULL THEN
        INSERT INTO usage (conversation_id, tenant_id, model, input_tokens, output_tokens, cost_microusd)
            VALUES (v.conversation_id, p_tenant, p_model, p_input_tokens, p_output_tokens, p_cost_microusd);
    END IF;
END $$;

-- Give back what one completion of a dead worker had reserved, if there is one. Two at once could wait in a circle.
CREATE FUNCTION lapse_completion() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    DELETE FROM completion WHERE id = (
        SELECT c.id FROM completion c WHERE c.until < clock_timestamp() ORDER BY c.until LIMIT 1 FOR UPDATE SKIP LOCKED);
    RETURN FOUND;
END $$;

-- What is no conversation's goes with the tenant.
CREATE FUNCTION forget_usage() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM usage u WHERE u.tenant_id = OLD.id AND u.conversation_id IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_usage AFTER DELETE ON tenant FOR EACH ROW EXECUTE FUNCTION forget_usage();

REVOKE ALL ON FUNCTION completions_of_turn, is_over_turn, reserve_completion, free_completion, settle_completion,
    lapse_completion, forget_usage FROM PUBLIC;
GRANT EXECUTE ON FUNCTION completions_of_turn, reserve_completion, settle_completion, lapse_completion TO subclaw_app;

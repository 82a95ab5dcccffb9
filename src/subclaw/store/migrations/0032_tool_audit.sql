-- Decisions on calls of agents' tools, with reasons: the audit log, what limits are counted by, and what a dry run of
-- another policy decides on again. Arguments are there by their names and a digest, and in the clear only if the agent's
-- policy says so. amounts are the numbers that the policy sums up.
CREATE TABLE tool_decision (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id        bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    agent            text NOT NULL,
    version          integer NOT NULL,
    conversation_id  bigint NOT NULL,
    call_id          text NOT NULL,
    tool             text NOT NULL,
    effect           text NOT NULL CHECK (effect IN ('allow', 'approve', 'deny')),
    approved         boolean NOT NULL,
    reason           text NOT NULL,
    argument_names   text[] NOT NULL,
    arguments_digest text NOT NULL,
    arguments        jsonb,
    amounts          jsonb NOT NULL DEFAULT '{}',
    at               timestamptz NOT NULL
);
CREATE UNIQUE INDEX tool_decision_call ON tool_decision (tenant_id, conversation_id, call_id, effect);
CREATE INDEX tool_decision_tenant ON tool_decision (tenant_id, tool, at) WHERE effect = 'allow';
CREATE INDEX tool_decision_agent ON tool_decision (agent, at);

ALTER TABLE tool_decision ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON tool_decision TO subclaw_app USING (tenant_id = current_tenant());
CREATE POLICY operator ON tool_decision FOR SELECT TO subclaw_operator USING (true);
GRANT SELECT, INSERT ON tool_decision TO subclaw_app;
GRANT SELECT ON tool_decision TO subclaw_operator;

-- How many calls of these tools were allowed to an agent's customers since then, all together.
CREATE FUNCTION count_agent_calls(p_agent text, p_tools text[], p_since timestamptz) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT count(*) FROM tool_decision d
    WHERE d.agent = p_agent AND d.tool = ANY (p_tools) AND d.at >= p_since AND d.effect = 'allow'
$$;

-- Has the decision on a call to itself until the end of the transaction, among all that share a limit with it, and says
-- what there was in each of these windows: [{"scope", "tools", "since", "path"}]. NULL if the call was allowed before:
-- it was interrupted, and is the same one.
CREATE FUNCTION hold_tool_usage(
    p_tenant bigint, p_agent text, p_conversation bigint, p_call text, p_windows jsonb
) RETURNS numeric[] LANGUAGE plpgsql AS $$
DECLARE
    v_window record;
    v_found numeric[] := '{}';
    v_used numeric;
BEGIN
    PERFORM be_tenant(p_tenant);
    -- The agent's lock is taken before the customer's, always.
    IF p_windows @> '[{"scope": "agent"}]' THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('agent tools ' || p_agent, 0));
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('customer tools', p_tenant));
    IF EXISTS (SELECT FROM tool_decision d WHERE d.tenant_id = p_tenant AND d.conversation_id = p_conversation
            AND d.call_id = p_call AND d.effect = 'allow') THEN
        RETURN NULL;
    END IF;
    FOR v_window IN SELECT w.* FROM jsonb_to_recordset(p_windows)
            AS w (scope text, tools text[], since timestamptz, path text) LOOP
        IF v_window.scope = 'agent' THEN
            v_used := count_agent_calls(p_agent, v_window.tools, v_window.since);
        ELSE
            SELECT CASE WHEN v_window.path = '' THEN count(*)
                    ELSE coalesce(sum((d.amounts ->> v_window.path)::numeric), 0) END
                INTO v_used FROM tool_decision d
                WHERE d.tenant_id = p_tenant AND d.tool = ANY (v_window.tools) AND d.at >= v_window.since
                    AND d.effect = 'allow';
        END IF;
        v_found := v_found || v_used;
    END LOOP;
    RETURN v_found;
END $$;

CREATE FUNCTION record_tool_decision(
    p_tenant bigint, p_agent text, p_version integer, p_conversation bigint, p_call text, p_tool text, p_effect text,
    p_approved boolean, p_reason text, p_names text[], p_digest text, p_arguments jsonb, p_amounts jsonb,
    p_at timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    INSERT INTO tool_decision (tenant_id, agent, version, conversation_id, call_id, tool, effect, approved, reason,
            argument_names, arguments_digest, arguments, amounts, at)
        VALUES (p_tenant, p_agent, p_version, p_conversation, p_call, p_tool, p_effect, p_approved, p_reason, p_names,
            p_digest, p_arguments, p_amounts, p_at)
        ON CONFLICT DO NOTHING;
END $$;

-- Forgets decisions of more than 30 days ago; nobody forgets later ones.
CREATE FUNCTION prune_tool_decisions() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE v_count bigint;
BEGIN
    DELETE FROM tool_decision d WHERE d.at < now() - interval '30 days';
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

REVOKE ALL ON FUNCTION count_agent_calls, hold_tool_usage, record_tool_decision, prune_tool_decisions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION count_agent_calls, hold_tool_usage, record_tool_decision, prune_tool_decisions TO subclaw_app;

-- The same, with less work a turn: what each statement of a turn makes PostgreSQL do anew is done once, or not at all.

-- As before; assigned, not performed, since plpgsql then runs no statement for it.
CREATE OR REPLACE FUNCTION be_tenant(p_tenant bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE v_set text := set_config('subclaw.tenant', p_tenant::text, true);
BEGIN
END $$;

CREATE OR REPLACE FUNCTION present(p_channel text, p_address text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_set text := set_config('subclaw.channel', p_channel, true) || set_config('subclaw.address', p_address, true);
    v_tenant bigint := (SELECT i.tenant_id FROM identity i WHERE i.channel = p_channel AND i.address = p_address);
BEGIN
    v_set := set_config('subclaw.tenant', v_tenant::text, true);
    RETURN v_tenant;
END $$;

CREATE OR REPLACE FUNCTION hold(p_tenant bigint, p_conversation bigint, p_epoch bigint) RETURNS conversation
LANGUAGE plpgsql AS $$
DECLARE
    v_set text := set_config('subclaw.tenant', p_tenant::text, true);
    v conversation;
BEGIN
    SELECT * INTO v FROM conversation c
        WHERE c.id = p_conversation AND c.epoch = p_epoch AND c.owner IS NOT NULL FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'lease lost' USING ERRCODE = 'SC001';
    END IF;
    RETURN v;
END $$;

-- The condition of each trigger is read and prepared again by every statement that writes an event: so there is one, and
-- what happens to few events is told apart behind it. Steps are told of by `append`, and `drain` adds what comes with
-- messages.
DROP TRIGGER summary_usage ON event;
DROP TRIGGER event_approval ON event;
DROP TRIGGER note_failed_turn ON event;
DROP TRIGGER note_warning ON event;
DROP TRIGGER tell_more ON event;
DROP FUNCTION meter_summary(), note_approval(), note_failed_turn(), note_warning(), tell_more();

CREATE FUNCTION meter_summary(e event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage (conversation_id, seq, tenant_id, model, input_tokens, output_tokens, cost_microusd)
        VALUES (e.conversation_id, e.seq, e.tenant_id, e.body #>> '{usage,model}',
                (e.body #>> '{usage,input_tokens}')::integer, (e.body #>> '{usage,output_tokens}')::integer,
                coalesce((e.body #>> '{usage,cost_microusd}')::bigint, 0));
END $$;

-- A request is closed once, or the transaction fails that would close it again.
CREATE FUNCTION note_approval(e event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF e.type = 'approval.requested' THEN
        INSERT INTO approval (tenant_id, conversation_id, approval_id, seq, tool, requested_at, expires_at)
            VALUES (e.tenant_id, e.conversation_id, e.body ->> 'approval_id', e.seq,
                    e.body #>> '{call,name}', e.at, (e.body ->> 'expires_at')::timestamptz);
        RETURN;
    END IF;
    UPDATE approval a SET closed_at = e.at, state = CASE
            WHEN e.type = 'approval.lapsed' THEN e.body ->> 'reason'
            WHEN e.body -> 'approved' = 'true' THEN 'approved'
            ELSE 'declined'
        END
        WHERE a.conversation_id = e.conversation_id AND a.tenant_id = e.tenant_id
            AND a.approval_id = e.body #>> '{request,approval_id}' AND a.state = 'open';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'an approval was to be closed that is not open';
    END IF;
END $$;

CREATE FUNCTION note_failed_turn(e event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE schedule s SET failure = e.body ->> 'outcome', failed_at = clock_timestamp(), failed_due_at = s.last_due_at,
        told_at = NULL
        WHERE s.tenant_id = e.tenant_id AND s.id IN (
            SELECT (d.body ->> 'schedule_id')::bigint FROM event d
            WHERE d.conversation_id = e.conversation_id AND d.seq < e.seq AND d.type = 'schedule.due'
                AND d.seq > (SELECT b.seq FROM event b WHERE b.conversation_id = e.conversation_id
                             AND b.seq < e.seq AND b.type = 'turn.started' ORDER BY b.seq DESC LIMIT 1));
END $$;

-- What an agent's owner is told of by webhooks.
CREATE FUNCTION note_webhook(e event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v record;
    v_type text := CASE e.type
        WHEN 'reply.queued' THEN 'session.replied' WHEN 'approval.requested' THEN 'approval.requested' ELSE 'turn.failed'
    END;
BEGIN
    SELECT t.agent, t.customer, c.address INTO v FROM tenant t JOIN conversation c ON c.id = e.conversation_id
        WHERE t.id = e.tenant_id AND t.agent IS NOT NULL;
    IF FOUND THEN
        PERFORM queue_webhooks(e.tenant_id, v.agent, v_type, jsonb_strip_nulls(jsonb_build_object(
            'agent', v.agent, 'customer', v.customer, 'session', v.address, 'event', e.seq,
            'approval', CASE WHEN e.type = 'approval.requested' THEN (
                SELECT a.id FROM approval a WHERE a.conversation_id = e.conversation_id AND a.seq = e.seq) END,
            'tool', CASE WHEN e.type = 'approval.requested' THEN e.body #> '{call,name}' END,
            'outcome', CASE WHEN e.type = 'turn.finished' THEN e.body -> 'outcome' END)));
    END IF;
END $$;

-- What follows from an event, in the transaction that writes it. Nobody may call this, nor what it calls: it charges
-- counters and tells of what is an owner's.
CREATE FUNCTION note_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE v_failed boolean := NEW.type = 'turn.finished'
    AND NEW.body ->> 'outcome' IN ('failed', 'model_failed', 'stuck', 'over_budget');
BEGIN
    IF NEW.type LIKE 'approval.%' THEN
        PERFORM note_approval(NEW);
    ELSIF NEW.type LIKE 'history.%' AND jsonb_typeof(NEW.body -> 'usage') = 'object' THEN
        PERFORM meter_summary(NEW);
    ELSIF NEW.type = 'budget.warned' THEN
        UPDATE reservation r SET warned_until = (NEW.body ->> 'until')::timestamptz
            WHERE r.conversation_id = NEW.conversation_id;
    ELSIF v_failed THEN
        PERFORM note_failed_turn(NEW);
    END IF;
    IF v_failed OR NEW.type IN ('reply.queued', 'approval.requested') THEN
        PERFORM note_webhook(NEW);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note_event AFTER INSERT ON event FOR EACH ROW
    WHEN (NEW.type IN ('reply.queued', 'turn.finished', 'approval.requested', 'approval.decided', 'approval.lapsed',
                       'budget.warned', 'history.summarised', 'history.summary_failed'))
    EXECUTE FUNCTION note_event();

-- As before; with p_opens after the beginning of a turn, which counts; and with what comes with messages.
DROP FUNCTION drain;
CREATE FUNCTION drain(v conversation, p_first bigint, p_opens boolean DEFAULT false) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_first bigint := p_first + p_opens::integer;
    v_count bigint;
    v_notices bigint;
BEGIN
    IF v.inbox_seq = v.drained_seq THEN
        RETURN 0;
    END IF;
    INSERT INTO event (conversation_id, seq, tenant_id, at, type, body)
        SELECT v.id, p_first, v.tenant_id, clock_timestamp(), 'turn.started', '{}'::jsonb WHERE p_opens
        UNION ALL
        SELECT v.id, v_first + i.seq - v.drained_seq - 1, v.tenant_id, i.received_at,
               CASE s.parts[1] WHEN 'schedule' THEN 'schedule.due' WHEN 'secret' THEN 'secret.set'
                   WHEN 'account' THEN 'account.lost' WHEN 'access' THEN 'access.decided' ELSE 'message.received' END,
               CASE
                   WHEN s.parts[1] = 'schedule' THEN
                       jsonb_build_object('text', i.text, 'schedule_id', s.parts[2]::bigint)
                   WHEN s.parts[1] IN ('secret', 'account', 'access') THEN i.text::jsonb
                   ELSE jsonb_build_object('text', i.text, 'provider_id', i.provider_id)
                        || CASE WHEN i.removed IS NULL THEN '{}' ELSE jsonb_build_object('removed', i.removed) END
                        || coalesce(i.more, '{}')
               END
        FROM inbox i, regexp_match(i.provider_id, '^(schedule|secret|account|access):([0-9]+)(:[0-9]+)?$') AS s (parts)
        WHERE i.conversation_id = v.id AND i.seq > v.drained_seq AND i.seq <= v.inbox_seq;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF EXISTS (
        SELECT FROM inbox i WHERE i.conversation_id = v.id AND i.seq > v.drained_seq AND i.seq <= v.inbox_seq
            AND i.notice IS NOT NULL
    ) THEN
        INSERT INTO event (conversation_id, seq, tenant_id, type, body)
            SELECT v.id, p_first + v_count + row_number() OVER (ORDER BY i.seq) - 1, v.tenant_id, 'reply.queued',
                   jsonb_build_object('text', i.notice)
            FROM inbox i WHERE i.conversation_id = v.id AND i.seq > v.drained_seq AND i.seq <= v.inbox_seq
                AND i.notice IS NOT NULL;
        GET DIAGNOSTICS v_notices = ROW_COUNT;
        v_count := v_count + v_notices;
        INSERT INTO outbox (tenant_id, conversation_id, channel, address, text)
            SELECT v.tenant_id, v.id, v.channel, v.address, i.notice
            FROM inbox i WHERE i.conversation_id = v.id AND i.seq > v.drained_seq AND i.seq <= v.inbox_seq
                AND i.notice IS NOT NULL AND i.send_notice ORDER BY i.seq;
        NOTIFY subclaw_outbox;
    END IF;
    RETURN v_count;
END $$;

CREATE OR REPLACE FUNCTION open_turn(p_tenant bigint, p_conversation bigint, p_epoch bigint)
RETURNS TABLE (
    name text, channel text, address text, failures integer, resumed boolean, age_s double precision,
    model text, time_zone text, house_revision bigint, is_awake boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v conversation := hold(p_tenant, p_conversation, p_epoch);
    -- A crash of the database may forget this as long as nothing follows from it: the inbox has it still.
    v_set text := set_config('synchronous_commit', 'off', true);
    v_count bigint;
BEGIN
    IF NOT v.turn_open AND v.inbox_seq > v.drained_seq THEN
        v_count := drain(v, v.next_seq, true);
        UPDATE conversation c SET next_seq = v.next_seq + v_count, drained_seq = v.inbox_seq, turn_open = true
            WHERE c.id = v.id;
        PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address || ' begun');
    END IF;
    RETURN QUERY SELECT t.name, v.channel, v.address, v.failures, v.turn_open,
        CASE WHEN v.turn_open THEN coalesce((
            SELECT extract(epoch FROM clock_timestamp() - e.at)::double precision FROM event e
            WHERE e.conversation_id = v.id AND e.type = 'turn.started' ORDER BY e.seq DESC LIMIT 1), 0) ELSE 0 END,
        t.model, t.time_zone, h.revision, coalesce(m.state = 'awake', false)
        FROM tenant t LEFT JOIN house h ON h.tenant_id = t.id LEFT JOIN machine m ON m.tenant_id = t.id
        WHERE t.id = p_tenant;
END $$;

-- As before; and steps wake those who follow a session. Other channels show none: there a crash of the database may forget
-- what calls came to. They are settled then as those of a worker that died, and whatever followed is forgotten too.
CREATE OR REPLACE FUNCTION append(p_tenant bigint, p_conversation bigint, p_epoch bigint, p_events jsonb, p_drain boolean)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v conversation := hold(p_tenant, p_conversation, p_epoch);
    v_said_from bigint := v.next_seq + write_events(v, v.next_seq, p_events);
    v_said bigint := CASE WHEN p_drain THEN drain(v, v_said_from) ELSE 0 END;
    v_set text;
BEGIN
    IF v.channel <> 'api' AND NOT p_events @? '$[*] ? (@.type != "tool.finished")' THEN
        v_set := set_config('synchronous_commit', 'off', true);
    END IF;
    UPDATE conversation c SET next_seq = v_said_from + v_said,
        drained_seq = CASE WHEN p_drain THEN v.inbox_seq ELSE v.drained_seq END,
        failures = CASE WHEN p_events @? '$[*] ? (@.type != "tool.started")' THEN 0 ELSE v.failures END
        WHERE c.id = v.id;
    IF v_said > 0 OR v.channel = 'api' THEN
        PERFORM pg_notify('subclaw_feed', v.channel || ' ' || v.address);
    END IF;
    RETURN CASE WHEN v_said > 0 THEN transcript(v.id, v_said_from) ELSE '[]' END;
END $$;

-- `admit_message`, and `receive` if the message is let in. What is most often so is seen at once: a message of somebody
-- known, who is neither suspended nor says too much.
CREATE OR REPLACE FUNCTION admit_and_receive(
    p_channel text, p_address text, p_provider_id text, p_received_at timestamptz, p_urgent boolean, p_burst integer,
    p_per_minute integer, p_pause interval, p_strangers integer, p_slow text, p_suspended text, p_send boolean, p_text text
) RETURNS TABLE (outcome text, tenant_id bigint, conversation_id bigint, duplicate boolean) LANGUAGE plpgsql AS $$
DECLARE
    v_tenant bigint := present(p_channel, p_address);
    v conversation;
    v_at timestamptz;
    v_heard real;
BEGIN
    SELECT c.* INTO v FROM conversation c JOIN tenant t ON t.id = c.tenant_id
        WHERE c.channel = p_channel AND c.address = p_address AND c.tenant_id = v_tenant AND t.suspended_at IS NULL
        FOR UPDATE OF c;
    IF EXISTS (SELECT FROM inbox i WHERE i.conversation_id = v.id AND i.provider_id = p_provider_id) THEN
        RETURN QUERY SELECT 'in', v_tenant, v.id, true;
        RETURN;
    END IF;
    v_at := greatest(least(p_received_at, clock_timestamp()), v.heard_at);
    v_heard := greatest(0, v.heard_count - coalesce(extract(epoch FROM v_at - v.heard_at), 0) * p_per_minute / 60) + 1;
    IF v.id IS NULL OR v.deaf_until > clock_timestamp() OR v_heard > p_burst THEN
        SELECT a.outcome, a.tenant_id, a.conversation_id INTO STRICT outcome, tenant_id, conversation_id
            FROM admit_message(p_channel, p_address, p_provider_id, p_received_at, p_urgent, p_burst, p_per_minute, p_pause,
                p_strangers, p_slow, p_suspended, p_send) a;
        IF outcome = 'in' AND tenant_id IS NOT NULL THEN
            SELECT r.duplicate INTO STRICT duplicate
                FROM receive(p_channel, p_address, p_provider_id, p_text, p_received_at, '{}') r;
        END IF;
        RETURN NEXT;
        RETURN;
    END IF;
    INSERT INTO inbox (conversation_id, seq, tenant_id, provider_id, text, received_at)
        VALUES (v.id, v.inbox_seq + 1, v_tenant, p_provider_id, p_text, p_received_at);
    UPDATE conversation c SET inbox_seq = v.inbox_seq + 1, wake_at = coalesce(c.wake_at, now()),
        heard_count = CASE WHEN p_burst IS NULL THEN c.heard_count ELSE v_heard END,
        heard_at = CASE WHEN p_burst IS NULL THEN c.heard_at ELSE v_at END
        WHERE c.id = v.id;
    IF v.owner IS NULL THEN
        NOTIFY subclaw_wake;
    ELSE
        PERFORM pg_notify('subclaw_inbox', v.id::text);
    END IF;
    RETURN QUERY SELECT 'in', v_tenant, v.id, false;
END $$;

REVOKE ALL ON FUNCTION meter_summary, note_approval, note_failed_turn, note_webhook, note_event, drain FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drain TO subclaw_app;

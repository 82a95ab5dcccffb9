-- Reminders that come again, that were missed, and that failed.

-- repeat is an RRULE; wall_at is its next time on the person's wall, where time_zone (an IANA name) is; left_count is how
-- often it still comes, NULL for ever. last_due_at is when what happened last was due; ended_at is when it was over.
-- failure says in a word what last went wrong, at failed_at, with what was due at failed_due_at; told_at is when the
-- person was told of it.
ALTER TABLE schedule
    DROP CONSTRAINT schedule_state_check,
    DROP CONSTRAINT schedule_check,
    ADD CONSTRAINT schedule_state_check CHECK (state IN ('pending', 'fired', 'cancelled', 'missed')),
    ADD COLUMN if_missed     text NOT NULL DEFAULT 'late' CHECK (if_missed IN ('late', 'skip')),
    ADD COLUMN time_zone     text NOT NULL DEFAULT '' CHECK (length(time_zone) <= 64),
    ADD COLUMN repeat        text CHECK (length(repeat) <= 200),
    ADD COLUMN wall_at       timestamp CHECK ((wall_at IS NULL) = (repeat IS NULL)),
    ADD COLUMN left_count    integer CHECK (left_count > 0),
    ADD COLUMN until_at      timestamptz,
    ADD COLUMN times         integer NOT NULL DEFAULT 0,
    ADD COLUMN missed        integer NOT NULL DEFAULT 0,
    ADD COLUMN last_due_at   timestamptz,
    ADD COLUMN ended_at      timestamptz,
    ADD COLUMN failure       text,
    ADD COLUMN failed_at     timestamptz,
    ADD COLUMN failed_due_at timestamptz,
    ADD COLUMN told_at       timestamptz;
UPDATE schedule SET times = 1, last_due_at = due_at WHERE state = 'fired';
UPDATE schedule SET ended_at = coalesce(fired_at, now()) WHERE state <> 'pending';
ALTER TABLE schedule ADD CONSTRAINT schedule_ended CHECK ((ended_at IS NULL) = (state = 'pending'));
CREATE INDEX schedule_ended ON schedule (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX schedule_untold ON schedule (failed_at) WHERE failed_at IS NOT NULL AND told_at IS NULL;
CREATE INDEX schedule_troubled ON schedule (id) WHERE failed_at IS NOT NULL OR missed > 0;
GRANT SELECT (if_missed, time_zone, repeat, left_count, until_at, times, missed, last_due_at, ended_at, failure, failed_at,
    told_at) ON schedule TO subclaw_operator;

-- Which schedule a reply is the text of. It may be gone by now.
ALTER TABLE outbox ADD COLUMN schedule_id bigint;

-- What is known before a call sets a schedule: the person's time zone, and what the same call has set already.
CREATE FUNCTION known_schedule(p_tenant bigint, p_conversation bigint, p_call_id text)
RETURNS TABLE (time_zone text, already schedule) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT t.time_zone, s FROM tenant t
        LEFT JOIN schedule s ON s.conversation_id = p_conversation AND s.call_id = p_call_id WHERE t.id = p_tenant;
END $$;

CREATE FUNCTION remember_time_zone(p_tenant bigint, p_name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    UPDATE tenant t SET time_zone = p_name WHERE t.id = p_tenant;
END $$;

-- As before; and with what makes it come again.
DROP FUNCTION set_schedule(bigint, bigint, text, timestamptz, text, text, integer);
CREATE FUNCTION set_schedule(
    p_tenant bigint, p_conversation bigint, p_call_id text, p_due_at timestamptz, p_mode text, p_text text,
    p_limit integer, p_if_missed text, p_time_zone text, p_repeat text, p_wall_at timestamp, p_left integer,
    p_until timestamptz
) RETURNS SETOF schedule LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    PERFORM FROM tenant t WHERE t.id = p_tenant FOR NO KEY UPDATE;
    RETURN QUERY SELECT * FROM schedule s WHERE s.conversation_id = p_conversation AND s.call_id = p_call_id;
    IF FOUND OR (SELECT count(*) FROM schedule s WHERE s.tenant_id = p_tenant AND s.state = 'pending') >= p_limit THEN
        RETURN;
    END IF;
    RETURN QUERY INSERT INTO schedule (tenant_id, conversation_id, call_id, due_at, mode, text, if_missed, time_zone,
            repeat, wall_at, left_count, until_at)
        SELECT c.tenant_id, c.id, p_call_id, p_due_at, p_mode, p_text, p_if_missed, p_time_zone, p_repeat, p_wall_at,
            p_left, p_until FROM conversation c WHERE c.id = p_conversation
        RETURNING *;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such conversation';
    END IF;
    NOTIFY subclaw_schedule;
END $$;

-- The person's time zone with what waits, the next one first, and then up to p_troubled of those that are over and were
-- missed or failed, the latest first. Where there is none, there is one row without.
CREATE FUNCTION list_schedules(p_tenant bigint, p_troubled integer) RETURNS TABLE (time_zone text, listed schedule)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT t.time_zone, l.listed FROM tenant t LEFT JOIN (
            (SELECT s FROM schedule s WHERE s.tenant_id = p_tenant AND s.state = 'pending')
            UNION ALL (SELECT s FROM schedule s
                WHERE s.tenant_id = p_tenant AND (s.state = 'missed' OR s.state = 'fired' AND s.failure IS NOT NULL)
                ORDER BY s.due_at DESC, s.id DESC LIMIT p_troubled)
        ) AS l (listed) ON true
        WHERE t.id = p_tenant
        ORDER BY (l.listed).state <> 'pending', CASE (l.listed).state WHEN 'pending' THEN (l.listed).due_at END,
            (l.listed).due_at DESC, (l.listed).id;
END $$;

-- As before; and says when it was over.
CREATE OR REPLACE FUNCTION cancel_schedule(p_tenant bigint, p_id bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    UPDATE schedule s SET state = 'cancelled', ended_at = now() WHERE s.id = p_id AND s.state = 'pending';
    RETURN (SELECT s.state FROM schedule s WHERE s.id = p_id);
END $$;

DROP FUNCTION fire_due, wake_for, say;

-- Take up to p_limit schedules that are due, with their conversations, for the rest of the transaction; those in somebody
-- else's hands are passed over: whoever waits for no lock is in no deadlock. They come without words. Whoever takes them
-- and falls silent loses them.
CREATE FUNCTION claim_due(p_limit integer) RETURNS TABLE (
    id bigint, due_at timestamptz, if_missed text, time_zone text, repeat text, wall_at timestamp, left_count integer,
    until_at timestamptz, at timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM set_config('idle_in_transaction_session_timeout', '15s', true);
    RETURN QUERY SELECT s.id, s.due_at, s.if_missed, s.time_zone, s.repeat, s.wall_at, s.left_count, s.until_at, now()
        FROM schedule s JOIN conversation c ON c.id = s.conversation_id
        WHERE s.state = 'pending' AND s.due_at <= now()
        ORDER BY s.due_at, s.id LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED;
END $$;

-- What is done with a schedule that is due: see core.firing.Firing.
CREATE TYPE firing AS (
    id bigint, happens boolean, preface text, next_due_at timestamptz, wall_at timestamp, left_count integer,
    missed integer, failure text
);

-- Let schedules that this transaction has taken happen, and set their next times; returns how many there were. A
-- message's text becomes a reply; an agent's turn begins as from a message in the inbox, under a provider_id that no
-- channel gives.
CREATE FUNCTION fire_claimed(p_firings jsonb, p_read_in_place text[]) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE v_count integer;
BEGIN
    PERFORM speak(array_agg(s.conversation_id ORDER BY s.due_at, s.id), array_agg(s.id ORDER BY s.due_at, s.id),
                  array_agg(f.preface || s.text ORDER BY s.due_at, s.id), true, p_read_in_place)
        FROM jsonb_populate_recordset(NULL::firing, p_firings) f JOIN schedule s ON s.id = f.id
        WHERE f.happens AND s.mode = 'message' AND s.state = 'pending';
    WITH due AS (
        SELECT s.id, s.conversation_id, s.times + 1 AS time, f.preface || s.text AS text,
               row_number() OVER (PARTITION BY s.conversation_id ORDER BY s.due_at, s.id) AS place
        FROM jsonb_populate_recordset(NULL::firing, p_firings) f JOIN schedule s ON s.id = f.id
        WHERE f.happens AND s.mode = 'agent_turn' AND s.state = 'pending'
    ), put AS (
        INSERT INTO inbox (conversation_id, seq, tenant_id, provider_id, text, received_at)
            SELECT c.id, c.inbox_seq + d.place, c.tenant_id, format('schedule:%s:%s', d.id, d.time), d.text, now()
            FROM due d JOIN conversation c ON c.id = d.conversation_id
    )
    UPDATE conversation c SET inbox_seq = c.inbox_seq + d.count, wake_at = coalesce(c.wake_at, now())
        FROM (SELECT conversation_id, count(*) FROM due GROUP BY conversation_id) d WHERE c.id = d.conversation_id;
    IF FOUND THEN
        NOTIFY subclaw_wake;
    END IF;
    UPDATE schedule s SET
        state = CASE WHEN f.next_due_at IS NOT NULL THEN 'pending' WHEN f.happens THEN 'fired' ELSE 'missed' END,
        due_at = coalesce(f.next_due_at, s.due_at), wall_at = coalesce(f.wall_at, s.wall_at),
        left_count = coalesce(f.left_count, s.left_count), times = s.times + f.happens::integer,
        missed = s.missed + f.missed, last_due_at = s.due_at,
        fired_at = CASE WHEN f.happens THEN clock_timestamp() ELSE s.fired_at END,
        ended_at = CASE WHEN f.next_due_at IS NULL THEN clock_timestamp() END,
        failure = coalesce(nullif(f.failure, ''), s.failure),
        failed_at = CASE WHEN f.failure <> '' THEN clock_timestamp() ELSE s.failed_at END,
        failed_due_at = CASE WHEN f.failure <> '' THEN s.due_at ELSE s.failed_due_at END,
        told_at = CASE WHEN f.failure <> '' THEN NULL ELSE s.told_at END
        FROM jsonb_populate_recordset(NULL::firing, p_firings) f WHERE s.id = f.id AND s.state = 'pending';
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

-- Say texts of schedules in conversations whose rows this transaction holds, in this order. They are sent, unless the
-- channel is one of p_read_in_place, whose replies are read from the transcript; with p_watched, what becomes of that is
-- the schedule's.
CREATE FUNCTION speak(
    p_conversations bigint[], p_schedules bigint[], p_texts text[], p_watched boolean, p_read_in_place text[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_conversations IS NULL THEN
        RETURN;
    END IF;
    WITH said AS (
        SELECT u.*, row_number() OVER (PARTITION BY u.conversation_id ORDER BY u.n) AS place
        FROM unnest(p_conversations, p_schedules, p_texts) WITH ORDINALITY AS u (conversation_id, schedule_id, text, n)
    ), written AS (
        INSERT INTO event (conversation_id, seq, tenant_id, type, body)
            SELECT c.id, c.next_seq + s.place - 1, c.tenant_id, 'reply.queued',
                   jsonb_build_object('text', s.text, 'schedule_id', s.schedule_id)
            FROM said s JOIN conversation c ON c.id = s.conversation_id
    ), sent AS (
        INSERT INTO outbox (tenant_id, conversation_id, channel, address, text, schedule_id)
            SELECT c.tenant_id, c.id, c.channel, c.address, s.text, CASE WHEN p_watched THEN s.schedule_id END
            FROM said s JOIN conversation c ON c.id = s.conversation_id
            WHERE c.channel <> ALL (p_read_in_place) ORDER BY s.n
    )
    UPDATE conversation c SET next_seq = c.next_seq + s.count
        FROM (SELECT conversation_id, count(*) FROM said GROUP BY conversation_id) s WHERE c.id = s.conversation_id;
    PERFORM pg_notify('subclaw_feed', c.channel || ' ' || c.address) FROM conversation c
        WHERE c.id = ANY (p_conversations);
    NOTIFY subclaw_outbox;
END $$;

-- A turn that a schedule began has come to nothing.
CREATE FUNCTION note_failed_turn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE schedule s SET failure = NEW.body ->> 'outcome', failed_at = clock_timestamp(), failed_due_at = s.last_due_at,
        told_at = NULL
        WHERE s.id IN (
            SELECT (e.body ->> 'schedule_id')::bigint FROM event e
            WHERE e.conversation_id = NEW.conversation_id AND e.seq < NEW.seq AND e.type = 'schedule.due'
                AND e.seq > (SELECT b.seq FROM event b WHERE b.conversation_id = NEW.conversation_id
                             AND b.seq < NEW.seq AND b.type = 'turn.started' ORDER BY b.seq DESC LIMIT 1));
    RETURN NULL;
END $$;
CREATE TRIGGER note_failed_turn AFTER INSERT ON event FOR EACH ROW
    WHEN (NEW.type = 'turn.finished' AND NEW.body ->> 'outcome' IN ('failed', 'model_failed', 'over_budget', 'stuck'))
    EXECUTE FUNCTION note_failed_turn();

-- A text did not go out, or nobody will ever know.
CREATE FUNCTION note_failed_letter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE schedule s SET failure = CASE NEW.state WHEN 'failed' THEN 'undelivered' ELSE 'unknown' END,
        failed_at = clock_timestamp(), failed_due_at = least(s.last_due_at, NEW.written_at), told_at = NULL
        WHERE s.id = NEW.schedule_id;
    RETURN NULL;
END $$;
CREATE TRIGGER note_failed_letter AFTER UPDATE OF state ON outbox FOR EACH ROW
    WHEN (NEW.schedule_id IS NOT NULL AND (NEW.state = 'failed' AND OLD.state <> 'failed'
        OR NEW.state = 'unknown' AND NEW.ask_at IS NULL AND OLD.ask_at IS NOT NULL))
    EXECUTE FUNCTION note_failed_letter();

-- Take up to p_limit schedules that failed, of the newest p_window, whose person is not told and can be: as claim_due
-- does. That is where the schedule was set; but what did not go out there is told when something goes out again or the
-- person writes, or at once in another channel of the tenant's.
CREATE FUNCTION claim_untold(p_limit integer, p_window integer) RETURNS TABLE (
    id bigint, conversation_id bigint, failed_due_at timestamptz, time_zone text, failure text, at timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM set_config('idle_in_transaction_session_timeout', '15s', true);
    RETURN QUERY
    WITH failed AS MATERIALIZED (
        SELECT s.id, s.conversation_id, s.failed_at, s.failure IN ('undelivered', 'unknown') AS cut_off FROM schedule s
        WHERE s.failed_at IS NOT NULL AND s.told_at IS NULL ORDER BY s.failed_at DESC LIMIT p_window
    ), reached AS MATERIALIZED (
        SELECT f.id, place.id AS conversation_id FROM failed f CROSS JOIN LATERAL (
            SELECT other.id FROM conversation own JOIN conversation other ON other.tenant_id = own.tenant_id
            WHERE own.id = f.conversation_id AND CASE
                WHEN NOT f.cut_off THEN other.id = own.id
                WHEN other.id <> own.id THEN other.channel <> own.channel
                ELSE EXISTS (SELECT FROM inbox i WHERE i.conversation_id = own.id AND i.seq > own.inbox_seq - 20
                             AND i.received_at > f.failed_at AND i.provider_id !~ '^(schedule|secret|account|access|site):')
                    OR EXISTS (SELECT FROM outbox o WHERE o.conversation_id = own.id
                               AND o.state IN ('sent', 'delivered') AND o.send_at > f.failed_at)
                END
            ORDER BY other.id = own.id DESC, other.next_seq DESC LIMIT 1
        ) place
    )
    SELECT s.id, r.conversation_id, s.failed_due_at, s.time_zone, s.failure, now()
        FROM reached r JOIN schedule s ON s.id = r.id JOIN conversation c ON c.id = r.conversation_id
        WHERE s.failed_at IS NOT NULL AND s.told_at IS NULL
        LIMIT p_limit FOR NO KEY UPDATE OF s, c SKIP LOCKED;
END $$;

-- Tell people of schedules that this transaction has taken, each in the conversation for it. A notice that does not go
-- out is for the operator to see.
CREATE FUNCTION tell_claimed(
    p_schedules bigint[], p_conversations bigint[], p_prefaces text[], p_read_in_place text[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM speak(array_agg(u.conversation_id ORDER BY s.failed_at, s.id), array_agg(s.id ORDER BY s.failed_at, s.id),
                  array_agg(u.preface || s.text ORDER BY s.failed_at, s.id), false, p_read_in_place)
        FROM unnest(p_schedules, p_conversations, p_prefaces) AS u (id, conversation_id, preface)
        JOIN schedule s ON s.id = u.id AND s.told_at IS NULL;
    UPDATE schedule s SET told_at = clock_timestamp() WHERE s.id = ANY (p_schedules);
END $$;

-- Remove up to p_limit schedules that have been over for so long; returns how many were.
CREATE FUNCTION purge_schedules(p_kept interval, p_limit integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE v_count integer;
BEGIN
    DELETE FROM schedule d USING (
        SELECT s.id FROM schedule s WHERE s.ended_at < now() - p_kept
        ORDER BY s.ended_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    ) over WHERE d.id = over.id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

-- As before; and a schedule that comes again is in the inbox once for each time.
CREATE OR REPLACE FUNCTION drain(v conversation, p_first bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_count bigint;
    v_notices bigint;
BEGIN
    IF v.inbox_seq = v.drained_seq THEN
        RETURN 0;
    END IF;
    INSERT INTO event (conversation_id, seq, tenant_id, at, type, body)
        SELECT v.id, p_first + i.seq - v.drained_seq - 1, v.tenant_id, i.received_at,
               CASE s.parts[1] WHEN 'schedule' THEN 'schedule.due' WHEN 'secret' THEN 'secret.set'
                   WHEN 'account' THEN 'account.lost' ELSE 'message.received' END,
               CASE
                   WHEN s.parts[1] = 'schedule' THEN
                       jsonb_build_object('text', i.text, 'schedule_id', s.parts[2]::bigint)
                   WHEN s.parts[1] IN ('secret', 'account') THEN i.text::jsonb
                   ELSE jsonb_build_object('text', i.text, 'provider_id', i.provider_id)
                        || CASE WHEN i.removed IS NULL THEN '{}' ELSE jsonb_build_object('removed', i.removed) END
               END
        FROM inbox i, regexp_match(i.provider_id, '^(schedule|secret|account):([0-9]+)(:[0-9]+)?$') AS s (parts)
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

REVOKE ALL ON FUNCTION known_schedule, remember_time_zone, set_schedule, list_schedules, claim_due, fire_claimed, speak,
    note_failed_turn, note_failed_letter, claim_untold, tell_claimed, purge_schedules FROM PUBLIC;
GRANT EXECUTE ON FUNCTION known_schedule, remember_time_zone, set_schedule, list_schedules, claim_due, fire_claimed,
    claim_untold, tell_claimed, purge_schedules TO subclaw_app;

-- What became of replies: a row for each part that is sent, receipts, and asking the provider after a crash.

-- A reply may be sent until send_until. What is unknown is asked about from ask_at on (never, if that is NULL: then it
-- stays as it is for a person to see), and keeps later replies of its conversation back until hold_until. former_ids
-- are the provider's names of tries that failed before somebody had the reply sent again.
ALTER TABLE outbox DROP CONSTRAINT outbox_state_check;
UPDATE outbox SET state = 'failed' WHERE state = 'refused';
UPDATE outbox SET state = 'unknown', owner = NULL, detail = 'it was being sent when subclaw was renewed'
    WHERE state = 'sending';
ALTER TABLE outbox
    ADD CONSTRAINT outbox_state_check
        CHECK (state IN ('queued', 'sending', 'sent', 'delivered', 'failed', 'unknown')),
    ADD COLUMN written_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN send_until timestamptz NOT NULL DEFAULT now() + interval '1 day',
    ADD COLUMN unknown_at timestamptz,
    ADD COLUMN ask_at     timestamptz,
    ADD COLUMN hold_until timestamptz,
    ADD COLUMN former_ids text[] NOT NULL DEFAULT '{}',
    DROP COLUMN provider_id;

-- One part of a reply, as it is cut and worded for sending. It is `sending` before it is sent.
CREATE TABLE outbox_part (
    outbox_id   bigint NOT NULL REFERENCES outbox ON DELETE CASCADE,
    part        integer NOT NULL CHECK (part >= 0),
    tenant_id   bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    text        text NOT NULL,
    state       text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sending', 'sent', 'delivered', 'failed')),
    begun_at    timestamptz,
    provider_id text,
    detail      text NOT NULL DEFAULT '',
    PRIMARY KEY (outbox_id, part)
);
ALTER TABLE outbox_part ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON outbox_part TO subclaw_app USING (tenant_id = current_tenant());
CREATE POLICY operator ON outbox_part FOR SELECT TO subclaw_operator USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox_part TO subclaw_app;
GRANT SELECT (outbox_id, part, tenant_id, state, begun_at, detail) ON outbox_part TO subclaw_operator;
GRANT SELECT (written_at, send_until, unknown_at, ask_at) ON outbox TO subclaw_operator;

DROP INDEX outbox_sending, outbox_undelivered;
CREATE INDEX outbox_owned ON outbox (owner) WHERE owner IS NOT NULL;
CREATE INDEX outbox_asked ON outbox (ask_at) WHERE state = 'unknown' AND ask_at IS NOT NULL;
CREATE INDEX outbox_undelivered ON outbox (id) WHERE state IN ('failed', 'unknown');

-- Messages of one conversation go out one after the other, in order; one that is unknown holds the later ones for a while.
CREATE OR REPLACE FUNCTION claim_outbox(p_worker integer, p_limit integer)
RETURNS TABLE (tenant_id bigint, id bigint) LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE outbox o SET state = 'sending', owner = p_worker, attempts = o.attempts + 1
    FROM (
        SELECT queued.id FROM outbox queued WHERE queued.state = 'queued' AND queued.send_at <= now()
            AND NOT EXISTS (SELECT FROM outbox earlier WHERE earlier.conversation_id = queued.conversation_id
                            AND earlier.id < queued.id AND (earlier.state IN ('queued', 'sending')
                                OR earlier.state = 'unknown' AND earlier.hold_until > now()))
        ORDER BY queued.send_at, queued.id LIMIT p_limit FOR UPDATE SKIP LOCKED
    ) due
    WHERE o.id = due.id RETURNING o.tenant_id, o.id
$$;

-- Take up to p_limit replies about which the provider is to be asked.
CREATE FUNCTION claim_unknown(p_worker integer, p_limit integer)
RETURNS TABLE (tenant_id bigint, id bigint) LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE outbox o SET owner = p_worker
    FROM (
        SELECT asked.id FROM outbox asked WHERE asked.state = 'unknown' AND asked.ask_at <= now() AND asked.owner IS NULL
        ORDER BY asked.ask_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    ) due
    WHERE o.id = due.id RETURNING o.tenant_id, o.id
$$;

DROP FUNCTION read_outbound, settle_outbox;

-- overtaken says whether a later reply of the conversation went out already.
CREATE FUNCTION read_outbound(p_tenant bigint, p_id bigint)
RETURNS TABLE (
    channel text, address text, text text, attempts integer, written_at timestamptz, send_until timestamptz,
    unknown_at timestamptz, overtaken boolean, parts jsonb
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT o.channel, o.address, o.text, o.attempts, o.written_at, o.send_until, o.unknown_at,
        EXISTS (SELECT FROM outbox later WHERE later.conversation_id = o.conversation_id AND later.id > o.id
                AND later.state IN ('sent', 'delivered')),
        (SELECT coalesce(jsonb_agg(jsonb_build_object('text', p.text, 'state', p.state, 'begun_at', p.begun_at)
                                   ORDER BY p.part), '[]')
         FROM outbox_part p WHERE p.outbox_id = o.id)
    FROM outbox o WHERE o.id = p_id;
END $$;

-- The provider's names of what else was sent in the conversation: none of those is the one that is looked for.
CREATE FUNCTION known_ids(p_tenant bigint, p_id bigint) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN ARRAY(
        SELECT p.provider_id FROM outbox o
            JOIN outbox other ON other.conversation_id = o.conversation_id
            JOIN outbox_part p ON p.outbox_id = other.id AND p.provider_id IS NOT NULL
            WHERE o.id = p_id AND other.send_until > o.written_at - interval '2 days'
        UNION ALL
        SELECT unnest(other.former_ids) FROM outbox o JOIN outbox other ON other.conversation_id = o.conversation_id
            WHERE o.id = p_id
    );
END $$;

-- Raise unless the worker still has this reply; otherwise hold its row until the end of the transaction.
CREATE FUNCTION hold_outbound(p_tenant bigint, p_id bigint, p_worker integer, p_state text) RETURNS outbox
LANGUAGE plpgsql AS $$
DECLARE v outbox;
BEGIN
    PERFORM be_tenant(p_tenant);
    SELECT * INTO v FROM outbox o WHERE o.id = p_id AND o.state = p_state AND o.owner = p_worker FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'lease lost' USING ERRCODE = 'SC001';
    END IF;
    RETURN v;
END $$;

-- Say that a part is about to be sent; with p_plan, also into which parts the reply is cut from now on. Returns false
-- if the part is not to be sent: a receipt came meanwhile, and whoever asks is to read again.
CREATE FUNCTION begin_part(p_tenant bigint, p_id bigint, p_worker integer, p_part integer, p_plan text[])
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE v outbox := hold_outbound(p_tenant, p_id, p_worker, 'sending');
BEGIN
    IF p_plan IS NOT NULL THEN
        IF EXISTS (SELECT FROM outbox_part p WHERE p.outbox_id = v.id AND p.state <> 'queued') THEN
            RETURN false;
        END IF;
        DELETE FROM outbox_part p WHERE p.outbox_id = v.id;
        INSERT INTO outbox_part (outbox_id, part, tenant_id, text)
            SELECT v.id, planned.n - 1, v.tenant_id, planned.text
            FROM unnest(p_plan) WITH ORDINALITY AS planned (text, n);
    END IF;
    UPDATE outbox_part p SET state = 'sending', begun_at = clock_timestamp()
        WHERE p.outbox_id = v.id AND p.part = p_part AND p.state = 'queued';
    RETURN FOUND;
END $$;

-- Say that the provider took a part. A receipt may have told more by now.
CREATE FUNCTION sent_part(p_tenant bigint, p_id bigint, p_worker integer, p_part integer, p_provider_id text)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE v outbox := hold_outbound(p_tenant, p_id, p_worker, 'sending');
BEGIN
    UPDATE outbox_part p SET provider_id = coalesce(p.provider_id, p_provider_id),
        state = CASE WHEN p.state = 'sending' THEN 'sent' ELSE p.state END
        WHERE p.outbox_id = v.id AND p.part = p_part;
END $$;

-- Bring a reply to rest. p_event is what the transcript is told, if anything.
CREATE FUNCTION end_outbound(v outbox, p_state text, p_detail text, p_event text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE v_conversation conversation;
BEGIN
    UPDATE outbox o SET state = p_state, owner = NULL, detail = p_detail, send_at = clock_timestamp(), ask_at = NULL,
        hold_until = NULL WHERE o.id = v.id;
    IF p_event IS NOT NULL THEN
        SELECT * INTO v_conversation FROM conversation c WHERE c.id = v.conversation_id FOR UPDATE;
        UPDATE conversation c SET next_seq = v_conversation.next_seq + write_events(
            v_conversation, v_conversation.next_seq, jsonb_build_array(jsonb_build_object('type', 'reply.sent',
                'body', jsonb_build_object('outbox_id', v.id, 'delivery', p_event))))
            WHERE c.id = v.conversation_id;
    END IF;
END $$;

-- Let the state of a reply follow from its parts. Nothing changes while one of them is in the air; what is missing is
-- sent; otherwise the reply is as its worst part is.
CREATE FUNCTION conclude(v outbox) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_sending bigint;
    v_queued bigint;
    v_delivered bigint;
    v_count bigint;
    v_failed outbox_part;
    v_state text;
BEGIN
    SELECT count(*) FILTER (WHERE p.state = 'sending'), count(*) FILTER (WHERE p.state = 'queued'),
           count(*) FILTER (WHERE p.state = 'delivered'), count(*)
        INTO v_sending, v_queued, v_delivered, v_count FROM outbox_part p WHERE p.outbox_id = v.id;
    IF v_sending > 0 THEN
        RETURN;
    END IF;
    IF v_queued > 0 THEN
        UPDATE outbox o SET state = 'queued', owner = NULL, send_at = clock_timestamp(), ask_at = NULL,
            hold_until = NULL WHERE o.id = v.id;
        NOTIFY subclaw_outbox;
        RETURN;
    END IF;
    SELECT * INTO v_failed FROM outbox_part p WHERE p.outbox_id = v.id AND p.state = 'failed' ORDER BY p.part LIMIT 1;
    v_state := CASE WHEN v_failed.part IS NOT NULL THEN 'failed' WHEN v_delivered = v_count THEN 'delivered'
                    ELSE 'sent' END;
    PERFORM end_outbound(v, v_state,
        coalesce(CASE WHEN v_count > 1 THEN format('part %s of %s: ', v_failed.part + 1, v_count) ELSE '' END
                 || v_failed.detail, ''),
        CASE WHEN v.state = 'sent' AND v_state <> 'failed' THEN NULL WHEN v_state = 'delivered' THEN 'sent'
             ELSE v_state END);
END $$;

-- Record what became of a try: `sent` (p_part was the last), `queued` (to be tried again after p_delay), `failed` for
-- good, or `unknown` (the provider is asked after p_delay).
CREATE FUNCTION settle_outbox(
    p_tenant bigint, p_id bigint, p_worker integer, p_state text, p_part integer, p_provider_id text, p_detail text,
    p_delay interval, p_hold interval
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE v outbox := hold_outbound(p_tenant, p_id, p_worker, 'sending');
BEGIN
    IF p_state = 'sent' THEN
        PERFORM sent_part(p_tenant, p_id, p_worker, p_part, p_provider_id);
        PERFORM conclude(v);
        RETURN;
    END IF;
    IF p_state = 'unknown' THEN
        UPDATE outbox o SET state = 'unknown', owner = NULL, detail = p_detail, unknown_at = clock_timestamp(),
            ask_at = clock_timestamp() + p_delay, hold_until = clock_timestamp() + p_hold WHERE o.id = v.id;
        PERFORM conclude(v);
        RETURN;
    END IF;
    UPDATE outbox_part p SET state = 'queued' WHERE p.outbox_id = v.id AND p.part = p_part AND p.state = 'sending';
    IF p_state = 'queued' THEN
        UPDATE outbox o SET state = 'queued', owner = NULL, detail = p_detail, send_at = clock_timestamp() + p_delay
            WHERE o.id = v.id;
    ELSE
        PERFORM end_outbound(v, p_state, p_detail, p_state);
    END IF;
END $$;

-- Record what the provider answered about a part: its state; `queued` if it certainly never got it, so that it is sent
-- again after p_delay; or `unknown`, so that it is asked again after p_delay. Without one, nobody will ever know.
CREATE FUNCTION settle_unknown(
    p_tenant bigint, p_id bigint, p_worker integer, p_part integer, p_state text, p_provider_id text, p_detail text,
    p_delay interval
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE v outbox := hold_outbound(p_tenant, p_id, p_worker, 'unknown');
BEGIN
    IF p_state = 'unknown' AND p_delay IS NULL THEN
        PERFORM end_outbound(v, 'unknown', p_detail, 'unknown');
        RETURN;
    END IF;
    PERFORM FROM conversation c WHERE c.id = v.conversation_id FOR UPDATE;
    -- Two that ask at once about the same words may be shown the same message; only one of them can have it.
    IF p_state = 'unknown' OR p_provider_id = ANY (known_ids(p_tenant, p_id)) THEN
        UPDATE outbox o SET owner = NULL, detail = p_detail,
            ask_at = clock_timestamp() + coalesce(p_delay, interval '1 second') WHERE o.id = v.id;
        PERFORM conclude(v);
        RETURN;
    END IF;
    UPDATE outbox_part p SET state = p_state, provider_id = p_provider_id, detail = p_detail
        WHERE p.outbox_id = v.id AND p.part = p_part AND p.state = 'sending';
    PERFORM conclude(v);
    IF p_state = 'queued' THEN
        UPDATE outbox o SET send_at = clock_timestamp() + p_delay WHERE o.id = v.id;
    END IF;
END $$;

-- A receipt of the provider's. It may come before the answer to the request that it is about, in any order, and twice:
-- a part only ever goes on, from sending to sent to delivered or failed.
CREATE FUNCTION report_outbox(
    p_tenant bigint, p_id bigint, p_part integer, p_provider_id text, p_state text, p_detail text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE v outbox;
BEGIN
    PERFORM be_tenant(p_tenant);
    SELECT * INTO v FROM outbox o WHERE o.id = p_id FOR UPDATE;
    UPDATE outbox_part p SET state = p_state, provider_id = p_provider_id, detail = p_detail
        WHERE p.outbox_id = v.id AND p.part = p_part AND coalesce(p.provider_id, p_provider_id) = p_provider_id
            AND p_provider_id <> ALL (v.former_ids)
            AND (p.state IN ('queued', 'sending') OR p.state = 'sent' AND p_state <> 'sent');
    IF FOUND AND v.state IN ('sent', 'unknown') THEN
        PERFORM conclude(v);
    END IF;
END $$;

-- Free what dead senders had. If none of a reply's parts was in the air, nothing about it is unknown.
CREATE FUNCTION reap_outbox(p_class integer, p_delay interval, p_hold interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_count integer;
    v_live integer[];
BEGIN
    IF NOT EXISTS (SELECT FROM outbox WHERE owner IS NOT NULL) THEN
        RETURN 0;
    END IF;
    v_live := ARRAY(SELECT objid::bigint::integer FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND classid::bigint = p_class AND database = (SELECT oid FROM pg_database WHERE datname = current_database()));
    UPDATE outbox SET owner = NULL WHERE state = 'unknown' AND owner IS NOT NULL AND owner <> ALL (v_live);
    UPDATE outbox SET state = 'queued', owner = NULL, send_at = now()
        WHERE state = 'sending' AND owner <> ALL (v_live)
            AND NOT EXISTS (SELECT FROM outbox_part p WHERE p.outbox_id = outbox.id AND p.state = 'sending');
    UPDATE outbox SET state = 'unknown', owner = NULL, detail = 'the sender died in the middle of sending',
        unknown_at = now(), ask_at = now() + p_delay, hold_until = now() + p_hold
        WHERE state = 'sending' AND owner <> ALL (v_live);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

-- As before, for conversations alone: the outbox has a reaper of its own.
CREATE OR REPLACE FUNCTION reap(p_class integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    v_count integer;
    v_live integer[];
BEGIN
    IF NOT EXISTS (SELECT FROM conversation WHERE owner IS NOT NULL) THEN
        RETURN 0;
    END IF;
    v_live := ARRAY(SELECT objid::bigint::integer FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND classid::bigint = p_class AND database = (SELECT oid FROM pg_database WHERE datname = current_database()));
    UPDATE conversation SET owner = NULL, epoch = epoch + 1, wake_at = now(), failures = failures + turn_open::integer
        WHERE owner IS NOT NULL AND owner <> ALL (v_live);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF v_count > 0 THEN
        NOTIFY subclaw_wake;
    END IF;
    RETURN v_count;
END $$;

-- The operator has a reply that did not go out sent again, for another day. Parts that did are left as they are.
-- Returns whether there was something to do.
CREATE FUNCTION retry_outbox(p_id bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE outbox o SET state = 'queued', attempts = 0, send_at = now(), ask_at = NULL, hold_until = NULL,
        send_until = greatest(o.send_until, now() + interval '1 day'),
        former_ids = o.former_ids || ARRAY(SELECT p.provider_id FROM outbox_part p
            WHERE p.outbox_id = o.id AND p.state = 'failed' AND p.provider_id IS NOT NULL)
        WHERE o.id = p_id AND o.owner IS NULL AND o.state IN ('queued', 'failed', 'unknown');
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE outbox_part p SET state = 'queued', provider_id = NULL, detail = ''
        WHERE p.outbox_id = p_id AND p.state IN ('sending', 'failed');
    NOTIFY subclaw_outbox;
    RETURN true;
END $$;

-- The operator gives a reply up. Returns whether there was one that could be.
CREATE FUNCTION drop_outbox(p_id bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM outbox o WHERE o.id = p_id AND o.owner IS NULL AND o.state IN ('queued', 'failed', 'unknown');
    IF FOUND THEN
        NOTIFY subclaw_outbox;
        RETURN true;
    END IF;
    RETURN false;
END $$;

REVOKE ALL ON FUNCTION claim_unknown, read_outbound, known_ids, hold_outbound, begin_part, sent_part, end_outbound,
    conclude, settle_outbox, settle_unknown, report_outbox, reap_outbox, retry_outbox, drop_outbox FROM PUBLIC;
GRANT EXECUTE ON FUNCTION claim_unknown, read_outbound, known_ids, hold_outbound, begin_part, sent_part, end_outbound,
    conclude, settle_outbox, settle_unknown, report_outbox, reap_outbox TO subclaw_app;
GRANT EXECUTE ON FUNCTION retry_outbox, drop_outbox TO subclaw_operator;

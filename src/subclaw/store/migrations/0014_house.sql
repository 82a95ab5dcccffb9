-- Houses: what was last seen of the files by which a tenant makes its agent its own, and what waits to be put into its
-- machine. A default that is as it was laid has no row here.

-- model is the one that a tenant's agent has instead of the operator's (provider:model); time_zone is an IANA name.
ALTER TABLE tenant ADD COLUMN model text CHECK (length(model) BETWEEN 3 AND 200),
    ADD COLUMN time_zone text CHECK (length(time_zone) BETWEEN 1 AND 64);
GRANT UPDATE (time_zone) ON tenant TO subclaw_app;
GRANT UPDATE (model, time_zone) ON tenant TO subclaw_operator;

-- revision counts changes that a turn could see; laid has the fingerprints of the defaults that were laid in the machine,
-- by path, shown those of defaults that the tenant was shown; note is the host's, of when the machine was last put to
-- sleep.
CREATE TABLE house (
    tenant_id bigint PRIMARY KEY REFERENCES tenant ON DELETE CASCADE,
    revision  bigint NOT NULL DEFAULT 1,
    laid      jsonb NOT NULL DEFAULT '{}',
    shown     jsonb NOT NULL DEFAULT '{}',
    note      text NOT NULL DEFAULT ''
);

-- content is NULL for a file that is not there or, with a problem, cannot be used; served is the last version that could
-- be. A row that is waiting is not in the machine yet.
CREATE TABLE house_file (
    tenant_id  bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    path       text NOT NULL CHECK (length(path) BETWEEN 1 AND 200),
    content    bytea,
    problem    text NOT NULL DEFAULT '',
    served     bytea,
    is_waiting boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, path)
);

-- What a house was when a checkpoint of the machine's disk was made: its files' columns, each as an array.
CREATE TABLE house_checkpoint (
    tenant_id  bigint NOT NULL REFERENCES tenant ON DELETE CASCADE,
    label      text NOT NULL,
    number     bigint GENERATED ALWAYS AS IDENTITY,
    laid       jsonb NOT NULL,
    paths      text[] NOT NULL,
    contents   bytea[] NOT NULL,
    problems   text[] NOT NULL,
    served     bytea[] NOT NULL,
    are_waiting boolean[] NOT NULL,
    PRIMARY KEY (tenant_id, label)
);

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['house', 'house_file', 'house_checkpoint'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own ON %I TO subclaw_app USING (tenant_id = current_tenant())', name);
    END LOOP;
END $$;
GRANT SELECT ON house, house_file TO subclaw_app;
GRANT UPDATE (shown) ON house TO subclaw_app;
GRANT UPDATE (served) ON house_file TO subclaw_app;
-- To lock the row, which is all that this allows for.
GRANT UPDATE (tenant_id) ON house TO subclaw_app;

CREATE FUNCTION read_house(p_tenant bigint)
RETURNS TABLE (path text, content bytea, problem text, served bytea, is_waiting boolean) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT f.path, f.content, f.problem, f.served, f.is_waiting FROM house_file f
        WHERE f.tenant_id = p_tenant ORDER BY f.path;
END $$;

CREATE FUNCTION house_revision(p_tenant bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN (SELECT h.revision FROM house h WHERE h.tenant_id = p_tenant);
END $$;

CREATE FUNCTION read_marks(p_tenant bigint) RETURNS TABLE (laid jsonb, shown jsonb) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    RETURN QUERY SELECT h.laid, h.shown FROM house h WHERE h.tenant_id = p_tenant;
END $$;

-- Note the fingerprints of defaults that a tenant was shown beside its own files.
CREATE FUNCTION note_shown(p_tenant bigint, p_shown jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    UPDATE house h SET shown = h.shown || p_shown WHERE h.tenant_id = p_tenant;
END $$;

-- Have the present content of these paths be the last that could be used, unless something has changed since.
CREATE FUNCTION serve_house(p_tenant bigint, p_revision bigint, p_paths text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM be_tenant(p_tenant);
    PERFORM FROM house h WHERE h.tenant_id = p_tenant AND h.revision = p_revision FOR SHARE;
    IF FOUND THEN
        UPDATE house_file f SET served = f.content
            WHERE f.tenant_id = p_tenant AND f.path = ANY (p_paths) AND f.content IS NOT NULL
                AND f.served IS DISTINCT FROM f.content;
    END IF;
END $$;

-- Return a house's row and hold it until the end of the transaction; NULLs if there is no such tenant. The tenant's row
-- comes first, as it does when a tenant is deleted.
CREATE FUNCTION hold_house(p_tenant bigint) RETURNS house LANGUAGE plpgsql AS $$
DECLARE v house;
BEGIN
    PERFORM FROM tenant t WHERE t.id = p_tenant FOR KEY SHARE;
    IF FOUND THEN
        INSERT INTO house (tenant_id) VALUES (p_tenant) ON CONFLICT DO NOTHING;
        SELECT * INTO v FROM house h WHERE h.tenant_id = p_tenant FOR UPDATE;
    END IF;
    RETURN v;
END $$;

-- What a machine is to be given at its start. For one that is new, everything that can be used waits from now on, and only
-- those defaults count as laid that the tenant has touched or removed.
CREATE FUNCTION owed_house(p_tenant bigint, p_is_new boolean)
RETURNS TABLE (laid jsonb, note text, paths text[], contents bytea[]) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    IF p_is_new AND EXISTS (SELECT FROM house h WHERE h.tenant_id = p_tenant) THEN
        PERFORM hold_house(p_tenant);
        DELETE FROM house_file f WHERE f.tenant_id = p_tenant AND f.problem <> '' AND f.served IS NULL;
        UPDATE house_file f SET is_waiting = true, problem = '',
                content = CASE WHEN f.problem = '' THEN f.content ELSE f.served END
            WHERE f.tenant_id = p_tenant AND NOT f.is_waiting;
        UPDATE house h SET revision = h.revision + 1, note = '', laid = (
                SELECT coalesce(jsonb_object_agg(l.key, l.value), '{}') FROM jsonb_each(h.laid) l
                WHERE EXISTS (SELECT FROM house_file f WHERE f.tenant_id = p_tenant AND f.path = l.key))
            WHERE h.tenant_id = p_tenant;
    END IF;
    RETURN QUERY SELECT h.laid, h.note, coalesce(array_agg(f.path ORDER BY f.path) FILTER (WHERE f.path IS NOT NULL), '{}'),
            coalesce(array_agg(f.content ORDER BY f.path) FILTER (WHERE f.path IS NOT NULL), '{}')
        FROM house h LEFT JOIN house_file f ON f.tenant_id = h.tenant_id AND f.is_waiting
        WHERE h.tenant_id = p_tenant GROUP BY h.tenant_id;
END $$;

-- Say what is in a machine. What waits there goes on waiting, but for what is settled: fingerprints by path.
CREATE FUNCTION keep_house(
    p_tenant bigint, p_laid jsonb, p_paths text[], p_contents bytea[], p_problems text[], p_settled jsonb
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v house := hold_house(p_tenant);
    v_settled integer;
    v_removed integer;
    v_changed integer;
BEGIN
    IF v.tenant_id IS NULL THEN
        RETURN;
    END IF;
    UPDATE house_file f SET is_waiting = false
        WHERE f.tenant_id = p_tenant AND f.is_waiting
            AND p_settled ->> f.path = coalesce(encode(sha256(f.content), 'hex'), '');
    GET DIAGNOSTICS v_settled = ROW_COUNT;
    DELETE FROM house_file f WHERE f.tenant_id = p_tenant AND f.path <> ALL (p_paths) AND NOT f.is_waiting;
    GET DIAGNOSTICS v_removed = ROW_COUNT;
    INSERT INTO house_file AS f (tenant_id, path, content, problem)
        SELECT p_tenant, seen.path, seen.content, seen.problem
        FROM unnest(p_paths, p_contents, p_problems) AS seen (path, content, problem)
        ON CONFLICT (tenant_id, path) DO UPDATE
            SET content = excluded.content, problem = excluded.problem
            WHERE NOT f.is_waiting AND (f.content, f.problem) IS DISTINCT FROM (excluded.content, excluded.problem);
    GET DIAGNOSTICS v_changed = ROW_COUNT;
    UPDATE house h SET laid = p_laid, revision = h.revision + 1
        WHERE h.tenant_id = p_tenant AND (v_settled + v_removed + v_changed > 0 OR h.laid <> p_laid);
END $$;

CREATE FUNCTION rest_house(p_tenant bigint, p_note text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE v house := hold_house(p_tenant);
BEGIN
    UPDATE house h SET note = p_note WHERE h.tenant_id = v.tenant_id;
END $$;

-- Have a file, or its removal, wait for the next start. Returns whether there was room. Removals take room too, twice as
-- much of which there is, so that a full house can be emptied.
CREATE FUNCTION write_house(p_tenant bigint, p_path text, p_content bytea, p_files integer, p_bytes bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v house := hold_house(p_tenant);
    v_has_room boolean;
BEGIN
    SELECT count(*) < 2 * p_files AND (p_content IS NULL OR (
            count(f.content) < p_files AND coalesce(sum(length(f.content)), 0) + length(p_content) <= p_bytes))
        INTO v_has_room FROM house_file f WHERE f.tenant_id = p_tenant AND f.path <> p_path;
    IF v.tenant_id IS NULL OR NOT v_has_room THEN
        RETURN v.tenant_id IS NULL;
    END IF;
    INSERT INTO house_file AS f (tenant_id, path, content, is_waiting) VALUES (p_tenant, p_path, p_content, true)
        ON CONFLICT (tenant_id, path) DO UPDATE SET content = excluded.content, problem = '', is_waiting = true;
    UPDATE house h SET revision = h.revision + 1 WHERE h.tenant_id = p_tenant;
    RETURN true;
END $$;

-- Keep what a house is now beside a checkpoint of the disk, and forget the oldest of more than a few.
CREATE FUNCTION keep_house_checkpoint(p_tenant bigint, p_label text, p_kept integer) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE v house := hold_house(p_tenant);
BEGIN
    IF v.tenant_id IS NULL THEN
        RETURN;
    END IF;
    DELETE FROM house_checkpoint c WHERE c.tenant_id = p_tenant AND c.label = p_label;
    INSERT INTO house_checkpoint (tenant_id, label, laid, paths, contents, problems, served, are_waiting)
        SELECT p_tenant, p_label, v.laid, coalesce(array_agg(f.path), '{}'), coalesce(array_agg(f.content), '{}'),
            coalesce(array_agg(f.problem), '{}'), coalesce(array_agg(f.served), '{}'),
            coalesce(array_agg(f.is_waiting), '{}')
        FROM house_file f WHERE f.tenant_id = p_tenant;
    DELETE FROM house_checkpoint c WHERE c.tenant_id = p_tenant AND c.number NOT IN (
        SELECT newest.number FROM house_checkpoint newest WHERE newest.tenant_id = p_tenant
        ORDER BY newest.number DESC LIMIT p_kept);
END $$;

-- Make a house what it was at a checkpoint, if that is known, and keep what it was until now under p_before. The
-- checkpoint and all since are forgotten, as they are of the disk. The host's note is void in any case.
CREATE FUNCTION roll_back_house(p_tenant bigint, p_label text, p_before text, p_kept integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v house := hold_house(p_tenant);
    v_was house_checkpoint;
BEGIN
    UPDATE house h SET note = '' WHERE h.tenant_id = v.tenant_id;
    SELECT * INTO v_was FROM house_checkpoint c WHERE c.tenant_id = p_tenant AND c.label = p_label;
    IF v_was.tenant_id IS NULL THEN
        RETURN;
    END IF;
    DELETE FROM house_checkpoint c WHERE c.tenant_id = p_tenant AND c.number >= v_was.number;
    PERFORM keep_house_checkpoint(p_tenant, p_before, p_kept);
    DELETE FROM house_file f WHERE f.tenant_id = p_tenant;
    INSERT INTO house_file (tenant_id, path, content, problem, served, is_waiting)
        SELECT p_tenant, f.* FROM unnest(v_was.paths, v_was.contents, v_was.problems, v_was.served, v_was.are_waiting) f;
    UPDATE house h SET laid = v_was.laid, revision = h.revision + 1 WHERE h.tenant_id = p_tenant;
END $$;

REVOKE ALL ON FUNCTION read_house, house_revision, read_marks, note_shown, serve_house, hold_house, owed_house,
    keep_house, rest_house, write_house, keep_house_checkpoint, roll_back_house FROM PUBLIC;
GRANT EXECUTE ON FUNCTION read_house, house_revision, read_marks, note_shown, serve_house TO subclaw_app;
GRANT EXECUTE ON FUNCTION owed_house, keep_house, rest_house, write_house, keep_house_checkpoint, roll_back_house
    TO subclaw_host;

-- As before; and says what a turn needs to know of its tenant.
DROP FUNCTION open_turn(bigint, bigint, bigint);
CREATE FUNCTION open_turn(p_tenant bigint, p_conversation bigint, p_epoch bigint)
RETURNS TABLE (
    name text, channel text, address text, failures integer, resumed boolean, age_s double precision,
    model text, time_zone text, house_revision bigint, is_awake boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v conversation := hold(p_tenant, p_conversation, p_epoch);
    v_next bigint := v.next_seq;
BEGIN
    -- A crash of the database may forget this as long as nothing follows from it: the inbox has it still.
    PERFORM set_config('synchronous_commit', 'off', true);
    IF NOT v.turn_open AND v.inbox_seq > v.drained_seq THEN
        v_next := v_next + write_events(v, v_next, '[{"type": "turn.started", "body": {}}]');
        v_next := v_next + drain(v, v_next);
        UPDATE conversation c SET next_seq = v_next, drained_seq = v.inbox_seq, turn_open = true WHERE c.id = v.id;
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
REVOKE ALL ON FUNCTION open_turn FROM PUBLIC;
GRANT EXECUTE ON FUNCTION open_turn TO subclaw_app;

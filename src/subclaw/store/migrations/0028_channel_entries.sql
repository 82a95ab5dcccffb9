-- What channels keep for themselves, which is nobody's but the operator's: where they are in a provider's stream, keys of
-- their devices, which they seal. What is gone stays as a row without a value, so that all who had it learn of it.
CREATE TABLE channel_entry (
    channel text NOT NULL,
    name    text NOT NULL CHECK (length(name) <= 1000),
    value   bytea CHECK (length(value) <= 4000000),
    version bigint NOT NULL,
    at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (channel, name)
);
CREATE INDEX channel_entry_version ON channel_entry (channel, version);
GRANT SELECT, INSERT, UPDATE, DELETE ON channel_entry TO subclaw_app;

-- Writes entries, and returns the version, or null if another one stands than is expected. What has been gone for a week is
-- forgotten: nobody lives as long without having read it.
CREATE FUNCTION write_channel_entries(p_channel text, p_names text[], p_values bytea[], p_expected bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE v_version bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('channel entries ' || p_channel, 0));
    SELECT coalesce(max(e.version), 0) INTO v_version FROM channel_entry e WHERE e.channel = p_channel;
    IF p_expected <> v_version THEN
        RETURN NULL;
    END IF;
    DELETE FROM channel_entry e
        WHERE e.channel = p_channel AND e.value IS NULL AND e.at < now() - interval '7 days' AND e.version < v_version;
    INSERT INTO channel_entry (channel, name, value, version)
        SELECT p_channel, n.name, n.value, v_version + 1 FROM unnest(p_names, p_values) AS n (name, value)
        ON CONFLICT (channel, name) DO UPDATE SET value = EXCLUDED.value, version = EXCLUDED.version, at = now();
    RETURN v_version + 1;
END $$;

REVOKE ALL ON FUNCTION write_channel_entries FROM PUBLIC;
GRANT EXECUTE ON FUNCTION write_channel_entries TO subclaw_app;

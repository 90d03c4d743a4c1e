"""The SQL of the publication, in the order in which `publish.py` runs it.

Every statement is set-based and may run again: what is there already stays as it is, and content
of an older pull never overwrites that of a newer one. `%(good)s` are the days that passed.
"""

GOOD_DAYS = """
SELECT day FROM verdicts
WHERE run_id = %(run_id)s AND day = ANY(%(days)s)
GROUP BY day
HAVING count(*) = %(endpoints)s AND bool_and(cardinality(failed) = 0)
ORDER BY day
"""

# The rows of this run that may be published: dealt to a good day, or named by a listen of one,
# whatever their own day. In two parts: under an OR the planner cannot join, and may scan all
# listens for each row.
_BELIEVED = """
CREATE TEMPORARY TABLE {believed} ON COMMIT DROP AS
SELECT DISTINCT ON (id) *
FROM (SELECT * FROM {staged} WHERE run_id = %(run_id)s AND day = ANY(%(good)s)
      UNION ALL
      SELECT * FROM {staged} s
      WHERE run_id = %(run_id)s AND (day = ANY(%(good)s)) IS NOT TRUE AND EXISTS (
          SELECT FROM staged_listens l
          WHERE l.run_id = %(run_id)s AND l.day = ANY(%(good)s) AND l.{reference} = s.id)
     ) AS candidates
ORDER BY id, pull DESC
"""

BELIEVED_TRACKS = _BELIEVED.format(
    believed="believed_tracks", staged="staged_tracks", reference="track_id"
)
BELIEVED_USERS = _BELIEVED.format(
    believed="believed_users", staged="staged_users", reference="user_id"
)

# Staged genre lists are folded and joined by commas: see `stage.folded_genres`. A name that is too
# long for the index on it would fail the publication of all days: the contract takes none since it
# says so (200 characters, 800 bytes at most), and what lakes hold of before is left out.
_LONGEST_GENRE = 1_000  # bytes

GENRES = f"""
INSERT INTO genres (name)
SELECT DISTINCT part
FROM (SELECT genres AS listed FROM believed_tracks
      UNION ALL SELECT favorite_genres FROM believed_users) AS stated,
     string_to_table(listed, ',') AS part
WHERE part <> '' AND octet_length(part) <= {_LONGEST_GENRE}
  AND NOT EXISTS (SELECT FROM genres g WHERE g.name = part)
ORDER BY part
ON CONFLICT (name) DO NOTHING
RETURNING id
"""  # noqa: S608 - our own text

OVERLONG_GENRES = f"""
SELECT count(*)
FROM (SELECT genres AS listed FROM believed_tracks
      UNION ALL SELECT favorite_genres FROM believed_users) AS stated,
     string_to_table(listed, ',') AS part
WHERE octet_length(listed) > {_LONGEST_GENRE} AND octet_length(part) > {_LONGEST_GENRE}
"""  # noqa: S608 - our own text

# A genre that only replaced contents named is nobody's; left there, the table would tell in
# which order days were loaded.
UNNAMED_GENRES = """
DELETE FROM genres g
WHERE NOT EXISTS (SELECT FROM track_genres t WHERE t.genre_id = g.id)
  AND NOT EXISTS (SELECT FROM user_favorite_genres u WHERE u.genre_id = g.id)
RETURNING id
"""

# A duration that did not parse blocks its day. Where the track comes along with a listen of another
# day, or the verdict was accepted, it is not loaded, and its listens wait for it in quarantine.
TRACKS = """
INSERT INTO tracks AS t
       (id, name, artist, songwriters, duration, album, created_at, updated_at, pull)
SELECT id, name, artist, songwriters, make_interval(secs => duration_seconds), album,
       created_at, updated_at, pull
FROM believed_tracks
WHERE duration_seconds IS NOT NULL
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, artist = excluded.artist, songwriters = excluded.songwriters,
    duration = excluded.duration, album = excluded.album, created_at = excluded.created_at,
    updated_at = excluded.updated_at, pull = excluded.pull
WHERE t.pull < excluded.pull
RETURNING (xmax = 0) AS inserted
"""

USERS = """
INSERT INTO users AS u
       (id, first_name, last_name, email, gender, created_at, updated_at, pull)
SELECT id, first_name, last_name, email, gender, created_at, updated_at, pull
FROM believed_users
ON CONFLICT (id) DO UPDATE
SET first_name = excluded.first_name, last_name = excluded.last_name, email = excluded.email,
    gender = excluded.gender, created_at = excluded.created_at,
    updated_at = excluded.updated_at, pull = excluded.pull
WHERE u.pull < excluded.pull
RETURNING (xmax = 0) AS inserted
"""

# The genres of those rows whose content is now the table's, in two steps: take, then give.
LINKS = """
CREATE TEMPORARY TABLE {links} ON COMMIT DROP AS
SELECT DISTINCT b.id AS {owner_id}, g.id AS genre_id
FROM {believed} b
JOIN {owner} o ON o.id = b.id AND o.pull = b.pull,
     string_to_table(b.{listed}, ',') AS part
JOIN genres g ON g.name = part
"""

UNLINK = """
DELETE FROM {table} x
USING {believed} b JOIN {owner} o ON o.id = b.id AND o.pull = b.pull
WHERE x.{owner_id} = b.id
  AND NOT EXISTS (SELECT FROM {links} l
                  WHERE l.{owner_id} = x.{owner_id} AND l.genre_id = x.genre_id)
"""

LINK = """
INSERT INTO {table} ({owner_id}, genre_id)
SELECT {owner_id}, genre_id FROM {links}
ON CONFLICT DO NOTHING
"""

TRACK_LINKS = {
    "table": "track_genres",
    "links": "track_links",
    "owner": "tracks",
    "owner_id": "track_id",
    "believed": "believed_tracks",
    "listed": "genres",
}
USER_LINKS = {
    "table": "user_favorite_genres",
    "links": "user_links",
    "owner": "users",
    "owner_id": "user_id",
    "believed": "believed_users",
    "listed": "favorite_genres",
}

# What was told and pulled may be staged twice, with two days. The pulled row stands for both; but
# where its day is blocked, the other one is published alone.
TOLD_TWINS = """
DELETE FROM staged_listens t USING staged_listens l
WHERE t.run_id = %(run_id)s AND t.day = ANY(%(good)s) AND t.told
  AND l.run_id = %(run_id)s AND l.day = ANY(%(good)s) AND NOT l.told
  AND l.user_id = t.user_id AND l.recorded_at = t.recorded_at
  AND l.track_id = t.track_id AND l.nth = t.nth
"""

KNOWN_LISTENS = """
SELECT count(*)
FROM staged_listens l
JOIN listen_history h
  ON h.user_id = l.user_id AND h.recorded_at = l.recorded_at
 AND h.track_id = l.track_id AND h.nth = l.nth
WHERE l.run_id = %(run_id)s AND l.day = ANY(%(good)s)
"""

# The app tells of a play before any pull does: so its moment is the one that counts, whichever
# of the two is loaded first.
LISTENS = """
INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth, told)
SELECT l.user_id, l.track_id, coalesce(a.listened_at, l.listened_at), l.recorded_at, l.nth,
       a.user_id IS NOT NULL
FROM staged_listens l
LEFT JOIN activity a
  ON a.user_id = l.user_id AND a.recorded_at = l.recorded_at
 AND a.track_id = l.track_id AND a.nth = l.nth
WHERE l.run_id = %(run_id)s AND l.day = ANY(%(good)s)
  AND EXISTS (SELECT FROM users u WHERE u.id = l.user_id)
  AND EXISTS (SELECT FROM tracks t WHERE t.id = l.track_id)
ON CONFLICT ON CONSTRAINT uq_listen_history_natural DO NOTHING
"""

# One listen as it waits in quarantine. Of the same play always the same, whoever brought it.
LISTEN_PAYLOAD = """convert_to(json_build_object(
    'user_id', {row}.user_id, 'track_id', {row}.track_id, 'listened_at', {at},
    'recorded_at', {row}.recorded_at, 'nth', {row}.nth)::text, 'UTF8')"""

UNRESOLVED_LISTENS = f"""
INSERT INTO quarantine AS q (endpoint, sha256, payload, day, pull, reason, field, key)
SELECT 'listens', sha256(payload), payload, day, pull,
       CASE WHEN field = 'user_id' THEN 'Unknown user' ELSE 'Unknown track' END, field, key
FROM (SELECT l.day, l.pull,
             l.user_id || ' ' || (extract(epoch FROM l.recorded_at) * 1000000)::bigint AS key,
             CASE WHEN u.id IS NULL THEN 'user_id' ELSE 'track_id' END AS field,
             {LISTEN_PAYLOAD.format(row="l", at="coalesce(a.listened_at, l.listened_at)")}
                 AS payload
      FROM staged_listens l
      LEFT JOIN activity a
        ON a.user_id = l.user_id AND a.recorded_at = l.recorded_at
       AND a.track_id = l.track_id AND a.nth = l.nth
      LEFT JOIN users u ON u.id = l.user_id
      LEFT JOIN tracks t ON t.id = l.track_id
      WHERE l.run_id = %(run_id)s AND l.day = ANY(%(good)s)
        AND (u.id IS NULL OR t.id IS NULL)) AS unresolved
ON CONFLICT (endpoint, sha256) DO UPDATE
SET last_tried = now(), resolved_at = NULL, reason = excluded.reason, field = excluded.field
"""  # noqa: S608 - our own text

# Listens whose user or track has arrived since; by natural key, so that a replay loads once.
REPLAY = """
WITH waiting AS (
    SELECT sha256, (convert_from(payload, 'UTF8'))::json AS listen
    FROM quarantine WHERE endpoint = 'listens' AND resolved_at IS NULL
), arrived AS (
    SELECT w.sha256, u.id AS user_id, t.id AS track_id,
           coalesce(a.listened_at, (w.listen ->> 'listened_at')::timestamp) AS listened_at,
           (w.listen ->> 'recorded_at')::timestamp AS recorded_at,
           (w.listen ->> 'nth')::smallint AS nth,
           a.user_id IS NOT NULL AS told
    FROM waiting w
    JOIN users u ON u.id = (w.listen ->> 'user_id')::bigint
    JOIN tracks t ON t.id = (w.listen ->> 'track_id')::bigint
    LEFT JOIN activity a
      ON a.user_id = u.id AND a.recorded_at = (w.listen ->> 'recorded_at')::timestamp
     AND a.track_id = t.id AND a.nth = (w.listen ->> 'nth')::smallint
), loaded AS (
    INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth, told)
    SELECT user_id, track_id, listened_at, recorded_at, nth, told FROM arrived
    ON CONFLICT ON CONSTRAINT uq_listen_history_natural DO NOTHING
    RETURNING 1
), resolved AS (
    UPDATE quarantine q SET resolved_at = now(), last_tried = now()
    FROM arrived a WHERE q.endpoint = 'listens' AND q.sha256 = a.sha256
)
SELECT count(*) FROM loaded
"""

# The newest pull that holds it so decides: it may have been mended in between, and broken again to
# the same bytes. Whether a later one has mended it is told by `quarantine.resolve_mended`.
REJECTED = """
INSERT INTO quarantine AS q (endpoint, sha256, payload, day, pull, reason, field, key)
VALUES (%(endpoint)s, %(sha256)s, %(payload)s, %(day)s, %(pull)s, %(reason)s, %(field)s, %(key)s)
ON CONFLICT (endpoint, sha256) DO UPDATE
SET last_tried = now(), key = excluded.key,
    resolved_at = CASE WHEN q.pull < excluded.pull THEN NULL ELSE q.resolved_at END,
    day = CASE WHEN q.pull < excluded.pull THEN excluded.day ELSE q.day END,
    pull = greatest(q.pull, excluded.pull)
"""

# Tracks and users that the newest pull did not see any more, and those that came back. A
# publication that comes late, with an older pull than one before it, changes nothing.
GONE = "CREATE TEMPORARY TABLE gone_{table} (id bigint, since timestamp) ON COMMIT DROP"

# A sum does not depend on the order of rows.
MISSING = """
SELECT count(*), count(g.id),
       count(g.id) || ':' || coalesce(sum(hashint8extended(g.id, 0)::numeric), 0)
FROM {table} x LEFT JOIN gone_{table} g ON g.id = x.id
WHERE x.withdrawn_at IS NULL
"""

WITHDRAW = """
UPDATE {table} x SET withdrawn_at = g.since
FROM {table} y LEFT JOIN gone_{table} g ON g.id = y.id
WHERE x.id = y.id AND x.withdrawn_at IS DISTINCT FROM g.since
  AND NOT EXISTS (SELECT FROM published_days WHERE pull > %(pull)s)
"""

# Before the staged rows are loaded and removed; a silent day has none.
DAY_LISTENS = """
SELECT day, count(l.day)
FROM unnest(%(good)s::date[]) AS good (day)
LEFT JOIN (SELECT day FROM staged_listens WHERE run_id = %(run_id)s) AS l USING (day)
GROUP BY day ORDER BY day
"""

# A day loses records to later contents: how busy it was is told by the most that it ever had.
PUBLISHED = """
INSERT INTO published_days AS p (day, pull, run_id, listens)
SELECT day, %(pull)s, %(run_id)s, listens
FROM unnest(%(good)s::date[], %(listens)s::bigint[]) AS published (day, listens)
ON CONFLICT (day) DO UPDATE
SET pull = excluded.pull, run_id = excluded.run_id, published_at = now(),
    listens = greatest(p.listens, excluded.listens)
"""

# What was accepted stays on record, with who accepted it.
# What a pull misses is no fault of its day: that ends with a pull that is whole.
UNBLOCKED = """
DELETE FROM blocked_days
WHERE day = ANY(%(good)s) AND accepted_at IS NULL AND starts_with(endpoint, 'staged_')
"""

ACCEPTED = "SELECT DISTINCT day FROM blocked_days WHERE day = ANY(%(good)s) ORDER BY day"

STAGED_LISTENS = """
SELECT count(*) FROM staged_listens WHERE run_id = %(run_id)s AND day = ANY(%(good)s)
"""

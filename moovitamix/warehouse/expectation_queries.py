"""The rules for staged slices that are queries: each gives the days that break it, and no values.

Great Expectations runs them as they stand, with `{batch}` for the rows of the days that are
judged. `$run_id`, `$first` and `$last` become literals in `judge.py`. What is compared is always
one day with its own limits: so a day's verdict is the same alone and within a range.

With a JOIN anywhere in a query, Great Expectations leaves it to the query to name `{batch}`, and
without one it does so itself.
"""

from collections.abc import Iterable

# A few listens may run ahead of the users and tracks that they name: they wait in quarantine until
# these arrive. Where one in five hangs in the air, an endpoint is missing or of another world.
DANGLING_SHARE_ALLOWED = 0.2
# Of a quiet day one forgotten user may be a fifth: so few wait in quarantine whatever their share.
DANGLING_ALWAYS_ALLOWED = 20

DANGLING_DAYS = f"""
SELECT l.day
FROM {{batch}} AS l
LEFT JOIN (SELECT id FROM users
           UNION SELECT id FROM staged_users WHERE run_id = $run_id) AS u ON u.id = l.user_id
LEFT JOIN (SELECT id FROM tracks
           UNION SELECT id FROM staged_tracks WHERE run_id = $run_id) AS t ON t.id = l.track_id
GROUP BY l.day
HAVING count(*) FILTER (WHERE u.id IS NULL OR t.id IS NULL)
       > greatest({DANGLING_ALWAYS_ALLOWED}, {DANGLING_SHARE_ALLOWED} * count(*))
"""  # noqa: S608 - the numbers above, and literals

# Eight weeks know the season, and do not yet know last year's app.
USUAL_WEEKS = 8
# One or two weeks are no habit.
USUAL_DAYS_NEEDED = 3
# A holiday halves a day and a release doubles it; twice that is no day of this app.
USUAL_FACTOR = 4
# So few listens more or less prove nothing: of a small app they are one user's evening.
USUAL_DIFFERENCE = 100

# The days come from `verdicts`, for a silent day has no rows. A day that is published already is
# not judged again: it loses records to later contents, and was believed when it came. Days
# without a listen are no measure: somebody has taken them as they are.
UNUSUAL_DAYS = f"""
SELECT judged.day
FROM (SELECT v.day, count(l.day) AS listens
      FROM verdicts v LEFT JOIN {{batch}} AS l ON l.day = v.day
      WHERE v.run_id = $run_id AND v.endpoint = 'staged_listens'
        AND v.day BETWEEN $first AND $last
        AND NOT EXISTS (SELECT FROM published_days p WHERE p.day = v.day)
      GROUP BY v.day) AS judged
JOIN published_days p
  ON p.listens > 0 AND p.day BETWEEN judged.day - {7 * USUAL_WEEKS} AND judged.day - 1
 AND extract(dow FROM p.day) = extract(dow FROM judged.day)
GROUP BY judged.day, judged.listens
HAVING count(*) >= {USUAL_DAYS_NEEDED}
   AND (judged.listens < least(min(p.listens) / {USUAL_FACTOR}.0,
                               min(p.listens) - {USUAL_DIFFERENCE} + 1)
        OR judged.listens > greatest(max(p.listens) * {USUAL_FACTOR},
                                     max(p.listens) + {USUAL_DIFFERENCE} - 1))
"""  # noqa: S608 - the numbers above, and literals


def days_with_null(columns: Iterable[str]) -> str:
    """A query for the days with a null in one of these columns."""
    null = " OR ".join(f"{column} IS NULL" for column in columns)
    return f"SELECT day FROM {{batch}} WHERE {null} GROUP BY day"  # noqa: S608 - our own columns

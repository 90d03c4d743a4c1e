"""The readings of drift in Dagster's words: their columns, and what these are read from."""

from __future__ import annotations

from moovitamix.tabular import Tabular
from moovitamix.warehouse.describe import columns_of, constraints_of
from moovitamix.warehouse.drift_tables import drift_readings

_PLAYS = ["listen_history.user_id", "listen_history.track_id", "listen_history.listened_at"]

# Which champion they are held against is no column of a table, and the verdict follows from both.
READINGS = Tabular(
    columns_of(drift_readings),
    dict.fromkeys(("value", "usual", "warn", "alarm"), _PLAYS),
    constraints_of(drift_readings),
)

"""Stage two: a day's records staged, judged, and published into the normalized tables."""

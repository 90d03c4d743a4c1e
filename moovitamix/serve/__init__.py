"""Stage four: the champion's lists in Redis, and what reads them."""

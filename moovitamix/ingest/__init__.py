"""Stage one: the source's records, as they were, in the lake, each dealt to one day."""

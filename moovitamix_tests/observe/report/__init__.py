"""The daily report: what it says, how it looks, where it is kept, to whom it is sent."""

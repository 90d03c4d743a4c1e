"""The daily report: collected, kept, shown as a page and as JSON, and sent."""

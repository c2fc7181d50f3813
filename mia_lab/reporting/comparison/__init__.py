"""The report of several audits side by side."""

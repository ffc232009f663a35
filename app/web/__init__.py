"""The furniture of the pages: security, sessions, templates, errors. Knows no slice."""

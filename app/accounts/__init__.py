"""People: signing in and out, first account, invitations, their own settings."""

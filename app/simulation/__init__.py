"""Annotators with a known taste, who talk HTTP like everybody else. Nothing here can be imported by the trainer."""

"""Log lines that a person can read: `17:04:05 web        info   Prompts imported rows=64`.

One line each: the text is a sentence, what varies goes into `extra={…}` and is printed as key=value. Never log what
people or models wrote, tokens, or e-mail addresses.
"""

import logging
import sys
import traceback

LINE = "{time} {process:<10} {level:<7} {message}"
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


class OneLine(logging.Formatter):
    """Time, process, level, sentence, key=value. Line breaks in values become spaces; a traceback follows indented."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        """The finished line for one record."""
        given = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        words = [record.getMessage(), *(f"{name}={_flat(value)}" for name, value in given.items())]
        line = LINE.format(
            time=self.formatTime(record, "%H:%M:%S"),
            process=self.process,
            level=record.levelname.lower(),
            message=" ".join(" ".join(words).split()),
        )
        if record.exc_info and record.exc_info[0] is not None:
            text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            line += "\n    " + text.replace("\n", "\n    ")
        return line


def setup(process: str, level: str = "INFO") -> None:
    """Send every log line of this process to standard output in one shape. Call once, in the entry point."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(OneLine(process))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for chatty in ("httpx", "httpcore", "httpx2", "alembic", "urllib3", "filelock", "uvicorn.error", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def _flat(value: object) -> str:
    text = str(value)
    return repr(text) if " " in text or not text else text

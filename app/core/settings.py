"""Configuration from the environment. Every name starts with PALATE_ and is listed in docs/configuration.md."""

import os
import secrets
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.core.errors import BadConfiguration

ROOT = Path(__file__).resolve().parents[2]


class Settings(BaseSettings):
    """One object, made once per process by its entry point and handed down; nothing reads the environment later."""

    model_config = SettingsConfigDict(env_prefix="PALATE_", extra="ignore", frozen=True)

    home: Path = Field(default=ROOT / "var")
    """Where all state lives: database, models, exports, secrets."""
    database_url: SecretStr | None = None
    """An existing Postgres (≥ 15). Empty: the embedded one under `home`."""
    base_model: str = "smollm2-135m-instruct"
    """The packaged default, a local directory, or a hub id."""
    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str | None = None
    """The address people type, when a proxy stands in front. Turns the cookie's Secure flag on when it is https."""
    policy_host: str = "127.0.0.1"
    policy_port: int = 8001
    policy_url: str | None = None
    """Where web and sampler find the policy server. Empty: policy_host and policy_port."""
    policy_token: SecretStr | None = None
    """Bearer token of the policy server. Empty: one is made under `home` at first start."""
    web_workers: int = 1
    pool_size: int = 12
    """Threads and database connections of one web process: the two are equal on purpose."""
    upload_limit: int = Field(default=5_000_000, le=20_000_000)
    """Most bytes of a prompt file on the import page. The command line takes files of any size."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 …"""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int = 0
    """CPU threads of torch; 0 lets torch decide."""
    reward_modules: str | None = None
    """Python modules, separated by commas, whose functions a project's admins may use as reward terms."""
    demo: bool = True
    """Seed the demo project at first start."""
    log_level: str = "INFO"
    process: str = "palate"
    """Name of this process in log lines; the supervisor sets it."""

    @model_validator(mode="after")
    def _home_is_absolute(self) -> "Settings":
        object.__setattr__(self, "home", self.home.expanduser().absolute())
        return self

    @cached_property
    def dsn(self) -> str:
        """The SQLAlchemy address of the database: the given one, or the one the supervisor's Postgres wrote down."""
        if self.database_url is not None and self.database_url.get_secret_value():
            url = self.database_url.get_secret_value()
            for prefix in ("postgresql://", "postgres://"):
                if url.startswith(prefix):
                    return "postgresql+psycopg://" + url.removeprefix(prefix)
            return url
        address = self.home / "postgres" / "address"
        if not address.is_file():
            raise BadConfiguration(
                f"No database is known: set PALATE_DATABASE_URL, or start ./palate up, which writes {address}."
            )
        return address.read_text().strip()

    @property
    def allowed_rewards(self) -> tuple[str, ...]:
        """The modules of `reward_modules`."""
        return tuple(name.strip() for name in (self.reward_modules or "").split(",") if name.strip())

    @property
    def artifacts(self) -> Path:
        """Root of the content-addressed store of models, checkpoints and exports."""
        return self.home / "artifacts"

    @property
    def policy_address(self) -> str:
        return self.policy_url or f"http://{self.policy_host}:{self.policy_port}"

    def secret(self, name: str) -> str:
        """A random secret kept in `home`/secrets/NAME, made on first use, readable by this user only."""
        given = getattr(self, name, None)
        if isinstance(given, SecretStr) and given.get_secret_value():
            return given.get_secret_value()
        path = self.home / "secrets" / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text().strip()
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(32))
        return path.read_text().strip()


def release() -> str:
    """Palate's own version, as pyproject.toml says it."""
    said: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return said

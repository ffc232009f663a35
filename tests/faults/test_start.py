"""What `palate up` says when it cannot start: one clear sentence and exit code 1; and that it stops cleanly."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.errors import BadConfiguration
from app.core.settings import ROOT, Settings
from app.preflight import check_model, check_ports, sentence, take_home
from tests.faults.house import House


def _up(home: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    given = {**os.environ, "PALATE_HOME": str(home), "PYTHONPATH": str(ROOT), "PALATE_DEMO": "false", **environment}
    command = [sys.executable, "-P", "-m", "app.cli", "up", *words]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def house(free_port: int) -> Iterator[House]:
    """Not started yet."""
    house = House(free_port)
    yield house
    house.remove()


def test_one_start_one_stop_and_what_is_left(house: House) -> None:
    """The owner link comes at each start until used; a second start on the home is refused; Ctrl-C ends all."""
    house.start()
    first = house.text()
    assert "This link works once" in first
    assert f"Open http://localhost:{house.port}" in first
    second = _up(house.home, "--no-train", PALATE_PORT="1")
    assert second.returncode == 1
    assert "Palate already runs on" in second.stdout
    assert "Traceback" not in second.stdout + second.stderr
    children = house.pids()
    assert house.process is not None
    house.process.send_signal(signal.SIGINT)
    assert house.process.wait(20) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in children.values())
    assert not (house.home / "postgres/data/postmaster.pid").exists()
    house.start()
    assert house.text().count("This link works once") == 2


def test_a_busy_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = _up(tmp_path, "--no-train", "--port", port)
    assert done.returncode == 1
    assert f"Port {port} on 127.0.0.1 is used by another program. Set PALATE_PORT to a free one." in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a directory")
    done = _up(tmp_path / "home", "--no-train")
    assert done.returncode == 1
    assert "is not a directory. Choose another PALATE_HOME." in done.stdout


def test_a_missing_model_directory(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, base_model=str(tmp_path / "nowhere"))
    with pytest.raises(BadConfiguration, match="no model"):
        check_model(settings)
    check_model(Settings(home=tmp_path))


def test_a_database_that_does_not_answer(tmp_path: Path, free_port: int) -> None:
    url = f"postgresql://nobody:secret-word@127.0.0.1:{free_port}/none"
    done = _up(tmp_path, "--no-train", "--port", str(free_port), PALATE_DATABASE_URL=url)
    assert done.returncode == 1
    assert "The database does not answer" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "secret-word" not in done.stdout + done.stderr


def test_an_unreadable_setting_names_itself(tmp_path: Path) -> None:
    done = _up(tmp_path, PALATE_PORT="eighty")
    assert done.returncode == 1
    assert "PALATE_PORT is not right" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_home(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BadConfiguration, match="cannot write"):
        take_home(tmp_path / "home")
    tmp_path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="makes a tiny disk")
def test_a_full_disk_is_a_sentence(free_port: int) -> None:
    """A real file system of 8 MiB: the database cannot be made on it."""
    top = Path(tempfile.gettempdir()) / f"palate-tiny-{os.getpid()}"
    top.mkdir(mode=0o755)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", str(top)], check=False)
    try:
        if mounted.returncode != 0:
            pytest.skip("mounting is not allowed here")
        done = _up(top / "home", "--no-train", "--port", str(free_port))
        assert done.returncode == 1
        assert "Little room is left" in done.stdout
        assert "No space left" in done.stdout
        assert "Traceback" not in done.stdout + done.stderr
    finally:
        subprocess.run(["umount", str(top)], check=False)
        top.rmdir()


def test_every_refusal_is_a_sentence(tmp_path: Path) -> None:
    import errno

    for number in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EIO):
        text = sentence(OSError(number, os.strerror(number)), tmp_path)
        assert text[0].isupper() or text.startswith("/")
    lock = take_home(tmp_path / "home")
    lock.close()
    check_ports(Settings(home=tmp_path, port=0, policy_port=0), policy=True)


def test_leftovers_of_a_killed_supervisor_are_ended(house: House) -> None:
    """A process that outlived its supervisor (here one started with its marks) does not disturb the next start."""
    house.home.mkdir()
    marks = {**house.environment, "PALATE_SUPERVISED": "1"}
    program = (
        f"import socket, time; s = socket.socket(); s.bind(('127.0.0.1', {house.port})); s.listen(); time.sleep(99)"
    )
    left = subprocess.Popen([sys.executable, "-c", program], env=marks)
    time.sleep(0.5)
    house.start()
    assert left.wait(5) == -signal.SIGKILL

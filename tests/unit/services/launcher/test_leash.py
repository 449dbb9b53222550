"""A leashed process ends with its starter, however that ends."""

import os
import signal
import subprocess
import sys

import pytest

from services.launcher.leash import leashed, python_module
from tests.support.process_table import alive
from tests.support.waiting import wait_for

STARTER = """
import subprocess, sys, time
from services.launcher.leash import leashed
child = subprocess.Popen(leashed([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]),
                         stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has PR_SET_PDEATHSIG")
def test_killing_the_starter_ends_the_child():
    with subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        child = int(starter.stdout.readline())
        try:
            assert alive(child)
        finally:
            starter.kill()
    try:
        wait_for(lambda: not alive(child), "the child is gone")
    finally:
        if alive(child):
            os.kill(child, signal.SIGKILL)


def test_the_command_has_the_pid_that_was_started_and_its_own_exit_status():
    said = "import os, sys; print(os.getpid(), os.getcwd() in sys.path, '' in sys.path); sys.exit(7)"
    with subprocess.Popen(leashed([sys.executable, "-c", said]), stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().split()[0] == str(child.pid)
    assert child.returncode == 7


def test_a_command_whose_starter_is_gone_already_does_not_begin():
    words = leashed([sys.executable, "-c", "print('began')"])
    words[words.index(str(os.getpid()))] = "1"
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "began" not in done.stdout
    assert "gone" in done.stderr


def test_a_package_of_the_users_own_called_services_is_not_mistaken_for_ours(tmp_path):
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    words = [*python_module("services.launcher"), "--help"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_leashed_process_gets_signals_itself():
    waiting = "import signal; print('up', flush=True); signal.pause()"
    with subprocess.Popen(leashed([sys.executable, "-c", waiting]), stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGTERM)
    assert child.returncode == -signal.SIGTERM

"""The share of the processor that others use is measured, not guessed from a load average that lags by a minute."""

import subprocess
import sys
import time

from moecap.hardware.probe import _busy


def test_a_busy_process_is_seen_at_once():
    quiet = min(_busy() for _ in range(3))
    spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        busy = max(_busy() for _ in range(3))
    finally:
        spinner.kill()
        spinner.wait()
    assert 0 <= quiet <= 1
    assert busy > min(quiet, 0.95)  # a machine that is busy already cannot become much busier

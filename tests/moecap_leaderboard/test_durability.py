"""What was acknowledged stays: through kills in the middle of 200 submissions at once, in a snapshot, in a copy."""

import random
import shutil
import subprocess
import threading
import time
from contextlib import closing

import psutil
import psycopg
import pytest
from killed_service import KilledService, LoadedCode, moments, parcels, send_all

from moecap_leaderboard.blobs import WORKPLACES
from moecap_leaderboard.database import existing_database
from moecap_leaderboard.integrity import check_store

KILLS, MEASURED, IMPORTED = 5, 25, 175

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def loaded():
    with LoadedCode() as code:
        yield code


@pytest.fixture(scope="module")
def content(derived_runs):
    """200 submissions in a random order."""
    made = parcels(derived_runs["llamacpp-q8_0"], MEASURED, IMPORTED)
    random.Random(12).shuffle(made)
    return made


@pytest.fixture
def sent(content):
    """The same, of which none was sent yet."""
    for parcel in content:
        parcel.answer = None
    return content


@pytest.fixture
def service(database_url, loaded, tmp_path):
    made = KilledService(tmp_path / "service", database_url, loaded.start)
    yield made
    made.close()


def test_what_was_acknowledged_outlives_every_kill_and_what_is_sent_again_is_there_once(service, sent):
    there = 0
    for moment in moments(seed=12, kills=KILLS, most=25):
        service.start()
        assert sum(service.check(sent).values()) >= there
        there += send_all(service, sent, moment)
    service.start()
    service.check(sent)
    send_all(service, sent, None)
    assert service.check(sent) == {"published": MEASURED, "pending": IMPORTED}
    service.end()


def test_a_copy_that_is_made_under_submissions_has_what_was_acknowledged_before(
    request, database_url, service, loaded, sent, tmp_path
):
    service.start()
    send_all(service, sent[:30], None)
    sending = threading.Thread(target=send_all, args=(service, sent[:90], None))
    sending.start()
    while sum(parcel.answer is not None for parcel in sent) < 35:
        time.sleep(0.01)
    known = [parcel for parcel in sent if parcel.answer is not None]
    if database_url.startswith("sqlite"):
        url = _snapshot(service, loaded, tmp_path / "restored")
    else:
        url = _dumped_and_restored(request.getfixturevalue("postgres_programs"), database_url, tmp_path)
    files = tmp_path / "restored" / "data" / "observations"
    shutil.copytree(service.data / "observations", files, ignore=shutil.ignore_patterns(WORKPLACES))
    sending.join()
    service.end()

    with closing(existing_database(url)) as database:
        found = check_store(database, files)
    assert found.problems == ()
    assert len(known) <= sum(found.submissions.values()) <= 90
    for parcel in sent:
        if parcel not in known:  # acknowledged after the copy was begun, and perhaps not in it
            parcel.answer = None
    restored = KilledService(tmp_path / "restored", url, loaded.start)
    try:
        restored.start()
        restored.check(sent)
        send_all(restored, sent[:90], None)
        assert sum(restored.check(sent).values()) == 90
        restored.end()
    finally:
        restored.close()


def _snapshot(service, loaded, folder):
    """``moecap serve --snapshot``: the URL of the copy."""
    (folder / "data").mkdir(parents=True)
    target, log = folder / "data" / "leaderboard.sqlite", folder / "snapshot.log"
    words = ["serve", "--db", service.database, "--snapshot", str(target)]
    process = psutil.Process(loaded.start(words, service.environment, log))
    psutil.wait_procs([process], timeout=300)
    assert f"copied to {target}" in log.read_text()
    return f"sqlite:///{target}"


def _dumped_and_restored(programs, url, folder):
    """``pg_dump`` and ``pg_restore`` into a database of its own: the URL of the copy."""
    server, _, schema = url.partition("/postgres?options=-csearch_path%3D")
    dump, name = folder / "board.dump", f"restored_{schema}"
    dumping = ["pg_dump", "--format=custom", f"--schema={schema}", f"--file={dump}", f"{server}/postgres"]
    subprocess.run([programs / dumping[0], *dumping[1:]], check=True, timeout=300)
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    subprocess.run([programs / "pg_restore", f"--dbname={server}/{name}", dump], check=True, timeout=300)
    return f"{server}/{name}?options=-csearch_path%3D{schema}"

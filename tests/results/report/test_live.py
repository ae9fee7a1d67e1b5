"""The page that follows a run: news by events, two addresses and no files, and nobody from elsewhere."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from made_runs import made_run

from boostformer.errors import UserError
from results.report import live
from results.report.live import HOST, LiveServer, Watched
from results.report.run_page import Beside, Now, run_document
from results.trial import Status

RUN = made_run(30)


class Changing:
    """A run that a test changes."""

    def __init__(self) -> None:
        self.run, self.stamp, self.reads, self.error = RUN, 0, 0, ""

    def read(self) -> dict[str, Any]:
        self.reads += 1
        if self.error:
            raise UserError(self.error)
        return run_document(self.run, "run", Beside("run"), Now())


@pytest.fixture
def changing(monkeypatch: pytest.MonkeyPatch) -> Changing:
    monkeypatch.setattr(live, "_LOOK", 0.01)
    return Changing()


@pytest.fixture
def server(changing: Changing) -> Iterator[LiveServer]:
    watched = Watched(changing.read, lambda: changing.stamp)
    with LiveServer(watched) as server:
        threads = [threading.Thread(target=work) for work in (watched.follow, lambda: server.serve_forever(0.01))]
        for thread in threads:
            thread.start()
        yield server
        watched.close()
        server.shutdown()
        for thread in threads:
            thread.join(timeout=10)


def ask(server: LiveServer, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    return connection.getresponse()


def next_event(answer: http.client.HTTPResponse) -> dict[str, Any]:
    while not (line := answer.readline()).startswith(b"data: "):
        assert line, "the server hung up"
    found: dict[str, Any] = json.loads(line[6:])
    return found


def test_the_page_listens_to_its_own_server_alone(server: LiveServer) -> None:
    answer = ask(server, "/")
    text = answer.read().decode()
    assert answer.status == 200 and "connect-src 'self'" in text and '"live":true' in text
    assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Cache-Control"] == "no-store"
    assert server.server_address[0] == "127.0.0.1"


def test_events_tell_what_is_new(server: LiveServer, changing: Changing) -> None:
    answer = ask(server, "/events")
    first = next_event(answer)
    assert len(first["trials"]["rows"]) == len(RUN.trials)
    *others, running, last = RUN.trials
    changing.run = replace(RUN, trials=[*others, replace(running, status=Status.FAILED, reason="nan"), last])
    changing.stamp += 1
    second = next_event(answer)
    told = [row[0] for row in second["trials"]["rows"]]
    assert running.number in told and len(told) < 5, "the others have not changed"
    assert second["cards"][0]["kind"] == "now"
    answer.close()


def test_a_run_that_cannot_be_read_for_a_moment_is_read_again(server: LiveServer, changing: Changing) -> None:
    answer = ask(server, "/events")
    next_event(answer)
    changing.error = "the database is away"
    changing.stamp += 1
    seen = changing.reads
    while changing.reads < seen + 2:  # it tries again, since what it knows is old
        threading.Event().wait(0.01)
    changing.run, changing.error = replace(RUN, trials=RUN.trials[:5]), ""
    assert next_event(answer)["tiles"][0] == ["networks trained", "5"]
    answer.close()


def test_nothing_is_read_while_nothing_changes(server: LiveServer, changing: Changing) -> None:
    for _ in range(3):
        assert ask(server, "/").read()
    assert changing.reads == 1


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1", "localhost", "127.0.0.1:1"])
@pytest.mark.parametrize("path", ["/", "/events"])
def test_other_names_of_this_machine_are_refused(server: LiveServer, host: str, path: str) -> None:
    answer = ask(server, path, Host=host)
    assert answer.status == 403 and b"trials" not in answer.read()


def test_this_machines_own_names_are_served(server: LiveServer) -> None:
    assert ask(server, "/", Host=f"localhost:{server.server_port}").status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_pages_in_the_same_browser_are_refused(server: LiveServer, site: str) -> None:
    assert ask(server, "/events", Sec_Fetch_Site=site).status == 403
    assert ask(server, "/", Sec_Fetch_Site="same-origin").status == 200


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/%2e%2e/journal.log", "//etc/passwd", "/journal.log", "/?x", "/events/..", "events"]
)
def test_there_are_no_files(server: LiveServer, path: str) -> None:
    answer = ask(server, path)
    assert answer.status == 404 and len(answer.read()) < 40


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_only_answers(server: LiveServer, method: str) -> None:
    assert ask(server, "/", method).status == 501


def test_no_more_may_listen_than_can_be_told(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.listeners = threading.Semaphore(1)
    first = ask(server, "/events")
    next_event(first)
    assert ask(server, "/events").status == 503
    first.close()


def test_a_port_that_is_taken_is_named(server: LiveServer) -> None:
    with pytest.raises(UserError, match=f"--port {server.server_port}: .*0 for any"):
        LiveServer(server.watched, server.server_port)

"""The labelling server against what a hostile page, program or neighbour could send it, on a real socket."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from harness.autorater.labels import LabelJournal, read_labels
from harness.core.errors import HarnessError
from harness.core.judging import Single
from harness.labelling.app import MAX_BODY, PATHS
from harness.labelling.lines import Line, hang_up
from harness.labelling.server import serve
from harness.labelling.sheet import Sheet, draw
from tests.labelling.serving import RUBRIC, Link, Process, a_sheet, served


class Running:
    """A sheet, its journal and its server."""

    def __init__(self, sheet: Sheet, journal: LabelJournal, link: Link) -> None:
        self.sheet, self.journal, self.link = sheet, journal, link

    def get(self, path: str, **headers: str) -> int:
        return self.link.ask("GET", path, {**self.link.cookie, **headers})[0]

    def post(self, body: bytes | None = None, *, drop: tuple[str, ...] = (), **headers: str) -> int:
        """A label, sound where nothing is changed."""
        sent = {name: value for name, value in {**self.link.own, **headers}.items() if name not in drop}
        item = self.sheet.items[0].id
        good = json.dumps({"id": f"{item}.{0:032x}", "item": item, "value": 3, "annotator": "Ada"}).encode()
        return self.link.ask("POST", "/label", sent, good if body is None else body)[0]

    def raw(self, text: bytes) -> int:
        """The status that some bytes get; 0 where the connection is closed without one."""
        with socket.create_connection(("127.0.0.1", self.link.port), timeout=20) as connection:
            connection.sendall(text)
            reply = connection.makefile("rb").readline()
        return int(reply.split()[1]) if reply else 0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    sheet = a_sheet(10)
    with LabelJournal(tmp_path_factory.mktemp("labels") / "labels.jsonl") as journal, served(sheet, journal) as link:
        running = Running(sheet, journal, link)
        # Whatever the first request imports, and opens.
        running.get("/nothing")
        yield running


@pytest.fixture(scope="module")
def watched() -> dict[str, list[object] | None]:
    """What other threads than this one open is put into its list, while there is one: audit hooks stay for ever."""
    place: dict[str, list[object] | None] = {"opened": None}

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if (
            event == "open"
            and place["opened"] is not None
            and threading.current_thread() is not threading.main_thread()
        ):
            place["opened"].append(arguments[0])

    sys.addaudithook(audit)
    return place


@pytest.fixture
def opened(watched: dict[str, list[object] | None]) -> Iterator[list[object]]:
    """The files that the server opens during the test."""
    files: list[object] = []
    watched["opened"] = files
    yield files
    watched["opened"] = None


def test_it_listens_on_the_loopback_alone(running: Running) -> None:
    wanted = f"{running.link.port:04X}"
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    listening = [row[1].partition(":") for row in rows if row[3] == "0A"]
    assert [host for host, _, port in listening if port == wanted] == ["0100007F"]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "127.0.0.1:1", "", "127.0.0.1", "127.1:{}"]
)
def test_another_host_is_refused(running: Running, host: str) -> None:
    head = (
        f"GET / HTTP/1.1\r\nHost: {host.format(running.link.port)}\r\nCookie: {running.link.cookie['Cookie']}\r\n\r\n"
    )
    assert running.raw(head.encode()) in (400, 403)


def test_no_host_two_hosts_and_absolute_addresses_are_refused(running: Running) -> None:
    port, cookie = running.link.port, running.link.cookie["Cookie"]
    own = f"Host: 127.0.0.1:{port}\r\n"
    for head in (
        f"GET / HTTP/1.1\r\nCookie: {cookie}\r\n\r\n",
        f"GET / HTTP/1.0\r\nCookie: {cookie}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{own}{own}Cookie: {cookie}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{own}Host: evil\r\nCookie: {cookie}\r\n\r\n",
        f"GET http://evil.example/ HTTP/1.1\r\n{own}Cookie: {cookie}\r\n\r\n",
        f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\n{own}Cookie: {cookie}\r\n\r\n",
        f"CONNECT evil.example:80 HTTP/1.1\r\n{own}Cookie: {cookie}\r\n\r\n",
    ):
        assert 400 <= running.raw(head.encode()) < 500, head


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_its_own_names_are_answered_with_the_secret(running: Running, host: str) -> None:
    named = {"Host": f"{host}:{running.link.port}"}
    assert running.get("/", **named) == 200
    assert running.link.ask("GET", f"/?token={running.link.token}", named)[0] == 200
    assert running.link.ask("GET", "/", named)[0] == 401


def test_without_the_right_secret_nothing_is_shown(running: Running) -> None:
    token, port = running.link.token, running.link.port
    wrong = ["", token[:-1], token + "A", "A" * len(token), "\xff" * 43, token.swapcase()]
    for value in wrong:
        for path in PATHS:
            assert running.link.ask("GET", path, {"Cookie": f"harness_label_{port}={value}"})[0] in (401, 403)
    assert running.link.ask("GET", f"/?token={'A' * len(token)}", {})[0] == 401
    assert running.link.ask("GET", "/?token=%ff%fe", {})[0] == 401
    assert running.link.ask("GET", f"/sheet?token={token}", {})[0] == 401
    assert running.link.ask("GET", "/", {"Cookie": f"harness_label_{port + 1}={token}"})[0] == 401
    assert running.link.ask("POST", "/label", {**running.link.own, "Cookie": ""}, b"{}")[0] == 401


def test_the_secret_is_long_and_exchanged_for_a_cookie_that_scripts_and_other_sites_cannot_use(
    running: Running,
) -> None:
    # 43 characters of base64 are 258 bits: 256 of them random.
    assert len(running.link.token) == 43
    status, body, headers = running.link.ask("GET", f"/?token={running.link.token}", {})
    cookie = headers["set-cookie"].lower()
    assert status == 200
    assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/"))
    assert "domain" not in cookie
    assert running.link.token.encode() not in body


def test_a_link_in_a_local_file_leads_in_but_only_as_a_navigation(running: Running) -> None:
    path, site = f"/?token={running.link.token}", {"Sec-Fetch-Site": "cross-site"}
    assert running.link.ask("GET", path, {**site, "Sec-Fetch-Mode": "navigate"})[0] == 200
    assert running.link.ask("GET", path, {**site, "Sec-Fetch-Mode": "cors"})[0] == 403
    assert running.link.ask("GET", path, {**site, "Origin": "null", "Sec-Fetch-Mode": "navigate"})[0] == 403


def test_another_page_can_neither_write_nor_read(running: Running) -> None:
    port = running.link.port
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{port + 1}", f"https://127.0.0.1:{port}", ""):
        assert running.post(Origin=origin) == 403
        assert running.get("/sheet", Origin=origin) == 403
    for site in ("cross-site", "same-site", "nonsense"):
        assert running.post(**{"Sec-Fetch-Site": site}) == 403
        assert running.get("/sheet", **{"Sec-Fetch-Site": site}) == 403
    assert running.post(drop=("Origin", "Sec-Fetch-Site")) == 403
    assert running.post(drop=("Origin",), **{"Sec-Fetch-Site": "none"}) == 403
    assert running.post(Origin=f"http://localhost:{port}") == 403, "another name of this machine is another origin"
    assert running.journal.labels == ()


@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "", "text/json"]
)
def test_only_json_is_taken_so_that_no_form_can_send_it(running: Running, kind: str) -> None:
    assert running.post(**{"Content-Type": kind}) == 415
    assert running.post(drop=("Content-Type",)) == 415


def test_only_two_methods_are_known_and_each_path_has_one(running: Running) -> None:
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "HEAD", "PROPFIND", "get"):
        for path in ("/label", "/", "/sheet"):
            assert running.link.ask(method, path, running.link.own)[0] == 405
    assert running.get("/label?item=x&value=3&annotator=A") == 405
    for path in ("/", "/sheet", "/progress", "/item"):
        assert running.link.ask("POST", path, running.link.own, b"{}")[0] == 405


@pytest.mark.parametrize(
    "path",
    [
        *("/static/..%2f..%2fetc/passwd", "/%252e%252e%252fetc/passwd", "/..\\..\\etc\\passwd", "//etc/passwd"),
        *("/../../etc/passwd", "/page.js%00", "/page.js/..", "/./page.js", "/page/index.html", "/sheet.json"),
        *("/page.js?../../etc/passwd#", "/labels.jsonl", "/page.JS", "/%2e%2e/app.py", "/sheet/"),
    ],
)
def test_no_path_of_a_request_becomes_a_path_of_a_file(running: Running, path: str, opened: list[object]) -> None:
    wanted = 200 if path.startswith("/page.js?") else 404
    request = f"GET {path.rstrip('#')} HTTP/1.1\r\nHost: 127.0.0.1:{running.link.port}\r\n"
    status = running.raw(f"{request}Cookie: {running.link.cookie['Cookie']}\r\n\r\n".encode())
    assert status == wanted
    assert opened == []


def test_the_watch_on_files_sees_one_that_is_opened(opened: list[object]) -> None:
    reader = threading.Thread(target=lambda: Path(__file__).read_bytes())
    reader.start()
    reader.join()
    assert [str(name) for name in opened] == [__file__]


def test_what_is_too_large_is_refused(running: Running) -> None:
    assert running.post(b" " * (MAX_BODY + 1)) == 413
    assert running.post(b" " * (3 * MAX_BODY)) == 413
    head = f"POST /label HTTP/1.1\r\nHost: 127.0.0.1:{running.link.port}\r\nTransfer-Encoding: chunked\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in running.link.own.items())
    chunk = b"%x\r\n%s\r\n" % (MAX_BODY, b" " * MAX_BODY)
    assert running.raw(head.encode() + b"\r\n" + chunk + b"1\r\n \r\n0\r\n\r\n") == 413
    assert running.raw(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n") in (0, 400, 414, 431)


def test_two_ways_to_say_the_length_are_refused(running: Running) -> None:
    head = f"POST /label HTTP/1.1\r\nHost: 127.0.0.1:{running.link.port}\r\nTransfer-Encoding: chunked\r\n"
    head += "Content-Length: 2\r\n" + "".join(f"{name}: {value}\r\n" for name, value in running.link.own.items())
    assert running.raw(head.encode() + b"\r\n2\r\n{}\r\n0\r\n\r\n") == 400


def labels_that_are_none(sheet: Sheet) -> list[bytes]:
    item, other = sheet.items[0].id, sheet.items[1].id
    good = {"id": f"{item}.{0:032x}", "item": item, "value": 3, "annotator": "Ada"}
    changed: list[dict[str, object]] = [
        *({**good, "value": value} for value in (0, 6, True, 3.0, "3", None, [3], "first")),
        *({**good, "item": name} for name in ("x", "../x", 1, None, other)),
        *(
            {**good, "id": name}
            for name in ("x", item, f"{item}.{'g' * 32}", f"{item}.{0:032x}\n", f"{other}.{0:032x}")
        ),
        *({**good, "annotator": name} for name in ("", " ", "a" * 81, "a\nb", "\u202eA", "\ud800", 1, None)),
        {name: value for name, value in good.items() if name != "value"},
        {**good, "system": "x"},
    ]
    texts = [
        b"",
        b"3",
        b"[]",
        b"{",
        b'"\xff"',
        b"[" * 10_000 + b"]" * 10_000,
        json.dumps(good).replace("3,", "NaN,").encode(),
        json.dumps(good).replace("3,", "1e999,").encode(),
        json.dumps(good).replace('"value": 3', '"value": 1, "value": 3').encode(),
        json.dumps(good).encode() * 2,
        json.dumps(good).replace("3,", "9" * 5000 + ",").encode(),
    ]
    return [*texts, *(json.dumps(each).encode() for each in changed)]


def test_what_is_no_label_of_this_sheet_is_refused_and_leaves_nothing(running: Running) -> None:
    for body in labels_that_are_none(running.sheet):
        assert running.post(body) == 400, body[:200]
    assert running.journal.labels == ()


def test_unknown_items_and_names_are_refused_when_asked_for(running: Running) -> None:
    for path in ("/item", "/item?id=", "/item?id=../x", "/item?id=%00", "/progress", "/progress?annotator=%0a"):
        assert running.get(path) == 400
    assert running.get(f"/item?id={running.sheet.items[0].id}") == 200


def test_every_answer_forbids_what_a_browser_could_be_made_to_do_with_it(running: Running) -> None:
    kinds = {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript", "/sheet": "application/json"}
    for path, status in (*((path, 200) for path in kinds), ("/none", 404), ("/label", 405), ("/item", 400)):
        got, _, headers = running.link.ask("GET", path, running.link.cookie)
        assert got == status
        assert headers["content-type"].startswith(kinds.get(path, "text/plain"))
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert not [name for name in headers if name.startswith("access-control")]
        assert "server" not in headers


def test_no_refusal_repeats_the_request(running: Running) -> None:
    for path in ("/<script>alert(1)</script>", "/item?id=<script>alert(1)</script>"):
        assert b"<script>" not in running.link.ask("GET", path, running.link.cookie)[1]


def test_a_label_is_on_disk_when_it_is_acknowledged_and_a_repeat_is_the_same(tmp_path: Path) -> None:
    sheet = a_sheet(6, "pair")
    path = tmp_path / "labels.jsonl"
    with LabelJournal(path) as journal, served(sheet, journal) as link:
        for number in (0, 1, 0):
            status, body = link.label(sheet, number, value="first")
            assert status == 200
        assert len(json.loads(body)["done"]) == 2
        assert [label.id.split(".")[0] for label in read_labels(path).labels] == [each.id for each in sheet.items[:2]]
        assert link.label(sheet, 0, value="second")[0] == 409, "the same id cannot say something else"
        label = read_labels(path).labels[0]
        assert label.value == ("first" if sheet.items[0].shown == "given" else "second")
        assert (label.systems, label.annotator, label.time[-1]) == (("secret-base", "secret-tuned"), "Ada", "Z")


def test_annotators_see_their_own_answers_and_the_agreement(tmp_path: Path) -> None:
    sheet = a_sheet(6)
    with LabelJournal(tmp_path / "labels.jsonl") as journal, served(sheet, journal) as link:
        for name, number, value in (("Ada", 0, 3), ("Ada", 1, 4), ("Bob", 0, 3), ("Bob", 1, 1)):
            mark = f"{sheet.items[number].id}.{ord(name[0]):032x}"
            assert link.label(sheet, number, value=value, annotator=name, id=mark)[0] == 200
        told = json.loads(link.ask("GET", "/progress?annotator=Ada", link.cookie)[1])
        assert told["done"] == {sheet.items[0].id: 3, sheet.items[1].id: 4}
        assert told["agreement"] == {"same": 1, "n": 2}
        assert json.loads(link.ask("GET", "/sheet", link.cookie)[1])["annotators"] == ["Ada", "Bob"]


def test_one_answer_to_a_text_of_two_systems_is_a_label_of_each_and_safe_to_repeat(tmp_path: Path) -> None:
    """Also where the server died between the two: the page asks again until it is told."""
    items = {name: [Single(name, "c", name, "q", "the same")] for name in ("one", "two")}
    sheet = draw(items, n=2, seed=0, kind="likert", criterion="tone")
    path = tmp_path / "labels.jsonl"
    with LabelJournal(path) as journal, served(sheet, journal) as link:
        assert link.label(sheet, 0)[0] == 200
        assert [label.systems for label in read_labels(path).labels] == [("one",), ("two",)]
    whole = path.read_bytes()
    path.write_bytes(whole.splitlines(keepends=True)[0])
    with LabelJournal(path) as journal, served(sheet, journal) as link:
        assert link.label(sheet, 0)[0] == 200
    assert [label.systems for label in read_labels(path).labels] == [("one",), ("two",)]


def test_a_sheet_for_one_person_takes_nobody_elses_labels(tmp_path: Path) -> None:
    sheet = a_sheet(4)
    with LabelJournal(tmp_path / "labels.jsonl") as journal, served(sheet, journal, annotator="Ada") as link:
        assert link.label(sheet, 0, annotator="Bob")[0] == 400
        assert link.label(sheet, 0)[0] == 200


def test_a_full_disk_is_told_and_the_label_can_be_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = a_sheet(4)
    with LabelJournal(tmp_path / "labels.jsonl") as journal, served(sheet, journal) as link:
        with monkeypatch.context() as patch:
            patch.setattr("harness.store.disk.write_all", _full)
            status, body = link.label(sheet)
        assert (status, b"No space left" in body) == (503, True)
        assert journal.labels == ()
        assert link.label(sheet)[0] == 200


def _full(descriptor: int, content: bytes) -> None:
    raise OSError(28, "No space left on device")


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for a thousand sockets and their other ends in this one process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3000:
        pytest.skip("this process may open fewer than 3,000 files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_thousand_who_hold_the_line_do_not_keep_others_out(running: Running) -> None:
    head = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{running.link.port}\r\n".encode()
    with ExitStack() as held:
        for number in range(1000):
            connection = socket.create_connection(("127.0.0.1", running.link.port), timeout=20)
            held.enter_context(connection)
            if number % 2:
                connection.sendall(head[: number % len(head)])
        assert running.get("/sheet") == 200


class Wire(asyncio.Transport):
    """One that only knows whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_of_too_many_who_wait_the_first_to_come_are_hung_up_on() -> None:
    """Also of those who came since the last look: who came last may not have been read yet."""
    loop = asyncio.new_event_loop()
    config = Config(lambda *_: None, log_config=None)  # type: ignore[arg-type]
    came: list[tuple[Line, Wire]] = []
    for _ in range(300):
        line, wire = Line(config, ServerState(), {}, loop), Wire()
        line.connection_made(wire)
        came.append((line, wire))
    loop.close()
    hang_up({line for line, _ in came}, {}, came[-1][0].came)
    assert [wire.closed for _, wire in came] == [True] * 44 + [False] * 256


def test_who_holds_the_line_too_long_is_hung_up_on(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.labelling.lines.WAITING_S", 0.2)
    with socket.create_connection(("127.0.0.1", running.link.port), timeout=20) as connection:
        connection.sendall(b"GET / HT")
        assert connection.recv(1) == b""


def test_it_ends_when_nobody_asks_any_more(tmp_path: Path) -> None:
    began = threading.Event()
    with LabelJournal(tmp_path / "labels.jsonl") as journal:
        serve(a_sheet(2), journal, rubric=RUBRIC, on_ready=lambda link: began.set(), idle_s=0.1)
    assert began.is_set()


def test_a_port_in_use_is_one_clear_error(running: Running, tmp_path: Path) -> None:
    with LabelJournal(tmp_path / "labels.jsonl") as journal, pytest.raises(HarnessError) as caught:
        serve(a_sheet(2), journal, rubric=RUBRIC, on_ready=print, port=running.link.port)
    assert (caught.value.code, caught.value.what) == ("E-PORT", f"port {running.link.port} is in use")


def test_without_its_libraries_the_error_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with LabelJournal(tmp_path / "labels.jsonl") as journal, pytest.raises(HarnessError) as caught:
        serve(a_sheet(2), journal, rubric=RUBRIC, on_ready=print)
    assert caught.value.code == "E-INSTALL"
    assert "pip install 'sft-harness[label]'" in caught.value.fix


def test_nothing_is_logged_not_even_the_secret(tmp_path: Path) -> None:
    process = Process(tmp_path, a_sheet(4))
    link = process.link
    assert link.ask("GET", f"/?token={link.token}", {})[0] == 200
    assert link.ask("GET", f"/none?token={link.token}", link.cookie)[0] == 404
    with socket.create_connection(("127.0.0.1", link.port), timeout=20) as connection:
        connection.sendall(f"{link.token} nonsense\r\n\r\n".encode())
        connection.recv(100)
    assert process.kill() == ""


def test_the_browser_is_led_in_by_a_file_that_only_its_owner_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, object] = {}

    def opened(address: str) -> bool:
        file = Path(address.removeprefix("file://"))
        seen.update(address=address, mode=file.stat().st_mode & 0o777, text=file.read_text(), file=file)
        return True

    monkeypatch.setattr("webbrowser.open", opened)
    links: list[str] = []
    with LabelJournal(tmp_path / "labels.jsonl") as journal:
        serve(a_sheet(2), journal, rubric=RUBRIC, on_ready=links.append, open_browser=True, idle_s=0.1)
    token = Link(links[0]).token
    assert token not in str(seen["address"])
    assert token in str(seen["text"])
    assert seen["mode"] == 0o600
    assert not Path(str(seen["file"])).exists()


def test_importing_the_page_imports_no_server() -> None:
    program = (
        "import sys, harness.labelling.server, harness.labelling.offline\n"
        "print([name for name in ('starlette', 'uvicorn', 'torch', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

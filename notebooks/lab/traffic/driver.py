"""Visitors for the bookshop, and somebody who watches, while a migration runs: a process of its own.

    python driver.py PLAN

PLAN is a JSON object, see Plan. Each line of standard output is one, too: {"tenth": 3} while it runs, {"problem": ...},
or at the end what was measured. It ends, and all that it started, when standard input closes.

The load is open-loop: a request is sent when it is due, whatever became of the last one, and its time counts from
there. A visitor who waits keeps nobody from coming; a load that waits for answers would hide the waiting.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field

import psycopg2
from psycopg2.errors import QueryCanceled

EVERY = 0.05  # seconds from one look at the server to the next
PATIENCE = 90  # seconds for an answer: a slow disk takes a minute to write a million rows anew
ORDER_EVERY = 10  # one request in so many is an order
STANDS = 3  # seconds, at the least, that the migration stands behind the other session: some machines start it late

SESSIONS = """
SELECT a.application_name, a.pid, a.query_start::text, a.state, left(a.query, 200),
       CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) ELSE '{}' END,
       w.mode, coalesce(w.relation::regclass::text, w.locktype),
       extract(epoch FROM clock_timestamp() - w.waitstart)::float
  FROM pg_stat_activity AS a LEFT JOIN pg_locks AS w ON w.pid = a.pid AND NOT w.granted
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.state <> 'idle'
"""
HELD = """
SELECT DISTINCT a.application_name, c.relname, l.mode
  FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) JOIN pg_class AS c ON c.oid = l.relation
 WHERE l.granted AND a.datname = current_database() AND a.application_name IN ('migration', 'report')
   AND l.locktype = 'relation' AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
"""


@dataclass
class Plan:
    """`beside_at`, `beside_until` and `command_at` are seconds from the start, `seconds` the length of the whole."""

    addresses: list[str]  # of the websites
    command: str
    folder: str
    beside: str  # SQL that a session called "report" runs, and whose transaction it keeps open
    rate: float  # requests a second
    seconds: float
    beside_at: float
    beside_until: float
    command_at: float
    patience: float  # seconds for the command after the planned end
    joining: list[str] = field(default_factory=list)  # of those that serve beside once the command has succeeded


class Driver:
    def __init__(self, plan: Plan):
        self.plan = plan
        self.requests = []
        self.looks = []
        self.asked = dict.fromkeys([*plan.addresses, *plan.joining], 0)
        self.command = {"began": None, "ended": None, "exit_code": None, "said": ""}
        self.process = None
        self.cut_off = False  # whether somebody ended the other session
        self.stood = None  # when the migration was first seen waiting for the other session
        self.over = threading.Event()

    def now(self) -> float:
        return time.monotonic() - self.start

    async def run(self) -> dict:
        with closing(self.connect("driver")) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT email FROM customers ORDER BY id LIMIT 300")
            self.emails = [email for (email,) in cursor.fetchall()]
            cursor.execute("SELECT id FROM books ORDER BY id LIMIT 40")
            self.books = [number for (number,) in cursor.fetchall()]
        asyncio.get_running_loop().add_reader(0, self.end_with_input)
        self.start = time.monotonic()
        threads = [threading.Thread(target=self.watch)]
        if self.plan.beside:
            threads.append(threading.Thread(target=self.stand_beside))
        for thread in threads:
            thread.start()
        command = asyncio.create_task(self.run_command())
        visitors = await self.send_requests(command)
        await asyncio.gather(command, *visitors)
        self.over.set()
        for thread in threads:
            thread.join()
        return {
            "requests": self.requests,
            "asked": list(self.asked.values()),
            "looks": self.looks,
            "command": self.command,
            "lasted": self.now(),
            "cut_off": self.cut_off,
        }

    def connect(self, name: str):
        connection = psycopg2.connect("", application_name=name)  # libpq reads PGHOST and the others
        connection.autocommit = True
        return connection

    async def send_requests(self, command: asyncio.Task) -> list[asyncio.Task]:
        """Send what is due, until the planned end and some time longer than the command runs."""
        visitors, tail = [], self.plan.seconds / 10
        after = self.plan.seconds / 2 if self.plan.joining else tail  # both versions serve for long enough
        while True:
            due = len(visitors) / self.plan.rate
            await asyncio.sleep(max(0, due - self.now()))
            if len(visitors) % max(1, int(self.plan.rate * tail)) == 0 and due < self.plan.seconds:
                say({"tenth": round(due / tail)})
            ended = self.command["ended"]
            if due >= self.plan.seconds and ended is not None and due >= ended + after:
                return visitors
            visitors.append(asyncio.create_task(self.visit(len(visitors), due)))

    async def visit(self, number: int, due: float) -> None:
        book = self.books[number % len(self.books)]
        addresses = self.plan.addresses + self.plan.joining * (self.command["exit_code"] == 0)
        address = addresses[number // 3 % len(addresses)]  # each gets every kind of page
        self.asked[address] += 1
        method, body = "GET", ""
        path = ("/", f"/books/{book}", f"/customers/{1 + number % len(self.emails)}")[number % 3]
        if number % ORDER_EVERY == ORDER_EVERY - 1:
            method, path = "POST", "/orders"
            orders = self.emails[(number // ORDER_EVERY * 3 + 2) % len(self.emails)]  # whose page is asked for, too
            body = f"book_id={book}&quantity=1&email={orders}"
        try:
            status = await asyncio.wait_for(self.ask(address, method, path, body), PATIENCE)
        except (OSError, TimeoutError, IndexError, ValueError):
            status = 0
        self.requests.append((due, self.now() - due, method, status))

    async def ask(self, address: str, method: str, path: str, body: str) -> int:
        """Send one request on a connection of its own; the status of the answer."""
        reader, writer = await asyncio.open_connection(*address.rsplit(":", 1))
        try:
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n"
                f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            answer = await reader.read()  # to the end, since the connection closes
            return int(answer.split(maxsplit=2)[1])
        finally:
            writer.close()

    async def run_command(self) -> None:
        await asyncio.sleep(self.plan.command_at)
        self.command["began"] = self.now()
        self.process = await asyncio.create_subprocess_shell(
            self.plan.command,
            cwd=self.plan.folder,
            env={**os.environ, "PGAPPNAME": "migration"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            said, _ = await asyncio.wait_for(self.process.communicate(), self.plan.seconds + self.plan.patience)
        except TimeoutError:
            os.killpg(self.process.pid, signal.SIGKILL)
            said = b"it did not come to an end"
        self.command |= {
            "ended": self.now(),
            "exit_code": await self.process.wait(),
            "said": said.decode("utf-8", "replace"),
        }

    def stand_beside(self) -> None:
        """Another session, whose transaction stays open until it was long enough in the way."""
        self.over.wait(self.plan.beside_at)
        with closing(self.connect("report")) as connection, connection.cursor() as cursor:
            connection.autocommit = False
            try:
                cursor.execute(self.plan.beside)
                while not self.stood_in_the_way() and not self.over.wait(EVERY):
                    pass
                cursor.execute("SELECT")  # hears of its end only now
            except psycopg2.Error as error:
                self.cut_off = bool(connection.closed) or isinstance(error, QueryCanceled)
                if not self.cut_off:
                    self.give_up(error)

    def stood_in_the_way(self) -> bool:
        """Whether the time planned for the other session is over, and a migration that ran waited for it."""
        until = self.plan.beside_until
        if self.command["ended"] is None:  # who asks with NOWAIT is never seen waiting, so there is an end to it
            until = until + self.plan.seconds if self.stood is None else max(until, self.stood + STANDS)
        return self.now() >= until

    def watch(self) -> None:
        """Look at the server's sessions and locks again and again. Without its looks nobody would seem blocked."""
        try:
            with closing(self.connect("watcher")) as connection, connection.cursor() as cursor:
                while not self.over.wait(max(0, EVERY - self.now() % EVERY)):
                    self.look(cursor)
        except psycopg2.Error as error:
            self.give_up(error)

    def look(self, cursor) -> None:
        cursor.execute(SESSIONS)
        sessions = cursor.fetchall()
        cursor.execute(HELD)
        self.looks.append((self.now(), sessions, cursor.fetchall()))
        beside = {pid for name, pid, *_ in sessions if name == "report"}
        if self.stood is None and any(
            name == "migration" and beside & set(blockers) for name, _, _, _, _, blockers, *_ in sessions
        ):
            self.stood = self.now()

    def end_with_input(self) -> None:
        if not os.read(0, 4096):
            self.end()

    def give_up(self, error: psycopg2.Error) -> None:
        say({"problem": str(error).strip().splitlines()[0]})
        self.end()

    def end(self) -> None:
        if self.process and self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        os._exit(1)  # its sessions end with it, and with them their locks


def say(what: dict) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    driver = Driver(Plan(**json.loads(sys.argv[1])))
    try:
        say(asyncio.run(driver.run()))
    except psycopg2.Error as error:
        driver.give_up(error)

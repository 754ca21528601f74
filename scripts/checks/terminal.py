"""Runs programs on an emulated terminal and looks at what a person would see. Used by terminal.sh."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

import pyte

LONGHAUL, EXAMPLE, WORK = sys.argv[1:]
LIMIT = 90
ROWS = 24
MESSAGES = 2000
ESCAPE = "\x1b"


def fail(text):
    sys.exit(f"terminal: {text}")


class Session:
    """A program on a terminal of its own, and each screen that it has shown."""

    def __init__(self, arguments, columns, env=None):
        self.arguments, self.columns = arguments, columns
        self.screen = pyte.Screen(columns, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.screens = []
        pid, self.master = pty.fork()
        if pid == 0:
            os.environ.update({"TERM": "xterm-256color", **(env or {})})
            self.resize_descriptor(0, columns)
            os.execv(arguments[0], arguments)
        self.pid = pid
        self.resize_descriptor(self.master, columns)

    @staticmethod
    def resize_descriptor(descriptor, columns):
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))

    def resize(self, columns):
        self.resize_descriptor(self.master, columns)
        self.columns = columns
        self.screen.resize(ROWS, columns)

    def lines(self):
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def read(self, until=None):
        """Reads until the program ends, or until the screen fulfils the condition."""
        deadline = time.monotonic() + LIMIT
        while True:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                fail(f"{self.arguments} takes longer than {LIMIT} s; it shows {self.lines()}")
            readable, _, _ = select.select([self.master], [], [], 0.5)
            if not readable:
                continue
            try:
                chunk = os.read(self.master, 4096)
            except OSError:
                chunk = b""
            if not chunk:
                return self
            self.raw += chunk
            self.stream.feed(chunk)
            self.screens.append(self.lines())
            if until and until(self):
                return self

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self):
        self.read()
        _, status = os.waitpid(self.pid, 0)
        os.close(self.master)
        self.code = os.waitstatus_to_exitcode(status)
        if self.screen.cursor.hidden:
            fail(f"{self.arguments} leaves the cursor hidden")
        return self


def expect(condition, text):
    if not condition:
        fail(text)


def words(lines):
    """The text of lines that the terminal may have broken anywhere."""
    return re.sub(r"\s", "", "".join(lines))


def is_bar(session):
    return any(re.search(r"[1-9]\d*/\d+|[1-9]\d*%|[1-9]\d* of \d+ orders", line) for line in session.lines())


def longhaul(*arguments):
    """The command in a pipe: its answer, without anything for a terminal."""
    ran = subprocess.run([LONGHAUL, *arguments], capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL)
    expect(ESCAPE not in ran.stdout + ran.stderr, f"colours in a pipe: {arguments}")
    expect(ran.returncode == 0, f"{arguments}: {ran.returncode} {ran.stdout} {ran.stderr}")
    expect(ran.stderr == "", f"a bar in a pipe: {arguments} {ran.stderr!r}")
    return ran.stdout


def ids(directory, queue):
    listed = longhaul("errors", "list", "--limit", "10000", "--json", "--error-queue", queue, "--data", directory)
    return [message["id"] for message in json.loads(listed)["messages"]]


def stage(name):
    """A directory with many failed messages."""
    directory = os.path.join(WORK, name)
    longhaul("demo", "--data", directory)
    exported = os.path.join(WORK, "failed.jsonl")
    with open(exported, "w", encoding="utf-8") as file:
        for number in range(MESSAGES):
            headers = [
                ["longhaul.type", "shop.charge_card.v1"],
                ["longhaul.error.endpoint", "shop"],
                ["longhaul.error.source-queue", "shop"],
                ["longhaul.error.reason", "handler-failed"],
                ["longhaul.error.text", f"charge order {number}: the bank is closed"],
            ]
            record = {"longhaul_export": 1, "id": f"m-{number}", "headers": headers, "body": "{}"}
            file.write(json.dumps(record) + "\n")
    longhaul("errors", "import", exported, "--data", directory)
    return directory


def only_one_line(session, what):
    """While a bar is shown there is nothing else: what is broken into two lines, or left behind, would be."""
    for lines in session.screens[:-1]:
        if len(lines) > 1 and not words(lines).startswith(words([what])):
            fail(f"more than a bar at {session.columns} columns: {lines}")


def replay(directory):
    command = [LONGHAUL, "errors", "replay", "--all", "--yes", "--rate", "1500", "--data", directory]
    return command


def check_replay(columns):
    directory = stage(f"replay-{columns}")
    session = Session(replay(directory), columns)
    session.read(is_bar)
    session.end()
    expect(session.code == 0, f"a replay at {columns} columns ended with {session.code}: {session.lines()}")
    done = f"replayed {MESSAGES} of {MESSAGES} messages"
    only_one_line(session, done)
    expect(words(session.lines()) == words([done]), f"left at {columns} columns: {session.lines()}")
    print(f"replay at {columns} columns: {len(session.screens)} screens, ends with {session.lines()}")


def check_resize():
    directory = stage("resize")
    session = Session(replay(directory), 80)
    session.read(is_bar)
    session.resize(20)
    before = len(session.screens)
    session.end()
    done = f"replayed {MESSAGES} of {MESSAGES} messages"
    # The line that was drawn before is broken by the terminal; the ones after it are not.
    session.screens = session.screens[before + 2 :]
    only_one_line(session, done)
    expect(words(session.lines()) == words([done]), f"left after a resize: {session.lines()}")
    print(f"resized from 80 to 20 columns: ends with {session.lines()}")


def check_interrupt(columns):
    directory = stage(f"interrupt-{columns}")
    session = Session(replay(directory), columns)
    session.read(is_bar)
    session.type("\x03")
    session.end()
    expect(session.code == 130, f"Ctrl-C at {columns} columns ends with {session.code}")
    text = words(session.lines())
    expect(text.removeprefix("^C") == words(["interrupted: what is not done is where it was; run it again"]), f"after Ctrl-C: {session.lines()}")
    failed, sent = ids(directory, "error"), ids(directory, "shop")
    everything = {f"m-{number}" for number in range(MESSAGES)}
    expect(set(failed) | set(sent) == everything, "Ctrl-C has lost messages")
    expect(failed and sent, "it was not interrupted in the middle")
    longhaul(*replay(directory)[1:])
    sent = ids(directory, "shop")
    expect(set(sent) == everything and ids(directory, "error") == [], "the second run did not do the rest")
    twice = len(sent) - len(everything)
    print(f"Ctrl-C at {columns} columns: {len(failed)} left for the second run, {twice} sent twice under their ids")


def check_question():
    directory = stage("question")
    command = [LONGHAUL, "errors", "discard", "--all", "--data", directory]
    asked = lambda session: words(["to discard them:"]) in words(session.lines())
    session = Session(command, 80)
    session.read(asked)
    session.type("\x03")
    session.end()
    expect(session.code == 130, f"Ctrl-C at a question ends with {session.code}: {session.lines()}")
    session = Session(command, 80)
    session.read(asked)
    session.type("12\n")
    session.end()
    expect(session.code == 2, f"a wrong number ends with {session.code}")
    expect(len(ids(directory, "error")) == MESSAGES, "discarded without consent")
    session = Session(command, 20)
    session.read(asked)
    session.type(f"{MESSAGES}\n")
    session.end()
    expect(session.code == 0 and ids(directory, "error") == [], f"the right number: {session.code}")
    print("a question: Ctrl-C and a wrong number do nothing, the right number does it")


def check_colours(directory):
    command = [LONGHAUL, "errors", "list", "--limit", "3", "--data", directory]
    session = Session(command, 80).end()
    head = session.screen.buffer[0]
    expect(head[0].data == "F" and head[0].bold, f"the head is not bold: {session.lines()}")
    plain = Session(command, 80, {"NO_COLOR": "1"}).end()
    expect(ESCAPE.encode() not in plain.raw, "NO_COLOR is not respected")
    expect(plain.lines() == session.lines(), "NO_COLOR changes more than colours")
    dumb = Session([LONGHAUL, "errors", "show", "m-1", "--data", directory], 80).end()
    expect(any(cell.fg == "red" for row in dumb.screen.buffer.values() for cell in row.values()), "the error is not red")
    print("colours: on a terminal, not with NO_COLOR, not in a pipe")


def check_demo():
    folder = os.path.join(WORK, "tmp")
    os.mkdir(folder)
    for columns in (80, 40):
        session = Session([LONGHAUL, "demo"], columns, {"TMPDIR": folder}).end()
        expect(session.code == 0, f"the demonstration ended with {session.code}")
    expect(os.listdir(folder) == [], f"the demonstration left {os.listdir(folder)}")
    session = Session([LONGHAUL, "demo"], 80, {"TMPDIR": folder})
    session.read(lambda session: any("$ longhaul" in line for line in session.lines()))
    session.type("\x03")
    session.end()
    expect(session.code == 130 and os.listdir(folder) == [], f"Ctrl-C in the demonstration: {session.code} {os.listdir(folder)}")
    print("the demonstration leaves nothing behind, interrupted or not")


def check_example(columns):
    directory = os.path.join(WORK, f"orders-{columns}")
    command = [EXAMPLE, "--orders", "40", "--data", directory]
    session = Session(command, columns)
    session.read(is_bar)
    bars = [line for line in session.lines() if re.search(r"\d of \d+ orders|\d/\d+|\d%", line) and "State" not in line]
    expect(len(bars) == 1, f"the bar at {columns} columns: {session.lines()}")
    session.type("\x03")
    session.end()
    expect(session.code == 1, f"Ctrl-C ends the example with {session.code}, and not with 1 as it says")
    expect("stopped before the end" in " ".join(session.lines()) or columns < 40, f"{session.lines()}")
    again = Session(command, columns).end()
    expect(again.code == 0, f"the example at {columns} columns ended with {again.code}: {again.lines()}")
    for lines in again.screens:
        bars = [line for line in lines if re.search(r"\d+/40$", line)]
        expect(len(bars) <= 1, f"bars left behind at {columns} columns: {lines}")
    expect("It adds up" in " ".join(again.lines()), f"{again.lines()}")
    print(f"the example at {columns} columns: interrupted, gone on, and it adds up")


def main():
    for columns in (80, 40, 20):
        check_replay(columns)
        check_interrupt(columns)
    check_resize()
    check_question()
    check_colours(stage("colours"))
    check_demo()
    for columns in (80, 40, 20):
        check_example(columns)
    shutil.rmtree(WORK, ignore_errors=True)


main()

"""Put hostile values, one at a time, into the valid calls, and say what went wrong."""

import contextlib
import inspect
import os
import resource
import shutil
import signal
import warnings
from dataclasses import dataclass
from pathlib import Path

from calls import call
from kinds import hostile_values, nan_count, wrong_refusal

SECONDS = 5  # a hostile value that takes longer has not been refused
SPARE_BYTES = 3 * 2**30  # memory that a call may take beyond what the process has

# arguments that are a name or a file
NAMES_OF_FILES = {"find_params", "find_phase", "plan"}
FOREIGN = {
    "audio/interview.flac": b"not a clip of ours",
    "shards/train.tar": b"somebody's archive",
    "shards/notes.parquet": b"somebody's table",
    "deep/.tmp-x/notes.txt": b"somebody's notes",
    "cfg.json": b'{"mine": 1}',
    "config.json": b'{"mine": 2}',
    "manifest.json": b"[1, 2]",
    "model.safetensors": b"somebody's weights",
    "direction.json": b"[]",
    "report.md": b"# Mine",
    "gates.json": b"{}",
}


@dataclass(frozen=True)
class Failure:
    "One hostile value that was not met as it should be."

    function: str
    argument: str
    kind: str
    value: str
    problem: str

    @property
    def key(self):
        return f"{self.function} {self.argument}: {self.value}"

    @property
    def line(self):
        return f"`{self.function}({self.argument}={self.value})` -> {self.problem}"


class TooSlow(BaseException):
    "Raised by the alarm inside a call."


@contextlib.contextmanager
def limits():
    "An alarm, and a bound on memory, so that an absurd size fails instead of freezing the machine."

    def ring(number, frame):
        raise TooSlow

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SPARE_BYTES, hard))
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def plant(folder):
    "Somebody's files in a folder."
    for name, data in FOREIGN.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return Path(folder)


def touched(folder):
    "Names of somebody's files that changed."
    lost = []
    for name, data in FOREIGN.items():
        path = Path(folder) / name
        if not path.is_file() or path.read_bytes() != data:
            lost.append(name)
    return lost


@contextlib.contextmanager
def working_folder(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


def listed(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))


def outcome(function, arguments):
    "(result, None) or (None, error) of a call."
    try:
        with limits(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(function, arguments), None
    except TooSlow:
        return None, TooSlow()
    except Exception as error:
        return None, error


def judged(function, arguments, name, value, must_refuse, baseline):
    "What is wrong with the outcome of a hostile call, or None; and was it refused?"
    result, error = outcome(function, arguments)
    if isinstance(error, TooSlow):
        return f"runs longer than {SECONDS} s"
    if error is not None:
        return wrong_refusal(error, name, value, must_refuse)
    if must_refuse:
        return "is accepted"
    if nan_count(result) > baseline:
        return "gives NaN without a word"
    return None


def try_function(world, full_name, function, make):
    "Failures and number of hostile values over all arguments of a function."
    failures, n_values = [], 0
    home = plant(world.folder())
    before = listed(home)
    with working_folder(home):
        baseline = nan_count(call(function, make(world)))
        for parameter in inspect.signature(function).parameters.values():
            value = make(world).get(parameter.name, parameter.default)
            kind, rows = hostile_values(function, parameter, value)
            for label, bad, must_refuse in rows:
                arguments = make(world) | {parameter.name: bad}
                problem = judged(function, arguments, parameter.name, bad, must_refuse, baseline)
                n_values += 1
                if listed(home) != before or touched(home):
                    problem = "writes into the working folder or touches foreign files"
                    home = plant(world.folder())
                    before = listed(home)
                    os.chdir(home)
                if problem:
                    failures.append(Failure(full_name, parameter.name, kind, label, problem))
            if kind == "path":
                found, n_tried = try_places(world, full_name, function, make, parameter)
                failures += found
                n_values += n_tried
    return failures, n_values


def try_places(world, full_name, function, make, parameter):
    "Folders with somebody's files, files for folders, and `~`, as one path argument."
    name = parameter.name
    valid = Path(make(world)[name]) if name in make(world) else None
    if valid is None:
        return [], 0
    failures = []
    is_written = not valid.exists()
    ending = valid.suffix if valid.suffix not in (".zarr",) else ""

    def note(label, problem):
        if problem:
            failures.append(Failure(full_name, name, "path", label, problem))

    foreign = plant(world.folder())
    arguments = make(world) | {name: foreign}
    _, error = outcome(function, arguments)
    problem = wrong_refusal(error, name, foreign) if error is not None else None
    if lost := touched(foreign):
        problem = f"changes foreign files: {', '.join(lost)}"
    note("a folder with foreign files", problem)
    n_tried = 1

    if not ending:  # a folder is meant
        file = world.file("somebody's text", ".txt")
        _, error = outcome(function, make(world) | {name: file})
        problem = wrong_refusal(error, name, file) if error is not None else None
        if error is None and is_written and function.__name__ not in NAMES_OF_FILES:
            problem = "accepts a file where a folder is meant"
        if not file.is_file() or file.read_text() != "somebody's text":
            problem = "overwrites a file that it was given as a folder"
        note("a file", problem)
        n_tried += 1

    if is_written:
        user = world.folder()
        old_home = os.environ.get("HOME")
        os.environ["HOME"] = str(user)
        try:
            _, error = outcome(function, make(world) | {name: f"~/made here{ending}"})
        finally:
            os.environ["HOME"] = old_home or "/"
        in_cwd = (Path.cwd() / "~").exists()
        problem = None
        if in_cwd:
            problem = "makes a folder named ~"
        elif error is not None:
            problem = wrong_refusal(error, name, "made here")
        note("'~/made here'", problem)
        if in_cwd:
            shutil.rmtree(Path.cwd() / "~")
        n_tried += 1
    return failures, n_tried

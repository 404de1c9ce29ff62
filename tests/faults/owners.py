"""Which helper mends what: only for the list of what fails while the work goes on."""

READERS = (
    "read_", "load_", "from_", "dictionary_f", "list_dictionaries", "fit_listener", "check_words",
)  # fmt: skip
STORE = ("ClipStore", "replay_store", "StoreBatches", "pad_tokens")
PHASES = ("plan", "run_", "resolve_parameters", "find_phase", "value_from_text", "open_run")


def owner_of(failure):
    "paths, identity, store, args, phases or readers."
    short = failure.function.split(".", 1)[1]
    if failure.kind == "path":
        return "paths"
    if failure.value in ("10**18", "1e12", "range(10**9)") or "memory" in failure.problem:
        return "phases"
    if short.startswith(STORE):
        return "store"
    if short.startswith(READERS) or short.split(".")[-1].startswith(READERS):
        return "readers"
    if failure.function.startswith(("lab.", "studies.", "cli.")) and short.startswith(PHASES):
        return "phases"
    if failure.kind == "model":
        return "identity"
    return "args"

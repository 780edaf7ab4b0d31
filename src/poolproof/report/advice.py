"""What the owner of a pool can do about a promise that was broken: one sentence a promise."""

from typing import Final

ADVICE: Final = {
    "resolves-every-operation": (
        "Give every operation an end: fail what a lost worker held; at the close, finish or fail what is left."
    ),
    "runs-at-most-once": (
        "Run nothing again that a lost worker may have begun, unless its caller declared it idempotent."
    ),
    "returns-the-right-result": (
        "Match answers to operations by a number that travels with them, and let nothing fail while nothing is wrong."
    ),
    "types-every-error": (
        "Hand the user's exception on as itself; name the pool's own in its claims: Claims(errors=('module.Type', …))."
    ),
    "closes-cleanly": (
        "Let close return in bounded time whatever was lost: wait for workers with a limit, then end them."
    ),
    "leaves-nothing-behind": (
        "At the close, reap the workers and give back what was opened. Let workers watch a pipe that their parent "
        "alone holds open, so that they end when it dies (PR_SET_PDEATHSIG tells of the thread that forked them)."
    ),
    "survives-worker-death": "Replace a dead worker and go on serving.",
    "contains-the-blast": "Fail only what the dead worker had begun, and give the rest to others.",
    "restores-capacity": "Start as many workers as were lost.",
    "degrades-gracefully": (
        "Let the surviving workers go on while lost ones are replaced: hold no lock while one starts."
    ),
    "keeps-sessions-sticky": (
        "Route a session's operations to the worker that holds its state, for as long as that lives."
    ),
    "isolates-sessions": "Keep a state of its own for each session, by its key.",
    "keeps-session-order": "Queue a session's operations behind each other, and start one when the last has ended.",
    "sheds-overload": (
        "Bound the queue, and refuse at once what does not fit, with an exception that the claims name: "
        "Claims(overload=('module.Type',))."
    ),
    "serves-fairly": "Serve first what came first.",
    "honours-deadlines": (
        "Fail an operation when its deadline passes, waiting or running, and end the worker that is busy with it."
    ),
}
"""By promise."""

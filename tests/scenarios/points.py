"""Every crash point of the code, by the worker that gets to it; tests/test_crash.py holds the list to the code."""

from __future__ import annotations

# reached at every moment
ALWAYS = {
    "sequence": (
        "sequence.after_begin",
        "sequence.before_snapshot",
        "sequence.after_batch",
        "sequence.after_rejected",
        "sequence.before_commit",
        "sequence.after_commit",
        "sequence.after_topics",
    ),
    "stream": (
        "stream.after_versions",
        "stream.after_answers",
        "stream.after_write",
        "stream.before_acknowledged",
    ),
    "merge": (
        "merge.after_topics",
        "merge.before_flush",
        "merge.after_ops",
        "merge.after_catalog",
        "merge.after_answers",
        "merge.after_commit_record",
        "merge.after_commit",
        "merge.after_store",
        "cleanup.after_trim",
    ),
    "serve": ("replica.after_ops", "replica.before_expose", "replica.after_expose"),
}
# reached while a deployment replays, switches or ends
DURING_A_DEPLOY = {
    "stream": (
        "replay.after_bounds",
        "replay.after_chunk",
        "replay.after_scan",
        "replay.after_head",
    ),
    "merge": ("cleanup.before_pass", "cleanup.after_topics", "cleanup.after_groups"),
}
# reached once by every process
AT_START = {"sequence": ("sequence.after_fence",), "merge": ("merge.after_fence", "merge.after_recovery")}
# reached on an idle source, or where a table is read again
SELDOM = {"sequence": ("sequence.before_signal",), "stream": ("stream.after_announcement",)}
# reached by the command `syncline deploy` where a table is to be captured
OF_A_COMMAND = {"deploy": ("deploy.after_topics", "deploy.after_list", "deploy.after_publication")}
POINTS = tuple(
    (module, point)
    for reached in (ALWAYS, DURING_A_DEPLOY, AT_START, SELDOM, OF_A_COMMAND)
    for module, points in reached.items()
    for point in points
)

"""What a version was made of: from its registration, its run and its manifest; the model itself is not loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from millstream.base.errors import NotFound
from millstream.base.moments import moment_of
from millstream.train.port import Tracking
from millstream.train.predictor import MANIFEST


def describe(tracking: Tracking, name: str, version_or_alias: str) -> Mapping[str, Any]:
    """All that made the version, as plain JSON: values, lists of texts, and mappings one level deep.

    Of note: `code` holds the hash of the function with all it reaches; `tables` the lake version of every table behind
    the training set; `features` the fingerprint of each definition; `training_set` its version, fingerprint and rows.

    Raises:
        NotFound: There is no such version, or its files are gone.
    """
    version = tracking.version(name, version_or_alias)
    run = tracking.run(version.run_id)
    path = tracking.artifacts(name, version.number) / MANIFEST
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"{MANIFEST} of {name}@{version.number} is gone ({path.parent}); train it again") from None
    made = told["dataset"]
    until = {} if made["until_us"] < 0 else {"until": moment_of(made["until_us"]).isoformat()}
    return {
        "model": name,
        "version": version.number,
        "aliases": list(version.aliases),
        "created": version.created_at.isoformat(),
        "run": run.id,
        "started": run.started_at.isoformat(),
        "seconds": round((run.ended_at - run.started_at).total_seconds(), 3) if run.ended_at else None,
        "promoted": version.tags.get("promoted") == "true",
        "verdict": version.tags.get("reason", ""),
        "promote_if": told["promote_if"] or "",
        "metrics": dict(run.metrics),
        "judged_by": told["judged_by"],
        "parameters": told["params"],
        "seed": told["seed"],
        "code": told["code"],
        "libraries": told["libraries"],
        "training_set": {
            "name": made["name"],
            "version": made["version"],
            "fingerprint": made["fingerprint"],
            "known_by": made["mode"],
            **until,
            **{f"rows {part}": rows for part, rows in made["rows"].items()},
            "purged": made["purged"],
            "unlabelled": made["unlabelled"],
            **({"of": made["total"], "left out": made["left_out"]} if made.get("total") is not None else {}),
        },
        "tables": {table: pinned["version"] for table, pinned in told["inputs"].items()},
        "features": {use["prefix"]: use["generation"] for use in told["features"]},
        "derive": told["derive"],
        "labels": told["labels"],
        "columns": told["columns"],
        "input": told["input"],
        "output": told["output"],
        "file": told["file"],
    }

"""Schedules by hand: one again by its seed, with its smallest failing part; or a range of seeds.

python tests/sim/simulate.py --seed 42
python tests/sim/simulate.py --first 0 --count 200000 --jobs 2
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time

from schedules import fails, schedule, shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="run this one, and print its steps")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # of features that are filled again, as they should be
    if given.seed is not None:
        steps = schedule(given.seed)
        why = fails(steps)
        print(
            shown(given.seed, steps, why)
            if why
            else "\n".join([*(f"{name}{numbers}" for name, numbers in steps), "nothing is wrong"])
        )
        return bool(why)
    begun, bad = time.monotonic(), 0
    with multiprocessing.get_context("fork").Pool(given.jobs) as pool:
        for done, (seed, why) in enumerate(
            pool.imap_unordered(one, range(given.first, given.first + given.count), chunksize=16), 1
        ):
            if why:
                bad += 1
                print(shown(seed, schedule(seed), why), flush=True)
            if done % 500 == 0:
                each = (time.monotonic() - begun) / done * 1e3
                print(
                    f"{done} of {given.count}, {bad} bad, {each:.0f} ms each",
                    end="\r" if sys.stderr.isatty() else "\n",
                    file=sys.stderr,
                    flush=True,
                )
    print(f"{given.count} schedules from seed {given.first}: {bad} bad, {time.monotonic() - begun:.0f} s")
    return bool(bad)


def one(seed: int) -> tuple[int, str]:
    return seed, fails(schedule(seed))


if __name__ == "__main__":
    sys.exit(main())

"""The suite that every tracking engine passes: subclass `TrackingContract` and give it a fresh engine."""

from __future__ import annotations

import math
import threading
from abc import abstractmethod
from pathlib import Path

import pytest

from millstream.base.errors import NotFound, UsageError
from millstream.train.port import Tracking


class TrackingContract:
    """`tracking` may be shared by the tests of a class: each uses model names of its own."""

    @pytest.fixture
    @abstractmethod
    def tracking(self) -> Tracking:
        """An engine; anything in it before is fine."""

    @abstractmethod
    def again(self, tracking: Tracking) -> Tracking:
        """A second engine at the same URL, as another process would open it."""

    def finished(self, tracking: Tracking, model: str, folder: Path, text: str = "x") -> str:
        run = tracking.start(model, {"leaves": 31}, {"code": "abc"})
        (folder / "sub").mkdir(parents=True, exist_ok=True)
        (folder / "sub" / "file.txt").write_text(text)
        tracking.store(run, folder)
        tracking.finish(run)
        return run

    def test_a_run_is_read_back_as_it_was_recorded(self, tracking: Tracking) -> None:
        run = tracking.start("c_run", {"leaves": 31, "c": 0.1}, {"code": "abc"})
        told = tracking.run(run)
        assert (told.id, told.model, told.status, told.ended_at) == (run, "c_run", "running", None)
        assert told.params == {"leaves": "31", "c": "0.1"} and told.tags == {"code": "abc"}
        tracking.log(run, {"auc": 0.72})
        tracking.log(run, {"auc": 0.75, "brier": 0.16}, step=1)
        tracking.finish(run)
        told = tracking.run(run)
        assert told.status == "finished" and told.ended_at is not None and told.ended_at >= told.started_at
        assert told.started_at.tzinfo is not None and told.metrics == {"auc": 0.75, "brier": 0.16}

    def test_more_params_than_one_message_holds(self, tracking: Tracking) -> None:
        params = {f"p{i:03}": i for i in range(250)}
        told = tracking.run(tracking.start("c_many", params, {f"t{i:03}": "x" for i in range(150)}))
        assert told.params == {k: str(v) for k, v in params.items()} and len(told.tags) == 150

    def test_failed_and_killed_are_not_finished(self, tracking: Tracking) -> None:
        for status in ("failed", "killed"):
            run = tracking.start("c_failed", {}, {})
            tracking.finish(run, status)
            assert tracking.run(run).status == status
            with pytest.raises(UsageError):
                tracking.register("c_failed", run, {})
        with pytest.raises(UsageError):
            tracking.finish(run, "fine")
        assert tracking.versions("c_failed") == []

    def test_runs_come_latest_first(self, tracking: Tracking) -> None:
        ids = [tracking.start("c_order", {}, {}) for _ in range(3)]
        other = tracking.start("c_order_too", {}, {})
        told = tracking.runs("c_order")
        assert {run.id for run in told} == set(ids) and [r.started_at for r in told] == sorted(
            (r.started_at for r in told), reverse=True
        )
        assert len(tracking.runs("c_order", limit=2)) == 2 and tracking.runs("c_nobody") == []
        assert {*ids, other} <= {run.id for run in tracking.runs()}

    def test_pages_of_runs_leave_none_out_and_show_none_twice(self, tracking: Tracking) -> None:
        ids = {tracking.start("c_pages", {}, {}) for _ in range(7)}
        seen: list[str] = []
        last = None
        while page := tracking.runs("c_pages", limit=3, before=last):
            assert len(page) <= 3
            seen += [run.id for run in page]
            last = page[-1]
        assert len(seen) == 7 and set(seen) == ids

    def test_metrics_have_a_history_by_step(self, tracking: Tracking) -> None:
        run = tracking.start("c_steps", {}, {})
        for step in (2, 0, 1):
            tracking.log(run, {"loss": 1.0 / (step + 1), "auc": 0.5 + step / 10}, step=step)
        tracking.log(run, {"loss": math.nan}, step=1)
        found = tracking.history(run, "loss")
        assert [(p.step, p.value) for p in found if not math.isnan(p.value)] == [(0, 1.0), (1, 0.5), (2, 1.0 / 3)]
        assert [p.step for p in found] == [0, 1, 1, 2] and math.isnan(found[2].value)
        assert tracking.run(run).metrics == {"loss": 1.0 / 3, "auc": 0.7}, "the last step counts, in whatever order"
        assert tracking.history(run, "nothing") == [] and all(p.at.tzinfo is not None for p in found)

    def test_the_files_of_a_run_are_listed(self, tracking: Tracking, tmp_path: Path) -> None:
        run = tracking.start("c_listed", {}, {})
        assert tracking.files(run) == []
        (tmp_path / "deep" / "er").mkdir(parents=True)
        (tmp_path / "deep" / "er" / "b.txt").write_text("b")
        (tmp_path / "a.txt").write_text("a")
        tracking.store(run, tmp_path)
        assert tracking.files(run) == ["a.txt", "deep/er/b.txt"]

    def test_what_is_not_there(self, tracking: Tracking, tmp_path: Path) -> None:
        tracking.register("c_missing", self.finished(tracking, "c_missing", tmp_path), {})
        for call in (
            lambda: tracking.run("0" * 32),
            lambda: tracking.version("c_missing", "9"),
            lambda: tracking.version("c_missing", "champion"),
            lambda: tracking.version("c_nobody", "1"),
            lambda: tracking.version("c_nobody", "champion"),
            lambda: tracking.artifacts("c_missing", 9),
            lambda: tracking.alias("c_missing", "champion", 9),
        ):
            with pytest.raises(NotFound):
                call()
        assert tracking.versions("c_nobody") == []

    def test_a_run_that_nobody_began(self, tracking: Tracking, tmp_path: Path) -> None:
        nobody = "0" * 32
        for call in (
            lambda: tracking.log(nobody, {"auc": 1.0}),
            lambda: tracking.store(nobody, tmp_path),
            lambda: tracking.finish(nobody),
            lambda: tracking.history(nobody, "auc"),
            lambda: tracking.files(nobody),
            lambda: tracking.register("c_nobody", nobody, {}),
        ):
            with pytest.raises(NotFound):
                call()

    def test_texts_come_back_whole(self, tracking: Tracking, tmp_path: Path) -> None:
        """Verdicts are sentences, parameters may be lists: long, of any script, with line ends and quotes."""
        text = "łódź 東京 \"quoted\" 'once' 100 %\nnext line; -- no comment" * 60
        run = tracking.start("c_texts", {"p": text, "sizes": [1, 2], "none": None}, {"reason": text, "empty": ""})
        told = tracking.run(run)
        assert told.params == {"p": text, "sizes": "[1, 2]", "none": "None"} and told.tags == {
            "reason": text,
            "empty": "",
        }
        tracking.finish(run)
        assert self.again(tracking).version(
            "c_texts", str(tracking.register("c_texts", run, {"reason": text}).number)
        ).tags == {"reason": text}

    def test_what_is_stored_twice_is_added(self, tracking: Tracking, tmp_path: Path) -> None:
        run = tracking.start("c_files", {}, {})
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / f"{name}.bin").write_bytes(bytes(range(256)) * 1000)
            tracking.store(run, tmp_path / name)
        tracking.finish(run)
        folder = tracking.artifacts("c_files", tracking.register("c_files", run, {}).number)
        assert {p.name: p.stat().st_size for p in folder.iterdir()} == {"one.bin": 256_000, "two.bin": 256_000}

    def test_two_models_keep_apart(self, tracking: Tracking, tmp_path: Path) -> None:
        for model in ("c_apart", "c_apart_too", "c_apart_too"):
            version = tracking.register(model, self.finished(tracking, model, tmp_path), {})
            tracking.alias(model, "champion", version.number)
        assert (tracking.version("c_apart", "champion").number, tracking.version("c_apart_too", "champion").number) == (
            1,
            2,
        )
        assert [len(tracking.versions(m)) for m in ("c_apart", "c_apart_too")] == [1, 2]

    def test_versions_count_from_one_and_keep_their_files(self, tracking: Tracking, tmp_path: Path) -> None:
        for number in (1, 2, 3):
            run = self.finished(tracking, "c_versions", tmp_path / str(number), text=f"files of {number}")
            version = tracking.register("c_versions", run, {"set": "late_set@4"})
            assert (version.model, version.number, version.run_id, version.tags) == (
                "c_versions",
                number,
                run,
                {"set": "late_set@4"},
            )
        assert [v.number for v in tracking.versions("c_versions")] == [1, 2, 3]
        again = self.again(tracking)
        for number in (1, 2, 3):
            assert (again.artifacts("c_versions", number) / "sub" / "file.txt").read_text() == f"files of {number}"
        again.close()

    def test_an_alias_leaves_the_version_it_pointed_at(self, tracking: Tracking, tmp_path: Path) -> None:
        for _ in range(2):
            tracking.register("c_alias", self.finished(tracking, "c_alias", tmp_path), {})
        for alias in ("champion", "challenger", "latest"):
            tracking.alias("c_alias", alias, 1)
        assert tracking.version("c_alias", "1").aliases == ("challenger", "champion", "latest")
        tracking.alias("c_alias", "latest", 2)
        tracking.alias("c_alias", "latest", 2)
        again = self.again(tracking)
        assert [v.aliases for v in again.versions("c_alias")] == [("challenger", "champion"), ("latest",)]
        assert again.version("c_alias", "latest").number == 2 and again.version("c_alias", "champion").number == 1
        again.close()

    def test_numbers_that_are_not_finite(self, tracking: Tracking) -> None:
        run = tracking.start("c_nan", {}, {})
        tracking.log(run, {"auc": math.nan})
        assert math.isnan(tracking.run(run).metrics["auc"])

    def test_two_threads_make_two_versions(self, tracking: Tracking, tmp_path: Path) -> None:
        made, errors = [], []

        def work(part: int) -> None:
            try:
                made.append(
                    tracking.register(
                        "c_threads", self.finished(tracking, "c_threads", tmp_path / str(part)), {}
                    ).number
                )
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors and sorted(made) == [1, 2]

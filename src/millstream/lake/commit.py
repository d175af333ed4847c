"""One commit through delta-rs, tried until it is known whether it landed; and delta-rs' errors as ours.

Asked again after an error, a store may say "there is one already" of the very commit that it landed without an answer.
So every commit has a tag, and after each error the log is looked through for it, before anything is believed or tried
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
from deltalake import CommitProperties, PostCommitHookProperties, Transaction
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, SchemaMismatchError
from deltalake.transaction import AddAction, RemoveAction

from millstream.base.errors import Conflict, Unreachable
from millstream.base.points import reach
from millstream.base.storage import refused
from millstream.lake import deltalog
from millstream.lake.patience import Patience, Unanswered, patiently

if TYPE_CHECKING:
    from millstream.lake.port import Files
    from millstream.lake.table import LakeTable

T = TypeVar("T")
ONCE = "millstream-once"
"""The app id of commits that move no position. A store may land a commit and lose the answer; delta-rs, which takes it
for somebody else's, would then land the same files once more at the next version. Two of one app id exclude one
another, so it says Conflict, and we look whose it was.
"""
HOOKS_OFF = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class Commit:
    """One commit, tried until it is known whether it landed. No try can land beside another: each asks the store for
    one version, which it gives once.
    """

    def __init__(
        self,
        table: LakeTable,
        actions: list[AddAction | RemoveAction],
        schema: pa.Schema | None,
        words: dict[str, str],
        alone: bool,
    ) -> None:
        self.table, self.actions, self.schema, self.words, self.alone = table, actions, schema, words, alone

    def land(self, moves: Mapping[str, int]) -> None:
        """Raises Conflict when another commit came first, Unreachable when the store does not answer for long; else it
        is there.
        """
        table, patience, nobodys = self.table, Patience(), not moves
        columns = table.schema
        while True:
            before = table.version
            reach("commit.ready")
            try:
                with mapped(table):
                    table.files.call(partial(self._try, moves or {ONCE: (table.position(ONCE) or 0) + 1}))
                return
            except Conflict:
                if self.landed(before) is not None:
                    return
                if not nobodys or self.alone:
                    raise
                # No position of ours, so any other commit may come first
                asked(table.files, table.delta.update_incremental)
                if table.schema != columns or table.version == before:
                    raise
            except Unanswered:
                raise  # it holds the handle, and may land yet: whoever opens the table again finds out
            except Unreachable:
                if self.landed(before) is not None:
                    return
                if not patience.wait():
                    raise

    def _try(self, moves: Mapping[str, int]) -> None:
        table, schema = self.table, self.schema
        table.delta.create_write_transaction(
            self.actions,
            "append" if schema is None else "overwrite",
            table.delta.schema() if schema is None else DeltaSchema.from_arrow(schema),
            partition_by=list(table.partition_by) or None,
            commit_properties=CommitProperties(
                custom_metadata=self.words,
                app_transactions=[Transaction(app, after) for app, after in moves.items()],
                max_commit_retries=0 if self.alone else None,
            ),
            post_commithook_properties=HOOKS_OFF,
        )

    def landed(self, before: int) -> int | None:
        """The version after `before` that is this commit; None when there is none."""
        files, name = self.table.files, self.table.name
        for version in (v for v in deltalog.versions(files, name) if v > before):
            with suppress(FileNotFoundError):
                if deltalog.read(files, name, version).info.get("commitTag") == self.words["commitTag"]:
                    return version
        return None


def asked(files: Files, work: Callable[[], T], *, anew: bool = False) -> T:
    """What delta-rs answers about these files, waiting for a store that does not.

    Args:
        anew: The work makes all that it uses, so that it may be done again when it did not come back.

    Raises:
        Full, ConfigError: The disk refuses; delta-rs drops the number of the system's error.
    """
    try:
        return patiently(lambda: files.call(work), (lambda: None) if anew else None)
    except DeltaError as error:
        if (known := refused(error, files.root, "read or write its tables")) is not None:
            raise known from error
        raise


@contextmanager
def mapped(table: LakeTable) -> Iterator[None]:
    """delta-rs' refusals as ours. Any other error leaves the outcome unknown, and comes through as it is."""
    try:
        with room(table.name):
            yield
    except (CommitFailedError, SchemaMismatchError) as error:
        raise Conflict(f'table "{table.name}": another commit came first ({error}); open it again') from error
    except DeltaError as error:
        known = refused(error, f"{table.files.root}/{table.name}", f'commit to table "{table.name}"')
        if known is not None:
            raise known from error
        if (
            deltalog.newest(table.files, table.name) > table.version
            and table.files.size(deltalog.commit_path(table.name, table.version + 1)) is None
        ):
            raise Conflict(
                f'table "{table.name}": the log behind version {table.version} has been cleaned away; open it again'
            ) from error
        raise


@contextmanager
def room(name: str) -> Iterator[None]:
    """A full disk is something to wait for; one that cannot be written is not."""
    try:
        yield
    except OSError as error:
        raise refused(error, f'table "{name}"', f'write table "{name}"') or error from error

"""How `reembed` makes the new collection, brings rows over and swaps the two; after each step it may be killed.

1. the old collection notes the new one's name; that is made, and notes whose it is
2. rounds, until nothing differs
3. kept beside the new one: marks of the rows that both have, and the ids of those that are lost; then `swapping`
4. the name leads to the new one
5. once more, by those marks, what came late; then `swapped`
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from imgvec import filling, succession
from imgvec.collection import ImageCollection
from imgvec.encoders.protocol import Encoder
from imgvec.engines import LocalEngine
from imgvec.errors import CollectionNotFound, CollectionReplaced, EncoderMismatch
from imgvec.ingest import Job, Journal
from imgvec.migration import LIVE, Bringing, Lost, Reembedding, Renewed, RenewedViews, no_fields
from imgvec.migration.difference import Entry, Judge, Marks
from imgvec.migration.options import BringOptions
from imgvec.migration.renewing import record
from imgvec.milvus import aliases, described
from imgvec.milvus.incarnation import Incarnation
from imgvec.opening import opened_journal, opened_store
from imgvec.progress import OnProgress, Telling
from imgvec.quality import Comparison
from imgvec.report import IngestReport
from imgvec.rows import VECTOR
from imgvec.settings import Settings
from imgvec.sources import Record
from imgvec.succession import BY, OF, Succession
from imgvec.verbs.successors import free_name

_KEY = "reembedded"
_MARKS_AT_ONCE = 2**24
"""Kept in one piece of what a collection learns: 128 MB."""
_INDEXED, _INDEX_SECONDS = 10_000, 24 * 3600.0
"""From so many rows on the name waits for the index: fewer are searched as fast without one."""


_Place: TypeAlias = tuple[str, Incarnation]
"""A collection, for another process."""


def opened_pair(source: _Place, target: _Place, vector: str, settings: Settings, views: bool) -> Renewed:
    """`Renewed`, in another process."""
    ours, theirs = (opened_store(name, settings, key) for name, key in (source, target))
    if views:
        return RenewedViews(ours, theirs, opened_journal(target[0], settings, target[1]))
    return Renewed(ours, theirs, vector)


def opened_notes(source: _Place, target: _Place, vector: str, settings: Settings) -> Journal:
    """What stands in the journal's place, in another process."""
    renewed = opened_pair(source, target, vector, settings, views=True)
    assert isinstance(renewed, RenewedViews)
    return renewed.notes


class Moving:
    """Rows on their way from `source` to `target`, and the name with them."""

    def __init__(
        self,
        source: ImageCollection,
        target: ImageCollection,
        name: str,
        vector: str,
        asked: BringOptions,
        tell: Telling,
    ) -> None:
        self.source, self.target, self.name, self.vector = source, target, name, vector
        self.asked, self.tell = asked, tell
        self._lost: list[Lost] = []
        self._marks: Marks = np.empty(0, np.uint64)
        self._encoded = self._copied = self._deleted = self._rounds = 0
        self._token = secrets.token_hex(8)
        """Of this run."""

    @property
    def done(self) -> int:
        """Rows written to the target and deleted there."""
        return self._encoded + self._copied + self._deleted

    def begin(self, *, back: bool = False) -> None:
        """Note with the target whose rows it is to have, and that this run fills it: any that does already ends."""
        self.target.store.remember(BY, {"run": self._token})
        self._check_name()
        key = self.source.store.incarnation.key
        told = [succession.of(each.store.remembered).before for each in (self.target, self.source)]
        before = tuple(dict.fromkeys((*told[0], *told[1], key)))
        made = Succession(self.source.name, key, before, self.name, back=back)
        self.target.store.remember(OF, made.to_dict())

    def check(self) -> None:
        """Raise `CollectionReplaced` where another run has begun to fill the target, or has moved the name.

        Clients write to the target only once the name leads there: what was looked up before this, and is deleted after
        it, is none of theirs.
        """
        noted = described.remembered(self.target.store.link.described()).get(BY, {})
        if noted.get("run") != self._token:
            raise CollectionReplaced(
                f"another run of reembed has begun to fill {self.target.name!r} since this one did, and goes on from "
                "where it was: leave it to that one"
            )
        self._check_name()

    def _check_name(self) -> None:
        leads, key = self.source.handle.connection.which(self.name)
        if key != self.source.store.incarnation:
            raise CollectionReplaced(
                f"{self.name!r} leads to {leads!r} by now, which another run may have filled: start again if the model "
                "is still to be another"
            )

    def bring(self, judge: Judge, kept: Collection[str] = ()) -> bool:
        """Rounds until nothing differs; False where it was stopped before."""
        bringing = self._bringing(self.check if judge is LIVE else None)
        try:
            return bringing.until_same(judge, kept)
        except (EncoderMismatch, CollectionNotFound):
            if judge is LIVE:
                self.check()  # says it better: its own name leads elsewhere
            raise
        finally:
            self._encoded += bringing.encoded
            self._copied += bringing.copied
            self._deleted += bringing.deleted
            self._rounds += bringing.rounds
            # once clients write to the target, what is lost stays so, and is not looked for again
            self._lost, self._marks = [*(self._lost if judge is not LIVE else ()), *bringing.lost], bringing.marks

    def bring_some(self, number: int) -> bool:
        """Bring so many pictures over, and leave the rest; False where it was stopped before."""
        bringing = self._bringing(self.check)
        try:
            return bringing.some(LIVE, number)
        finally:
            self._encoded += bringing.encoded

    def _bringing(self, check: Callable[[], None] | None) -> Bringing:
        settings, journal = self.source.settings, self.target.handle.target.journal
        roots = settings.roots if self.asked["roots"] is None else self.asked["roots"]
        guards = filling.guards(settings)

        def made(entry: Entry) -> Record:
            return record(entry, roots, guards)

        stores = (self.source.store, self.target.store)
        renewed = Renewed(*stores, self.vector) if journal is None else RenewedViews(*stores, journal)
        if check is not None:
            renewed.check = check
        return Bringing(renewed, partial(self._run, renewed), made, self.tell)

    def _run(self, renewed: Renewed, records: Iterable[Record], errors: Path, on_progress: OnProgress) -> IngestReport:
        engine, source, target = self.asked["engine"] or LocalEngine(), self.source.store, self.target.store
        is_local = isinstance(engine, LocalEngine)
        held = records if is_local else [*records]
        pair = ((source.name, source.incarnation), (target.name, target.incarnation))
        views, names, opened = None, {VECTOR: self.vector}, (*pair, self.vector, self.source.settings)
        if isinstance(renewed, RenewedViews) and (views := filling.views(self.target)) is not None:
            # where a view lies is the new model's to say: the further vectors are made of it again
            views, names = replace(views, journal=renewed.notes), {name: name for name in self.target.bindings}
        alone = source.capabilities.kind == "lite"
        factories = {} if is_local else filling.encoder_factories(self.target)
        job = Job(
            records=partial(iter, held),
            row_fields=no_fields,
            resources=filling.resources(self.source),
            store=renewed,
            encoders={name: partial(self._encoder, of) for name, of in names.items()},
            views=views,
            store_factory=None if alone else partial(opened_pair, *opened, views is not None),
            journal_factory=None if alone or views is None else partial(opened_notes, *opened),
            encoder_factories={} if is_local else {name: factories[of] for name, of in names.items()},
        )
        return engine.ingest(job, errors=errors, on_progress=on_progress, stop=self.asked["stop"])

    def _encoder(self, vector: str) -> Encoder:
        """The new one, or the other vectors' own, which the source may have loaded."""
        return (self.target if vector == self.vector else self.source).handle.target.encoders.of(vector)

    def swap(self) -> None:
        """Let the name lead to the target; the source, where that was its own, is called otherwise from then on."""
        connection, source, target = self.source.handle.connection, self.source.store, self.target.store
        if target.count() >= _INDEXED:
            target.wait_until_indexed(_INDEX_SECONDS)
        self.check()
        is_alias = self.name != source.name
        former = source.name if is_alias else free_name(connection, self.name, 1)
        self._keep()
        told = succession.of(self._refreshed(target))
        target.remember(OF, replace(told, name=former, state="swapping").to_dict())
        if is_alias:
            # on the way back with all that the swap there has brought along
            others = [each for each in connection.aliases_of(source.name) if each != self.name] if told.back else []
            for alias in (self.name, *others):
                aliases.point(target, alias)
        else:
            self.source.handle.give_name(target, former)

    def settle(self) -> None:
        """Note that it is done."""
        told = succession.of(self._refreshed(self.target.store))
        if aliases.GIVING in self._refreshed(self.source.store):
            # of a run that was killed; whoever asked for the name has finished that
            self.source.store.remember(aliases.GIVING, None)
        now = time.time_ns() // 1_000_000
        self.target.store.remember(OF, replace(told, state="swapped", at=now).to_dict())

    def outcome(self, **told: Any) -> Reembedding:
        """What became of it so far."""
        made = Reembedding(
            name=self.name,
            source=self.source.name,
            target=self.target.name,
            model=self.target.bindings[self.vector].model,
            rows=self.target.count(),
            encoded=self._encoded,
            copied=self._copied,
            deleted=self._deleted,
            rounds=self._rounds,
            lost=tuple(self._lost),
            seconds=self.tell.seconds,
        )
        comparison: Comparison | None = told.pop("comparison", None)
        return replace(made, comparison=comparison, **told)

    def _keep(self) -> None:
        forget(self.target)
        parts = max(1, -(-len(self._marks) // _MARKS_AT_ONCE))
        lost = np.array([each.id.encode() for each in self._lost], "S64")
        for number, part in enumerate(np.array_split(self._marks, parts)):
            self.target.learned.write(f"{_KEY}.{number}", {"marks": part, **({} if number else {"lost": lost})})

    @staticmethod
    def _refreshed(store: Any) -> Mapping[str, Mapping[str, Any]]:
        store.refresh()
        found: Mapping[str, Mapping[str, Any]] = store.remembered
        return found


def kept_beside(target: ImageCollection) -> tuple[Marks, frozenset[str]]:
    """The marks and the ids of what was lost, from when the collection took the name."""
    marks: list[Marks] = []
    lost: frozenset[str] = frozenset()
    for number in count():
        found = target.learned.read(f"{_KEY}.{number}")
        if found is None:
            break
        marks.append(found["marks"].astype(np.uint64))
        if "lost" in found:
            lost = frozenset(each.decode() for each in found["lost"].tolist())
    return (np.concatenate(marks) if marks else np.empty(0, np.uint64)), lost


def forget(target: ImageCollection) -> None:
    """Remove what `kept_beside` reads."""
    learned = target.learned
    for key in learned.keys():  # noqa: SIM118  not a mapping's
        if key.startswith(f"{_KEY}."):
            learned.forget(key)

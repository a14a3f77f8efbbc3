"""What an `ImageCollection` holds: the target of its name, which follows an alias.

A handle that was opened by an alias asks where it leads before each write and each query by image, and otherwise once
a second. Where it leads elsewhere the new target is made ready beside the old one, which answers meanwhile; then all of
it is switched at once. One that was opened by a collection's own name keeps to that collection, and asks nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from imgvec import kept, succession
from imgvec.definition import description
from imgvec.definition.description import Remembered
from imgvec.encoders.projected import ProjectedEncoder
from imgvec.encoders.protocol import Binding, Encoder
from imgvec.errors import BackendError, CollectionNotFound, EncoderError, EncoderMismatch, ImgvecError
from imgvec.milvus import Connection, Store, scratch
from imgvec.rows import VECTOR
from imgvec.search.answer import Answer
from imgvec.search.encoding import dims, needs_encoder
from imgvec.search.failing import Failed
from imgvec.search.forms import Form
from imgvec.search.pages import Pages
from imgvec.search.request import PageOptions, SearchOptions
from imgvec.search.searcher import Searcher
from imgvec.settings import Settings
from imgvec.target import Target
from imgvec.vectors import Vectors

LOOK_SECONDS = 1.0
"""How old the knowledge of where an alias leads may be for a query by vector, and any other read."""

_MOVES = 10
"""How often an alias may be moved on while what it led to is opened."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class Handle:
    """What an `ImageCollection` holds: its target now, which is another one once its alias has been moved."""

    def __init__(
        self,
        connection: Connection,
        target: Target,
        settings: Settings,
        given: Mapping[str, Encoder],
        alias: str | None,
        *,
        keeps: bool = False,
    ) -> None:
        self.connection, self._target, self._settings = connection, target, settings
        self._given = given
        """The caller's own encoders, for every target that is bound to them."""
        self._alias = alias
        """What is followed; None keeps to the target."""
        self._keeps = keeps
        """Whatever becomes of its name."""
        self._former: Target | None = None
        self._lock = threading.Lock()
        self._preparing: _Preparation | None = None
        self._looked_at = time.monotonic()

    @property
    def target(self) -> Target:
        """As it is known to be: asks nothing."""
        return self._target

    def reading(self) -> Target:
        """For what needs no encoder: where the alias led at most a second ago."""
        if self._alias is not None and time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._look_if_it_answers()
        return self._target

    def encoding(self) -> Target:
        """For queries by image: where the alias leads now, if that can be told."""
        if self._alias is not None:
            self._look_if_it_answers()
        return self._target

    def writing(self) -> Target:
        """For writes: where the alias leads now, loaded. Raises what keeps it from being opened."""
        for _ in range(_MOVES if self._alias is not None else 0):
            if (preparation := self._look()) is None:
                break
            preparation.wait()  # and look again: it may have been moved on meanwhile
        return self._target

    def write(self, call: Callable[[Target], T]) -> T:
        """What `call` does to the target, which it may do twice: where another collection took over its name."""
        target = self.writing()
        try:
            return call(target)
        except (CollectionNotFound, EncoderMismatch):
            if self._alias is not None or not self._succeeded():
                raise
        return call(self.writing())

    def pinned(self) -> Handle:
        """A handle of the target of `writing` that keeps to it; its writes fail once the alias leads elsewhere."""
        if self._keeps:
            return self
        if self._alias is None:
            try:
                self._target.store.check_same()
            except (CollectionNotFound, EncoderMismatch):
                self._succeeded()  # where it was not, what comes next says so
        return Handle(self.connection, self.writing(), self._settings, self._given, None, keeps=True)

    def rename(self, name: str) -> None:
        """Give the collection another name, and go on with it; raises `UsageError` where it was opened by an alias."""
        known = self._target
        scratch.drop_leftovers(self.connection, known.store.name)  # which name the collection that they copy
        store = self.connection.rename(known.store, name)
        self._target = self._made(store, known.remembered, known.encoders.loaded)

    def follow(self) -> None:
        """Find out where the name leads now, and go there."""
        self.write(lambda target: target.store.check_same())

    def give_name(self, to: Store, former: str) -> None:
        """Let the collection's name lead to another, and go on with this one by the name `former`."""
        known = self._target
        scratch.drop_leftovers(self.connection, known.store.name)
        store = self.connection.take_name(to, known.store, former)
        self._target = self._made(store, known.remembered, known.encoders.loaded)

    def check_drop(self) -> None:
        """Raise what `drop` would, before anybody is asked."""
        self.connection.check_drop(self._target.store)

    def drop(self) -> None:
        """`ImageCollection.drop`."""
        self.check_drop()
        store = self._target.store
        scratch.drop_leftovers(self.connection, store.name)
        self.connection.drop_opened(store)

    def search(self, forms: Sequence[Form], failed: Failed | None = None, *, options: SearchOptions) -> list[Answer]:
        """`Searcher.search`, of the target that the forms fit."""
        vector = options.get("vector", VECTOR)
        return self._asked(forms, vector, lambda searcher: searcher.search(forms, failed, **options))

    def pages(self, form: Form, options: PageOptions) -> Pages:
        """`Searcher.pages`, likewise; its pages are of the target of now, wherever the alias leads later."""
        vector = options.get("vector", VECTOR)
        return self._asked([form], vector, lambda searcher: searcher.pages(form, **options))

    def vectors(self, forms: Sequence[Form], vector: str = VECTOR) -> Vectors:
        """`Searcher.vectors`, likewise."""
        return self._asked(forms, vector, lambda searcher: searcher.vectors(forms, vector))

    def _asked(self, forms: Sequence[Form], vector: str, ask: Callable[[Searcher], T]) -> T:
        """What `ask` answers of the forms, by the searcher of the target that they fit."""
        if self._alias is None:
            try:
                return ask(self._target.searcher)
            except (CollectionNotFound, EncoderMismatch):
                if not self._succeeded():
                    raise
        target = self.encoding() if needs_encoder(forms) else self.reading()
        lengths = dims(forms)
        if lengths and not target.has(vector, lengths):
            target = self._of_length(vector, lengths)
        return self._followed(target, lambda found: ask(found.searcher))

    def read(self, call: Callable[[Target], T]) -> T:
        """What `call` reads from the target, or from the next one where that has gone meanwhile."""
        return self._followed(self.reading(), call)

    def _of_length(self, vector: str, lengths: set[int]) -> Target:
        """For vectors of another length than the target's: where the alias leads now, or where it led before.

        Nobody can know in which moment an alias is moved, so that the former target answers as long as it exists.
        """
        with suppress(BackendError):
            self.writing()
        target, former = self._target, self._former
        return former if former and former.has(vector, lengths) else target

    def _followed(self, target: Target, call: Callable[[Target], T]) -> T:
        try:
            return call(target)
        except (CollectionNotFound, EncoderMismatch):
            if self._alias is None and not self._succeeded():
                raise
            if (now := self.writing()).is_same(target):
                raise
            return call(now)

    def _succeeded(self) -> bool:
        """Whether its collection was re-embedded, and the new one has its name: then that is followed, as an alias.

        Its own collection, by the name that it has now, is the former target.
        """
        # on Milvus Lite the name has nothing until both steps are done; on a server whoever asks finishes them
        with self.connection.link.writing, self._lock:
            if self._alias is not None or self._keeps:
                return not self._keeps
            known = self._target
            if (own := succession.moved(self.connection, known.store)) is None:
                return False
            self._target = self._made(own, known.remembered, known.encoders.loaded)
            self._alias = known.store.name
            return True

    def _look_if_it_answers(self) -> None:
        """`_look`, for reads: where the alias is gone, or the server is busy, the old target goes on answering."""
        try:
            self._look()
        except BackendError as exc:
            log.info("where %s leads could not be read: %s", self._alias, exc)

    def _look(self) -> _Preparation | None:
        """Ask where the alias leads; what makes a new target ready, where it is another one."""
        assert self._alias is not None
        self._looked_at = time.monotonic()
        if self.connection.which(self._alias) == (self._target.store.name, self._target.store.incarnation):
            return None
        with self._lock:
            if self._preparing is None:
                self._preparing = _Preparation(self._prepare)
            return self._preparing

    def _prepare(self) -> None:
        """Open where the alias leads, load its encoder if this one's is loaded, and switch to it."""
        assert self._alias is not None
        try:
            while True:
                new = self._opened(self._alias)
                for vector in self._target.encoders.loaded.keys() & new.remembered.bindings.keys():
                    try:
                        new.encoders.of(vector)
                    except EncoderError as exc:  # by vector it can be searched all the same
                        log.warning("%s leads to %s now: %s", self._alias, new.store.name, exc)
                # it may have been moved on meanwhile
                if self.connection.which(self._alias) == (new.store.name, new.store.incarnation):
                    break
            if not new.is_same(self._target):
                log.info("%s leads to %s now", self._alias, new.store.name)
                self._former = self._target.without_encoders()
                self._target = new
        finally:
            with self._lock:
                self._preparing = None

    def _opened(self, alias: str) -> Target:
        store = self.connection.open(alias)
        known = self._target
        if store.incarnation == known.store.incarnation:  # renamed, or moved back
            return self._made(store, known.remembered, known.encoders.loaded)
        remembered = description.read(store.name, store.description)
        return self._made(store, remembered, self._fitting(store, remembered.bindings))

    def _fitting(self, store: Store, bindings: Mapping[str, Binding]) -> dict[str, Encoder]:
        """The encoders that are at hand and make that collection's vectors, with or without a projection behind."""
        at_hand = [*self._given.values(), *self._target.encoders.loaded.values()]
        at_hand += [encoder.inner for encoder in at_hand if isinstance(encoder, ProjectedEncoder)]
        found: dict[str, Encoder] = {}
        for vector, binding in bindings.items():
            for encoder in at_hand:
                if vector not in found:
                    with suppress(EncoderError):  # another one, or its projection is not there
                        found[vector] = kept.behind(store, vector, binding, encoder)
        return found

    def _made(self, store: Store, remembered: Remembered, encoders: Mapping[str, Encoder]) -> Target:
        return Target(store, remembered, self._settings, encoders, self._target.reopen)


class _Preparation:
    """Work in a thread of its own, which any number of callers may wait for."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._failure: ImgvecError | None = None
        self._thread = threading.Thread(target=self._run, args=[work], daemon=True, name="imgvec-alias")
        self._thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except ImgvecError as exc:
            log.info("an alias could not be followed: %s", exc)
            self._failure = exc

    def wait(self) -> None:
        """Raises what the work has raised."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

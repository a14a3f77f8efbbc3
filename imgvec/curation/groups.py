"""Groups of pictures that are one, which do not chain strangers.

The same bytes and the same pixels are equal, so what equals the same equals each other. Copies and bursts are only
alike: there a group is a best picture and those that were compared with it, and what hangs on another member goes to a
group of its own. Two crops of one photo are together where the photo is, and apart where it is gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from imgvec.curation.choosing import TIE, preferred
from imgvec.curation.judging import Kind, Relation
from imgvec.curation.outcome import Group, Member
from imgvec.curation.subjects import Subject

_ORDER: Mapping[Kind, int] = {"file": 0, "pixels": 1, "copy": 2, "vector": 3, "burst": 4}
_MOST_LOOKS = 200
"""Members of one component that are compared with its best though they were not its candidates."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Two pictures that are one, by their ids; `relation` is what the second is to the first."""

    first: str
    second: str
    relation: Relation

    def seen_from(self, id_: str) -> tuple[str, Relation]:
        """The other one's id, and what that is to this one."""
        return (self.second, self.relation) if id_ == self.first else (self.first, self.relation.turned())


Compare = Callable[[Subject, Subject], Relation | None]


def grouped(edges: Iterable[Edge], subjects: Mapping[str, Subject], compare: Compare | None = None) -> list[Group]:
    """The groups, the largest first; `compare` looks at a best picture and a member that have no edge yet."""
    by_id: dict[str, dict[str, Relation]] = defaultdict(dict)
    for edge in edges:
        if edge.first in subjects and edge.second in subjects:
            by_id[edge.first][edge.second] = edge.relation
            by_id[edge.second][edge.first] = edge.relation.turned()
    found: list[Group] = []
    taken: set[str] = set()
    alike = frozenset[Kind]({"file", "pixels", "copy", "vector"})
    for kinds in (alike, frozenset[Kind]({"burst"})):
        bound = {
            id_: {other: each for other, each in near.items() if each.kind in kinds and other not in taken}
            for id_, near in by_id.items()
            if id_ not in taken
        }
        for component in _components(bound):
            for group in _stars(component, bound, subjects, compare):
                found.append(group)
                # of copies the best alone can be in a burst
                taken |= {each.subject.id for each in group.others}
    return sorted(found, key=lambda each: (-len(each.others), each.best.uri, each.best.id))


def _components(bound: Mapping[str, Mapping[str, Relation]]) -> list[list[str]]:
    seen: set[str] = set()
    found = []
    for start in sorted(bound):
        if start in seen or not bound[start]:
            continue
        component, ahead = [], [start]
        seen.add(start)
        while ahead:
            here = ahead.pop()
            component.append(here)
            for other in bound.get(here, {}):
                if other not in seen:
                    seen.add(other)
                    ahead.append(other)
        found.append(sorted(component))
    return found


def _stars(
    component: list[str],
    bound: Mapping[str, Mapping[str, Relation]],
    subjects: Mapping[str, Subject],
    compare: Compare | None,
) -> list[Group]:
    left = set(component)
    groups = []
    looks = _MOST_LOOKS
    while len(left) > 1:
        best = _best(left, bound, subjects)
        near = _equal_to(best, left, bound)
        members: dict[str, Relation] = {other: each for other, each in near.items() if other in left and other != best}
        for other in sorted(left - members.keys() - {best}) if compare else ():
            if looks <= 0:
                break
            looks -= 1
            kinds = {each.kind for each in bound[other].values()}
            assert compare is not None
            relation = compare(subjects[best], subjects[other])
            if relation is not None and (relation.kind == "burst") == (kinds == {"burst"}):
                members[other] = relation
        left -= {best, *members}
        if members:
            groups.append(_group(subjects[best], members, subjects))
    return groups


def _best(left: set[str], bound: Mapping[str, Mapping[str, Relation]], subjects: Mapping[str, Subject]) -> str:
    """The one that is better than most of those that it was compared with; of equals, the way round that most are."""
    wins = {id_: [0, 0] for id_ in sorted(left)}
    for id_, of in wins.items():
        for other, relation in bound[id_].items():
            if other in left:
                better, why = preferred(subjects[id_], subjects[other], relation)
                of[0] += 0 if why == TIE else 1 if better else -1
                of[1] -= relation.mirrored
    return max(wins, key=lambda id_: wins[id_])


def _equal_to(best: str, left: set[str], bound: Mapping[str, Mapping[str, Relation]]) -> dict[str, Relation]:
    """What is one with the best: its own edges, and those of its equals; and the equals of all of these."""
    found = dict(bound[best])
    ahead = [id_ for id_, each in found.items() if each.kind in ("file", "pixels")]
    seen = {best}
    while ahead:  # the equals of the best see with its eyes
        here = ahead.pop()
        if here in seen or here not in left:
            continue
        seen.add(here)
        for other, relation in bound[here].items():
            if other not in found and other != best:
                found[other] = relation
            if relation.kind in ("file", "pixels"):
                ahead.append(other)
    ahead = [id_ for id_ in found if id_ not in seen]
    while ahead:
        here = ahead.pop()
        if here in seen or here not in left:
            continue
        seen.add(here)
        for other, relation in bound[here].items():
            if relation.kind in ("file", "pixels") and other not in seen:
                found.setdefault(other, found[here])
                ahead.append(other)
    return found


def _group(best: Subject, members: Mapping[str, Relation], subjects: Mapping[str, Subject]) -> Group:
    others = [
        Member(
            subjects[other],
            each.kind,
            each.mirrored,
            each.agreement,
            each.first_share,
            each.scale,
            preferred(best, subjects[other], each)[1] if preferred(best, subjects[other], each)[0] else (),
        )
        for other, each in members.items()
    ]
    others.sort(key=lambda each: (_ORDER[each.kind], each.subject.uri, each.subject.id))
    return Group(max((each.kind for each in others), key=lambda kind: _ORDER[kind]), best, tuple(others))

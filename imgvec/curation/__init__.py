"""Duplicates: found, grouped, the best copy chosen, shown and deleted.

    finding.py   the run over what is new: the same files, the nearest, the second look, and what is kept of it
    subjects.py  pictures as their rows tell of them
    seeing.py    reopens them;  looks.py  what the second look sees;  fits.py  how one lies in another
    judging.py   copy, burst or neither
    groups.py    who is with whom;  choosing.py  which is the best, and why
    remembering.py  what is kept between runs
    outcome.py   Duplicates, Group, Member;  sheet.py  the contact sheet;  deleting.py

It knows no collection: a store, what reopens a picture and what keeps arrays are handed in.
"""

from imgvec.curation.deleting import COPIES, Deleted
from imgvec.curation.outcome import Duplicates, Group, Member
from imgvec.curation.subjects import Subject

__all__ = ["COPIES", "Deleted", "Duplicates", "Group", "Member", "Subject"]

"""Typed metadata filters, rendered as Milvus boolean expressions that mean the same on every backend.

    from imgvec.filters import FieldType, dynamic, field, render

    where = (field("width") >= 800) & ~field("album").in_(["cats"]) & field("exif")["iso"].between(100, 400)
    render(where, {"width": FieldType("INT32"), ...}, dynamic=True)

What a filter means, on every backend:

* A comparison (`==`, `<`, `between`, `in_`, `has_prefix`, an array element, …) sees values of its operand's own kind:
  text, number or truth value. Where the value is missing, null or of another kind, neither the comparison nor its
  negation matches: `field("exif")["iso"] != 100` finds the rows that hold a number other than 100.
* `contains`, `contains_all` and `contains_any` take what is missing, null or no list for an empty list, so
  `~field("tags").contains("x")` matches rows without tags. Whole and fractional numbers are one kind.
* `in_([])` matches no row and `not_in([])` every row.
* `length()` is 0 where there is no list, and `field("tags") == ["a", "b"]` compares a whole ARRAY.
* `field("height") * 2 - 1 < 99` is solved for the field, in exact fractions: nothing overflows, `/` is the division of
  real numbers, and the field's index is used. A bound on a FLOAT or DOUBLE is the nearest one that it can hold.
  `field("n") % 10 == 3` takes the remainder as Python does, which is never negative.
* Two declared fields compare with each other, `field("width") > field("height")`, where no digit is lost by it.
* Text is compared by code point, which is the order of its UTF-8 bytes.
* FLOAT fields compare with the 32-bit float nearest to the operand, which is what the field stores.
* A field with `format: unix_ms` compares with dates: `date`, `datetime`, NumPy's `datetime64`, and ISO text. A date is
  the whole of what it names: `== date(2024, 6, 1)` is that day, `<= "2024-06"` goes up to the end of June, `> "2024"`
  begins with 2025; a `datetime` is a moment. Without a zone it is in UTC. Rows that hold the field's default, which
  stands for no date, match no comparison with one.
* A TIMESTAMPTZ compares with the same dates, by the microsecond; its default is a date like any other.
* `field("place").st_within("POLYGON ((0 0, 9 0, 9 9, 0 0))")` and its like ask how a GEOMETRY lies to a point or a
  polygon in WKT. Neither they nor their negations match rows without one.
* `&`, `|` and `~` have no third value: `~` turns every comparison below it round (De Morgan), so the rules above hold.

What a backend cannot say, or says wrongly, is refused by name (`UnsupportedByBackend`) before anything is sent:

    has_infix, has_suffix          not on Milvus 2.3; nowhere for text with %, _ or a backslash
    has_any_word, has_all_words    only of fields with `match: true`, which Milvus Lite has, and servers from 2.5
    has_phrase                     of the same fields, on servers from 2.5.17
    st_dwithin                     not on Milvus Lite, where the distance would be in degrees
    st_equals, st_touches, …       on servers from 2.6.4
    % (remainders)                 not on Milvus Lite; nowhere of INT64, which Milvus 2.3 takes through 64-bit floats
    length() of a list in JSON     not on Milvus Lite, where only whole fields and dynamic keys have one
    length() > 256 and such        not on a server, which has the length of a list by == and != only

Four differences between backends stay. A point on the edge of a polygon is within it on Milvus Lite, but not on a
server, which follows OGC. Of values of JSON and of the dynamic field, Milvus Lite takes `true` for 1 and `false` for 0,
and text that is a JSON list for that list, and Milvus 2.3 takes an explicit JSON null for a value in
`is_null()`.

A `Raw` filter, or a plain string, is a Milvus expression. It is parsed, and what is wrong is named with its column; so
is what its backend lacks or silently reads wrongly. In a plain comparison of a field with values, dates, 32-bit floats
and whole numbers mean the same as above, and so does arithmetic with one field. Arithmetic with several is the
backend's: Milvus 2.3 has none, and on Milvus Lite what may need more than 64 bits is refused. Everything else means
what it means to the backend.
"""

from imgvec.filters.dialect import Dialect
from imgvec.filters.equals import equals_text, in_text, range_text
from imgvec.filters.expressions import All, Filter, Raw
from imgvec.filters.fields import FieldType
from imgvec.filters.places import Field, dynamic, field
from imgvec.filters.render import render

__all__ = [
    "All",
    "Dialect",
    "Field",
    "FieldType",
    "Filter",
    "Raw",
    "dynamic",
    "equals_text",
    "field",
    "in_text",
    "range_text",
    "render",
]

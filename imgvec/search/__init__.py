"""Search: a request to an answer.

    request    the options, stated once, and what is asked with them
    forms      the ways to ask, as values: an image file, bytes, pixels, a text, a stored id, a vector, a crop, a mix
    guessing   a form from what a Python caller or the command line gives; nothing else guesses
    encoding   forms to vectors
    searcher   vectors to Milvus, and its hits to answers
    ranking    how deep Milvus's ranking is looked up
    afterwork  what becomes of the ranking, in one order: cut, collapse, group, diversify, order, slice
    group_by   groups;  diversity  near-duplicates and maximal marginal relevance
    facets     how often values occur, among the rows that match or the hits
    pages      the ranking kept, and its rows page by page
    counts     why an answer has fewer hits than asked for;  profile  how it came about
    many       any number of queries, in batches
    failing    those that cannot be asked
    examples, liked, recommending, best    what is like some examples, and unlike others
    hybrid     rankings by several vectors, to be fused to one;  fusion  the formulas;  fusing  the answer
    feedback   the next question, by what was said of an answer
    answer     hits, and what they are worth
    shown      an answer as HTML, for a notebook

Nothing is imported here: the command line needs the options alone to print its help.
"""

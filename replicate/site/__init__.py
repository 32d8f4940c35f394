"""The report: a static site of everything that is known about the tables, from stored results alone.

``book.gather`` collects what the pages say, ``site.write`` makes them. Nothing on a page comes from a network, and
the same results give the same bytes.
"""

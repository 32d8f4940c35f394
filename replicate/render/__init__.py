"""A finished table to each format: the only place where text is escaped; nothing is computed or rounded here.

``formats.write`` makes files, ``terminal.show`` prints. Every renderer is ``render(table, variant) -> str``
(CSV and JSON hold both variants at once), and the same table gives the same bytes.
"""

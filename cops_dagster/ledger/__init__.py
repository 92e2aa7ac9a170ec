"""The kernel: runs, months and the one commit. Start at `books.py`, then `run`, `month`, `publish`.

Belongs here: what every step needs to commit, in at most 1,000 lines. Does not belong here: tags, rules,
invoices, proof; the chain is handed in (`Books.keep`).
"""

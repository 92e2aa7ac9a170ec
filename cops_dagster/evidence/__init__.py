"""Proof: the chain, what is sealed, who agreed and signed. Start at `chain.py`.

Belongs here: what is kept so that a decision can be shown to others, and held against the books; opening
the books with their chain (`home.py`), the policy's adoption, the sweep. Does not belong here: any step of
the month. Proof must not depend on what it proves.

`seal.py` digests a month's entries; `sealed.py` says what may become of rows that are sealed;
`month_proof.py` holds one closed month against its seal; `verify.py` holds the chain against itself.
"""
